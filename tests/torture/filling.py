"""Fills a store as hard as it can, until it is killed: ``python -m tests.torture.filling DIRECTORY TELL OPTIONS``. Shell.

TELL is a file (``/dev/stdout`` is one) that hears, a line each, of pieces that the store called durable, and of blobs that may
go from now on, before they do (``truth.Promises``). ``--sync left-out|late`` breaks the order of writes: whoever looks for wrong
pieces must find some then.
"""

import argparse
import os
import random
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import trio
from trio.testing import MockClock

from flyfs.core.blob import Blob
from flyfs.core.errors import Stale, StoreFull
from flyfs.core.grid import MIB
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.store import effects
from flyfs.store.blob_files import DATA, DURABLE
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from flyfs.store.uses import Use
from tests.support.with_parent import end_with_parent
from tests.torture.truth import blob_of, digests_of, piece_of

_LANES = 4
_BLOBS_PER_LANE = 4
_SESSION_S = 15.0
"""Of the store's seconds, on average."""


class Filling:
    """The work from opening to leaving; each lane has blobs of its own."""

    def __init__(self, store: Store, tell_fd: int, chance: random.Random, *, seed: int, pause_s: float) -> None:
        self._store = store
        self._tell_fd = tell_fd
        self._chance = chance
        self._seed = seed
        self._pause_s = pause_s
        self._found: dict[BlobId, Use] = {}

    def keep_found(self) -> None:
        """Goes on keeping some of what an earlier process left, and lets the rest go."""
        for blob in self._store.blobs():
            stored = self._store.find(blob.id)
            if stored is None or self._chance.random() < 0.5:
                self._tell("loose", blob.id)
            else:
                self._found[blob.id] = stored.pin()

    def let_go(self) -> None:
        """The store is about to be left; nobody may remove anything until then."""
        for use in self._found.values():
            use.end()

    def _tell(self, *words: object) -> None:
        os.write(self._tell_fd, f"{' '.join(map(str, words))}\n".encode())  # one call a line: a kill tears none

    async def lane(self, lane: int) -> None:
        """Brings blobs, keeps them for a while, lets them go, for ever."""
        chance = random.Random(self._chance.random())
        while True:
            blob = blob_of(self._seed, lane + _LANES * chance.randrange(_BLOBS_PER_LANE))
            self._tell("loose", blob.id)
            found = self._found.pop(blob.id, None)
            if found is not None:
                found.end()
            if chance.random() < 0.3:
                await self._store.drop(blob.id)
            try:
                await self._bring(blob, chance)
            except (Stale, StoreFull):
                await trio.sleep(0.01)

    async def _bring(self, blob: Blob, chance: random.Random) -> None:
        stored = await self._store.create(blob)
        kept = chance.random() < 0.7
        unlisten = stored.listen(partial(self._heard, blob, kept))
        try:
            with stored.pin() if kept else nullcontext():
                if kept:
                    for piece in stored.durable:
                        self._tell("durable", blob.id, piece)
                    await self._read(stored, chance)  # nothing that is kept may be lost, and what a crash left is proved
                await self._write(stored, chance)
                if chance.random() < 0.7:
                    await trio.sleep(chance.uniform(0.0, 2.0))  # so that it is idle long enough to be synced
                self._tell("loose", blob.id)
        finally:
            unlisten()
        if chance.random() < 0.3:
            await stored.drop_pieces([piece for piece in stored.have if chance.random() < 0.5])

    def _heard(self, blob: Blob, kept: bool, piece: PieceIndex, durable: bool) -> None:
        if kept and durable:
            self._tell("durable", blob.id, piece)

    async def _write(self, stored: StoredBlob, chance: random.Random) -> None:
        pieces = list(range(len(stored.blob.grid)))
        missing = [piece for piece in pieces if piece not in stored.have]
        if chance.random() < 0.5:
            chance.shuffle(missing)
        late = chance.random() < 0.3  # as at a supernode: proved, written, and vouched for later
        if not late:
            self._vouch(stored, 0, len(pieces))
        many = chance.choice((1, 1, 4))
        while missing:
            batch, missing = missing[:many], missing[many:]
            async with trio.open_nursery() as nursery:
                for piece in batch:
                    nursery.start_soon(partial(stored.write_piece, PieceIndex(piece), piece_of(stored.blob, piece), proved=late))
            if late and chance.random() < 0.3:
                self._vouch(stored, min(batch), max(batch) + 1)
            if self._pause_s:
                await trio.sleep(chance.expovariate(1 / self._pause_s))
        self._vouch(stored, 0, len(pieces))

    async def _read(self, stored: StoredBlob, chance: random.Random) -> None:
        for piece in list(stored.have):
            if chance.random() < 0.5:
                place = stored.blob.grid.range_of(piece)
                assert await stored.read(place.start, len(place)) == piece_of(stored.blob, piece), f"{stored.blob.id} {piece}"

    @staticmethod
    def _vouch(stored: StoredBlob, first: int, stop: int) -> None:
        for batch in digests_of(stored.blob, first, stop):
            stored.add_digests(batch)


