"""Proves every durable piece of a store from its disk. Shell.

It asks the disk and not the page cache, and leaves that as it is, where the file system lets it; in one thread, a MiB at a time,
resting while others read from the disk. A blob that is looked at is not used: its age stays what it is.
"""

import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import trio

from flyfs.core.blob import Blob
from flyfs.core.errors import Unavailable
from flyfs.core.grid import MIB, ByteRange
from flyfs.core.ids import PieceIndex
from flyfs.store.faults import UNKNOWN, fault_of, unreadable
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob

BATCH_BYTES = MIB
REST = 3
"""While others wait for the disk, it rests so many times as long as it worked."""

TELL_S = 0.2
"""How often it says how far it is."""


@dataclass(frozen=True, slots=True)
class Progress:
    """So much of what was held at the start is proved, or gone since."""

    done_bytes: int
    whole_bytes: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A piece that was damaged, or a whole blob (None), and was dropped."""

    blob: Blob
    piece: PieceIndex | None
    reason: str


@dataclass(slots=True)
class ScrubResult:
    """What was looked at in the end."""

    blobs: int = 0
    pieces: int = 0
    done_bytes: int = 0
    damaged: int = 0


Tell = Callable[[Progress | Damage], Awaitable[None]]


async def scrub(store: Store, tell: Tell) -> ScrubResult:
    """Proves all that is durable when its turn comes; what is damaged is dropped, and told.

    Raises:
        Unavailable: the store is being scrubbed already.
    """
    try:
        store.one_scrubs.acquire_nowait()
    except trio.WouldBlock:
        raise Unavailable("the cache is being verified already; try again when that is done") from None
    try:
        return await _Scrub(store, tell).run()
    finally:
        store.one_scrubs.release()


@dataclass(slots=True)
class _Scrub:
    store: Store
    tell: Tell
    result: ScrubResult = field(default_factory=ScrubResult)
    passed_bytes: int = 0
    whole_bytes: int = 0
    told_at: float = float("-inf")
    thread: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    async def run(self) -> ScrubResult:
        holdings = self.store.holdings()
        self.whole_bytes = sum(holding.held_bytes for holding in holdings)
        for holding in holdings:
            await self._blob(holding.blob)
            self.passed_bytes += holding.held_bytes
            await self._tell_progress(self.passed_bytes)
        self.told_at = float("-inf")
        await self._tell_progress(self.whole_bytes)
        return self.result

    async def _blob(self, blob: Blob) -> None:
        if not self.store.has(blob.id):  # it went meanwhile
            return
        stored = self.store.look(blob.id)
        if stored is None:
            self.result.damaged += 1
            await self.tell(Damage(blob, None, "its files are damaged"))
            return
        if not stored.durable.count:
            return
        self.result.blobs += 1
        with stored.keep_open():
            fd = await trio.to_thread.run_sync(stored.files.open_past_cache, limiter=self.thread)
            try:
                await self._pieces(stored, fd)
            finally:
                os.close(fd)

    async def _pieces(self, stored: StoredBlob, fd: int) -> None:
        done_bytes = 0
        for batch in _batches(stored):
            proofs = [(piece, stored.blob.grid.range_of(piece), stored.manifest.digest_of(piece)) for piece in batch]
            losses, waits, began_at = stored.losses, self.store.disk_waits, trio.current_time()
            faults = await trio.to_thread.run_sync(_faults_of, fd, proofs, limiter=self.thread)
            if faults and stored.losses != losses:  # perhaps just those: they may lie there half written by now
                faults = await trio.to_thread.run_sync(_faults_of, fd, proofs, limiter=self.thread)
            for piece, place, _ in proofs:
                done_bytes += len(place)
                await self._judge(stored, piece, place, faults.get(piece))
            await self._tell_progress(self.passed_bytes + done_bytes)
            if stored.dropped:
                return
            if self.store.disk_waits != waits:
                await trio.sleep(REST * (trio.current_time() - began_at))

    async def _judge(self, stored: StoredBlob, piece: PieceIndex, place: ByteRange, fault: str | None) -> None:
        if piece not in stored.durable:
            return
        self.result.pieces += 1
        self.result.done_bytes += len(place)
        if fault is None:
            stored.proofs.proved(piece)
        else:
            self.result.damaged += 1
            stored.proofs.damaged(piece, fault)
            await self.tell(Damage(stored.blob, piece, fault))

    async def _tell_progress(self, done_bytes: int) -> None:
        if trio.current_time() - self.told_at >= TELL_S:
            self.told_at = trio.current_time()
            await self.tell(Progress(min(done_bytes, self.whole_bytes), self.whole_bytes))


def _batches(stored: StoredBlob) -> Iterator[list[PieceIndex]]:
    """The durable pieces in order, as they are when it is their turn, a batch at a time."""
    most = max(1, BATCH_BYTES // stored.blob.piece_size)
    batch: list[PieceIndex] = []
    for piece in stored.durable:
        batch.append(piece)
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


def _faults_of(fd: int, proofs: list[tuple[PieceIndex, ByteRange, bytes | None]]) -> dict[PieceIndex, str]:
    """In a thread: why pieces are damaged; those that are not are left out."""
    faults: dict[PieceIndex, str] = {}
    for piece, place, digest in proofs:
        try:
            fault = UNKNOWN if digest is None else fault_of(fd, place.start, place.stop, digest)
        except OSError as error:
            fault = unreadable(error)
        if fault is not None:
            faults[piece] = fault
    return faults
