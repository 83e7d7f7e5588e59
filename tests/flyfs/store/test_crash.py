"""What counts as durable is there, and right, after a crash at any instant."""

import errno
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.core.ids import BlobId, PieceIndex
from flyfs.store import effects
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from tests.flyfs.store.builders import a_blob, digests_of, fill, piece_of
from tests.flyfs.store.platter import Platter, PowerCutError

Told = dict[BlobId, set[int]]
BLOBS = {a_blob(2.5, name=name).id: a_blob(2.5, name=name) for name in "abc"}


async def check(directory: Path, told: Told) -> None:
    """Every piece that counts is right, and every piece that was told durable counts."""
    async with Store.open(directory) as store:
        held: Told = {}
        for blob_id in store.blob_ids():
            stored = store.find(blob_id)
            if stored is not None:
                held[blob_id] = set(stored.have)
                for piece in stored.have:
                    where = stored.blob.grid.range_of(piece)
                    data = await stored.read(where.start, len(where))
                    assert data == piece_of(stored.blob, piece)
                    stored.manifest.prove(piece, data)
        for blob_id, pieces in told.items():
            assert pieces <= held.get(blob_id, set())


async def a_day(directory: Path, clock: MockClock, told: Told) -> None:
    """Blobs come, grow in several syncs, go and come again."""

    def listen(stored: StoredBlob) -> None:
        def hear(piece: PieceIndex, durable: bool) -> None:
            if durable:
                told[stored.blob.id].add(piece)

        stored.listen(hear)

    async def wait_durable(stored: StoredBlob, count: int) -> None:
        while stored.durable.count < count:
            await wait_all_tasks_blocked(0.0005)
            clock.jump(1.0)

    a, b, c = BLOBS.values()
    async with Store.open(directory) as store:
        stored = await store.create(a)
        listen(stored)
        stored.add_digests(digests_of(a, 0, 2))
        await stored.write_piece(PieceIndex(1), piece_of(a, 1))
        await wait_durable(stored, 1)
        other = await store.create(b)
        listen(other)
        await fill(other)
        stored.add_digests(digests_of(a))
        await stored.write_piece(PieceIndex(2), piece_of(a, 2))
        await wait_durable(other, 3)
        told[b.id] -= {0, 2}  # from here on they may be gone
        await other.drop_pieces([PieceIndex(0), PieceIndex(2)])
        await other.write_piece(PieceIndex(2), piece_of(b, 2))
        await wait_durable(other, 2)
        await other.write_piece(PieceIndex(0), piece_of(b, 0))
        await other.drop_pieces([PieceIndex(0)])  # before it was synced
        told[a.id].discard(1)
        with a_full_disk():
            await stored.drop_pieces([PieceIndex(1)])
        told.pop(b.id)
        await store.drop(b.id)
        again = await store.create(b)
        listen(again)
        await fill(again, range(1))
        await fill(await store.create(c))
    async with Store.open(directory) as store:
        found = store.find(a.id)
        assert found is not None
        listen(found)
        await fill(found)


@contextmanager
def a_full_disk() -> Iterator[None]:
    """No file can be made."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effects, "create_file", refuse)
        yield


async def run_until_cut(directory: Path, clock: MockClock, platter: Platter, told: Told) -> bool:
    """Whether the power was cut before the end."""
    try:
        await a_day(directory, clock, told)
    except* PowerCutError:
        pass
    return platter.effects >= platter.cut_after


async def test_a_power_cut_after_any_effect_leaves_only_right_pieces(tmp_path: Path, mock_clock: MockClock) -> None:
    cut_after, cut = 0, True
    while cut:
        told: Told = defaultdict(set)
        directory = tmp_path / f"cache-{cut_after}"
        directory.mkdir()
        platter = Platter(directory, cut_after)
        with pytest.MonkeyPatch.context() as patch:
            platter.install(patch)
            cut = await run_until_cut(directory, mock_clock, platter, told)
        for late_names in (False, True):
            for late_contents in (False, True):
                target = tmp_path / f"{cut_after}-{late_names:d}{late_contents:d}"
                platter.rebuild(target, late_names=late_names, late_contents=late_contents)
                await check(target, told)
        cut_after += 1
    assert cut_after > 80  # the day was long enough to be worth cutting


_WRITER = """
import functools, sys
from pathlib import Path
import trio
from flyfs.store import store as store_module
from flyfs.store.write_order import WriteOrder
from tests.flyfs.store.builders import a_blob, fill

store_module.WriteOrder = functools.partial(WriteOrder, batch_bytes=5 * 4096, batch_age_s=0.004, idle_s=0.002)

def tell(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

async def main():
    async with store_module.Store.open(Path(sys.argv[1])) as store:
        for number in range(10**9):
            blob = a_blob(24.5, name=str(number % 4))
            stored = await store.create(blob)
            if stored.have.complete:
                tell("dropping", blob.id, 0)
                await store.drop(blob.id)
                stored = await store.create(blob)
            stored.listen(lambda piece, durable, blob_id=blob.id: tell("durable", blob_id, piece) if durable else None)
            with stored.use():
                await fill(stored)
            await trio.sleep(0.003)

trio.run(main)
"""


def write_and_kill(directory: Path, lines: int, told: Told) -> int:
    """Lets a process write until it told ``lines`` things, kills it, and gives how many pieces it called durable."""
    words = 0
    command = [sys.executable, "-c", _WRITER, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            words += hear(writer.stdout.readline(), told)
        writer.kill()
        for line in writer.stdout:
            words += hear(line, told)
    assert writer.returncode == -signal.SIGKILL
    return words


async def test_a_store_that_is_killed_at_any_instant_keeps_its_word(tmp_path: Path, mock_clock: MockClock) -> None:
    chance = random.Random(20)
    told: Told = defaultdict(set)
    words = 0
    for _ in range(8):
        words += write_and_kill(tmp_path, chance.randrange(1, 150), told)
        await check(tmp_path, told)
    assert words > 100


def hear(line: str, told: Told) -> int:
    what, blob_id, piece = line.split()
    if what == "dropping":
        told.pop(BlobId(blob_id), None)
        return 0
    told[BlobId(blob_id)].add(int(piece))
    return 1


async def test_the_checker_would_notice_a_wrong_piece(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(2.5))
        await fill(stored)
        await trio.lowlevel.checkpoint()
    data = next((tmp_path / "blobs").glob("*/*/data"))
    data.write_bytes(bytes(data.stat().st_size))

    with pytest.raises(AssertionError):
        await check(tmp_path, {})
    with pytest.raises(AssertionError):
        await check(tmp_path, {a_blob(name="never written").id: {0}})