def leave_sync_out() -> None:
    """Breaks the order of writes in this process: the data of blobs is marked, and never synced."""
    sync_data = effects.sync_data
    effects.sync_data = lambda fd: None if _is_data(fd) else sync_data(fd)


def sync_late() -> None:
    """Breaks the order of writes in this process, if only just: the data of blobs is synced as soon as it is marked."""
    sync_data, rename, sync_entries = effects.sync_data, effects.rename, effects.sync_entries
    put_off: list[int] = []
    marked: list[int] = []

    def put_off_data(fd: int) -> None:
        if _is_data(fd):
            put_off.append(os.dup(fd))
        else:
            sync_data(fd)

    def rename_seen(name: str, new_name: str, *, directory_fd: int, new_directory_fd: int) -> None:
        rename(name, new_name, directory_fd=directory_fd, new_directory_fd=new_directory_fd)
        if new_name == DURABLE:
            marked[:], put_off[:] = put_off, ()

    def sync_what_is_marked(directory_fd: int) -> None:
        sync_entries(directory_fd)
        while marked:
            fd = marked.pop()
            sync_data(fd)
            os.close(fd)

    effects.sync_data, effects.rename, effects.sync_entries = put_off_data, rename_seen, sync_what_is_marked


def _is_data(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}").endswith(f"/{DATA}")


_BREAKS = {"left-out": leave_sync_out, "late": sync_late}


async def _main(arguments: argparse.Namespace) -> None:
    chance = random.Random(f"{arguments.seed}/{arguments.turn}")
    tell_fd = os.open(arguments.tell, os.O_WRONLY | os.O_APPEND)
    while True:  # now and then the store is left in order, and opened again
        async with Store.open(arguments.directory, limit_bytes=arguments.limit_mib * MIB) as store:
            filling = Filling(store, tell_fd, chance, seed=arguments.seed, pause_s=arguments.pause_s)
            filling.keep_found()
            with trio.move_on_after(chance.expovariate(1 / _SESSION_S)):
                async with trio.open_nursery() as nursery:
                    for lane in range(_LANES):
                        nursery.start_soon(filling.lane, lane)
            filling.let_go()


def main() -> None:
    """Runs until killed."""
    end_with_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("tell", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="tells the blobs")
    parser.add_argument("--turn", type=int, default=0, help="tells what is done with them")
    parser.add_argument("--haste", type=float, default=20.0, help="how many of the store's seconds one second has")
    parser.add_argument("--pause-s", type=float, default=0.0, help="of the store's seconds, between pieces")
    parser.add_argument("--limit-mib", type=int, default=40)
    parser.add_argument("--sync", choices=_BREAKS, help="break the order of writes")
    arguments = parser.parse_args()
    if arguments.sync:
        _BREAKS[arguments.sync]()
    # The store waits seconds before it syncs; in a hurry it does all that it does in days.
    trio.run(_main, arguments, clock=MockClock(rate=arguments.haste), strict_exception_groups=True)


if __name__ == "__main__":
    main()
