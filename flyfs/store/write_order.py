"""The one order in which bytes become true: receive → verify → write (*have*) → sync → mark (*durable*). Pure.

The shell tells what happened; this machine says what to sync and what may then be marked. It promises:

- a piece is marked durable only after a sync that began when the piece was written whole, and once its digest is known;
- a failed sync distrusts every piece of its blob that no earlier good sync covers, also one that is just being written:
  the kernel reports a lost page once, and then calls it clean;
- syncs are batched: a blob is due when it was idle for 1 s or when its oldest write is 5 s old; and while 64 MiB wait in
  all, the blob with most of them takes every other turn.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from flyfs.core.grid import MIB
from flyfs.core.ids import BlobId, PieceIndex

BATCH_BYTES = 64 * MIB
"""A sync of this size takes longer than its fixed cost on any disk, and a crash loses little more than it."""
BATCH_AGE_S = 5.0
IDLE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncBlob:
    """Bring the data file to the disk; answered by ``sync_finished`` or ``sync_failed``."""

    blob_id: BlobId
    pieces: tuple[PieceIndex, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkDurable:
    """Append the digests that wait; then, where there are ``pieces``, replace the bitmap.

    Answered by ``mark_finished`` or ``mark_failed``.
    """

    blob_id: BlobId
    pieces: tuple[PieceIndex, ...]


Command = SyncBlob | MarkDurable


@dataclass(slots=True)
class _Writes:
    """What is under way for one blob. A piece is in one of the collections at most."""

    writing: dict[PieceIndex, bool] = field(default_factory=dict)  # → still trusted
    undigested: dict[PieceIndex, int] = field(default_factory=dict)  # written, but nobody vouches for them yet: → bytes
    written: dict[PieceIndex, int] = field(default_factory=dict)  # → bytes
    syncing: dict[PieceIndex, int] = field(default_factory=dict)  # → bytes
    synced: tuple[PieceIndex, ...] = ()
    digests_wait: bool = False
    written_bytes: int = 0
    due_by: float = math.inf  # the oldest event's age limit
    due_when_idle: float = math.inf
    mark_from: float = -math.inf  # not before: a mark that failed is tried again later

    @property
    def at_work(self) -> bool:
        return bool(self.written or self.syncing or self.synced or self.digests_wait)

    @property
    def sync_due(self) -> float:
        return min(self.due_by, self.due_when_idle) if self.written else math.inf

    @property
    def mark_due(self) -> float:
        if self.synced:
            return self.mark_from
        if self.digests_wait and not self.written:
            return max(self.mark_from, min(self.due_by, self.due_when_idle))
        return math.inf

    def touch(self, due_by: float, due_when_idle: float) -> None:
        self.due_by = min(self.due_by, due_by)
        self.due_when_idle = due_when_idle

    def rest(self) -> None:
        self.due_by = self.due_when_idle = math.inf


class WriteOrder:
    """Events and ``now`` (seconds of one monotonic clock) in, commands out; one command runs at a time."""

    def __init__(self, *, batch_bytes: int = BATCH_BYTES, batch_age_s: float = BATCH_AGE_S, idle_s: float = IDLE_S) -> None:
        self._batch_bytes = batch_bytes
        self._batch_age_s = batch_age_s
        self._idle_s = idle_s
        self._blobs: dict[BlobId, _Writes] = {}
        self._running: Command | None = None
        self._running_is_orphan = False  # its blob was dropped meanwhile
        self._flushing = False
        self._bulk_had_turn = False
        self._waiting_bytes = 0  # written, no sync began
        self._syncing_bytes = 0
        self._earliest = math.inf  # never later than the first due blob, maybe earlier

    @property
    def unsynced_bytes(self) -> int:
        """Written and provable, but no sync that covers them has finished."""
        return self._waiting_bytes + self._syncing_bytes

    @property
    def flushed(self) -> bool:
        """Whether a flush was requested and nothing is left to do."""
        return self._flushing and self._running is None and not any(writes.at_work for writes in self._blobs.values())

    def at_work(self, blob_id: BlobId) -> bool:
        """Whether something of this blob still has to be synced or marked."""
        writes = self._blobs.get(blob_id)
        return writes is not None and writes.at_work

    # -- events ---------------------------------------------------------------------------------------------------

    def piece_started(self, blob_id: BlobId, piece: PieceIndex) -> None:
        """A verified piece is about to be written."""
        self._blobs.setdefault(blob_id, _Writes()).writing[piece] = True

    def piece_abandoned(self, blob_id: BlobId, piece: PieceIndex) -> None:
        """It could not be written whole."""
        writes = self._blobs.get(blob_id)
        if writes is not None:
            writes.writing.pop(piece, None)
            self._forget_if_quiet(blob_id, writes)

    def piece_written(self, blob_id: BlobId, piece: PieceIndex, size: int, now: float, *, provable: bool = True) -> bool:
        """All ``size`` bytes of it are in the file; ``provable`` where its digest is known.

        Returns:
            Whether it is a *have* now; False where a sync failed meanwhile or the blob was dropped: these bytes do not count.
        """
        writes = self._blobs.get(blob_id)
        if writes is None:
            return False
        if not writes.writing.pop(piece, False):
            self._forget_if_quiet(blob_id, writes)
            return False
        if provable:
            self._enqueue(writes, piece, size, now)
        else:
            writes.undigested[piece] = size
        return True

    def digests_added(self, blob_id: BlobId, pieces: Iterable[int], now: float) -> None:
        """Somebody vouches for ``pieces`` now: the digests want to be saved; pieces that waited for them can become durable."""
        writes = self._blobs.setdefault(blob_id, _Writes())
        writes.digests_wait = True
        self._touch(writes, now)
        if writes.undigested:
            for piece in map(PieceIndex, pieces):
                size = writes.undigested.pop(piece, None)
                if size is not None:
                    self._enqueue(writes, piece, size, now)

    def sync_finished(self, blob_id: BlobId) -> None:
        """The pieces of the running ``SyncBlob`` are on the disk."""
        writes = self._end_command(blob_id)
        if writes is not None:
            writes.synced += tuple(writes.syncing)
            self._end_sync(writes)

    def sync_failed(self, blob_id: BlobId) -> tuple[PieceIndex, ...]:
        """Nobody knows what reached the disk since the last good sync of this blob.

        Returns:
            The pieces that are no *have* any more.
        """
        writes = self._end_command(blob_id)
        if writes is None:
            return ()
        lost = (*writes.syncing, *writes.written, *writes.undigested)
        self._end_sync(writes)
        self._waiting_bytes -= writes.written_bytes
        writes.written_bytes = 0
        writes.written.clear()
        writes.undigested.clear()
        writes.writing = dict.fromkeys(writes.writing, False)
        writes.due_by = -math.inf if writes.digests_wait else math.inf
        self._forget_if_quiet(blob_id, writes)
        return lost

    def mark_finished(self, blob_id: BlobId, *, digests_wait: bool = False) -> None:
        """The running ``MarkDurable`` is on the disk; ``digests_wait`` where more digests came meanwhile."""
        writes = self._end_command(blob_id)
        if writes is not None:
            writes.synced = ()
            writes.mark_from = -math.inf
            writes.digests_wait = digests_wait
            self._forget_if_quiet(blob_id, writes)

    def mark_failed(self, blob_id: BlobId, now: float) -> None:
        """The digests or the bitmap could not be written: tried again after a while, given up when flushing."""
        writes = self._end_command(blob_id)
        if writes is None:
            return
        if self._flushing:
            writes.synced = ()
            writes.digests_wait = False
            self._forget_if_quiet(blob_id, writes)
        else:
            writes.mark_from = now + self._batch_age_s
            writes.touch(writes.mark_from, writes.mark_from)

    def blob_dropped(self, blob_id: BlobId) -> None:
        """Nothing of this blob is wanted any more; a piece that is being written will be refused."""
        writes = self._blobs.pop(blob_id, None)
        if writes is not None:
            self._waiting_bytes -= writes.written_bytes
            self._syncing_bytes -= sum(writes.syncing.values())
        if self._running is not None and self._running.blob_id == blob_id:
            self._running_is_orphan = True

    def flush_requested(self) -> None:
        """From now on everything is due at once."""
        self._flushing = True
        self._earliest = -math.inf

    # -- what to do -----------------------------------------------------------------------------------------------

    def next_commands(self, now: float) -> list[Command]:
        """The next command, if one is due and none is running."""
        if self._running is not None:
            return []
        blob_id = self._next_blob(now)
        if blob_id is None:
            return []
        writes = self._blobs[blob_id]
        if writes.written and (writes.mark_due > now):
            self._running = self._begin_sync(blob_id, writes)
        else:
            self._running = MarkDurable(blob_id=blob_id, pieces=writes.synced)
            if not writes.written:
                writes.rest()
        return [self._running]

    def next_deadline(self) -> float:
        """When to ask ``next_commands`` again; may be too early, never too late."""
        if self._running is not None:
            return math.inf
        return -math.inf if self._waiting_bytes >= self._batch_bytes else self._earliest

    def _next_blob(self, now: float) -> BlobId | None:
        """The blob to work on now; where none is due, ``_earliest`` is exact afterwards."""
        much_waits = self._waiting_bytes >= self._batch_bytes
        if not much_waits or self._bulk_had_turn:
            self._bulk_had_turn = False
            earliest = math.inf
            for blob_id, writes in self._blobs.items():
                due = -math.inf if self._flushing and writes.at_work else min(writes.sync_due, writes.mark_due)
                if due <= now:
                    return blob_id
                earliest = min(earliest, due)
            self._earliest = earliest
        if not much_waits:
            return None
        self._bulk_had_turn = True
        return max(self._blobs, key=lambda blob_id: self._blobs[blob_id].written_bytes)

    def _begin_sync(self, blob_id: BlobId, writes: _Writes) -> SyncBlob:
        writes.syncing, writes.written = writes.written, {}
        self._syncing_bytes += writes.written_bytes
        self._waiting_bytes -= writes.written_bytes
        writes.written_bytes = 0
        writes.rest()
        return SyncBlob(blob_id=blob_id, pieces=tuple(writes.syncing))

    def _end_command(self, blob_id: BlobId) -> _Writes | None:
        """The blob's writes, None where it was dropped while the command ran."""
        orphan, self._running_is_orphan = self._running_is_orphan, False
        self._running = None
        self._earliest = -math.inf
        return None if orphan else self._blobs.get(blob_id)

    def _end_sync(self, writes: _Writes) -> None:
        self._syncing_bytes -= sum(writes.syncing.values())
        writes.syncing = {}

    def _enqueue(self, writes: _Writes, piece: PieceIndex, size: int, now: float) -> None:
        writes.written[piece] = size
        writes.written_bytes += size
        self._waiting_bytes += size
        self._touch(writes, now)

    def _touch(self, writes: _Writes, now: float) -> None:
        writes.touch(now + self._batch_age_s, now + self._idle_s)
        self._earliest = min(self._earliest, writes.due_by, writes.due_when_idle)

    def _forget_if_quiet(self, blob_id: BlobId, writes: _Writes) -> None:
        if not writes.at_work and not writes.writing and not writes.undigested:
            del self._blobs[blob_id]
