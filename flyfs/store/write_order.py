"""The one order in which bytes become true: receive → verify → write (*have*) → sync → mark (*durable*). Pure.

And the one in which they become untrue: no *have* any more → the mark is taken back → only then their room is given back.

The shell tells what happened; this machine says what to sync and what may then be marked. It promises:

- a piece is marked durable only after a sync that began when the piece was written whole, and once its digest is known;
- a failed sync distrusts every piece of its blob that no earlier good sync covers, also one that is just being written:
  the kernel reports a lost page once, and then calls it clean. What the disk turns out to hold all the same counts again,
  and waits for the next sync; after a second failure it is given up;
- syncs are batched: a blob is due when it was idle for 1 s or when its oldest write is 5 s old; and while 64 MiB wait in
  all, the blob with most of them is due. The disk begins to write as soon as 8 MiB lie side by side, so that a sync finds
  little left to do; that it began proves nothing;
- a hole never lies under a durable mark, whenever a crash comes; room is made before all else;
- one command runs at a time, and no kind of command keeps the others waiting: who had a turn last goes last.
"""

import math
from collections import deque
from collections.abc import Iterable

from flyfs.core.grid import MIB
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.store.blob_writes import BlobWrites
from flyfs.store.write_commands import (
    Command,
    FreePieces,
    MarkDurable,
    ProveAgain,
    StartWriteback,
    SyncBlob,
    UnmarkPieces,
)

BATCH_BYTES = 64 * MIB
"""A sync of this size takes longer than its fixed cost on any disk, and a crash loses little more than it."""
BATCH_AGE_S = 5.0
IDLE_S = 1.0
WRITEBACK_BYTES = 8 * MIB
"""Long enough to be written at a disk's full speed, and an eighth of what a sync would otherwise find in front of it."""


class WriteOrder:
    """Events and ``now`` (seconds of one monotonic clock) in, commands out; one command runs at a time."""

    def __init__(
        self,
        *,
        batch_bytes: int = BATCH_BYTES,
        batch_age_s: float = BATCH_AGE_S,
        idle_s: float = IDLE_S,
        writeback_bytes: int = WRITEBACK_BYTES,
    ) -> None:
        self._batch_bytes = batch_bytes
        self._batch_age_s = batch_age_s
        self._idle_s = idle_s
        self._writeback_bytes = writeback_bytes
        self._blobs: dict[BlobId, BlobWrites] = {}
        self._writebacks: deque[StartWriteback] = deque()
        self._shrinking: dict[BlobId, None] = {}  # blobs with pieces to unmark or to free
        self._turns = [self._next_of_the_largest, self._next_due, self._next_proof, self._next_writeback]
        self._running: Command | None = None
        self._running_is_orphan = False  # its blob was dropped meanwhile
        self._flushing = False
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
        """Whether something of this blob still has to be synced, marked, unmarked or freed."""
        writes = self._blobs.get(blob_id)
        return writes is not None and writes.at_work

    # -- events ---------------------------------------------------------------------------------------------------

    def piece_started(self, blob_id: BlobId, piece: PieceIndex) -> None:
        """A verified piece is about to be written."""
        self._blobs.setdefault(blob_id, BlobWrites()).begin_write(piece)

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
            self._enqueue(blob_id, writes, piece, size, now)
        else:
            writes.undigested[piece] = size
        return True

    def digests_added(self, blob_id: BlobId, pieces: Iterable[int], now: float) -> None:
        """Somebody vouches for ``pieces`` now: the digests want to be saved; pieces that waited for them can become durable."""
        writes = self._blobs.setdefault(blob_id, BlobWrites())
        writes.digests_wait = True
        self._touch(writes, now)
        if writes.undigested:
            for piece in map(PieceIndex, pieces):
                size = writes.undigested.pop(piece, None)
                if size is not None:
                    self._enqueue(blob_id, writes, piece, size, now)

    def sync_finished(self, blob_id: BlobId) -> None:
        """The pieces of the running ``SyncBlob`` are on the disk."""
        writes = self._end_command(blob_id)
        if writes is not None:
            self._syncing_bytes -= writes.end_sync()

    def sync_failed(self, blob_id: BlobId) -> tuple[PieceIndex, ...]:
        """Nobody knows what reached the disk since the last good sync of this blob.

        Returns:
            The pieces that are no *have* any more; some may come back (``pieces_proved``).
        """
        writes = self._end_command(blob_id)
        if writes is None:
            return ()
        self._syncing_bytes -= sum(writes.syncing.values())
        self._waiting_bytes -= writes.written_bytes
        lost = writes.distrust()
        self._drop_writebacks(blob_id)
        if self._flushing:  # nobody will read them in this process, and the next one fetches them
            writes.doubted.clear()
        self._forget_if_quiet(blob_id, writes)
        return lost

    def pieces_proved(self, blob_id: BlobId, proved: Iterable[PieceIndex], now: float) -> tuple[PieceIndex, ...]:
        """The running ``ProveAgain`` found these of its pieces on the disk; the others are lost.

        Returns:
            The pieces that are a *have* again; without those that are being written anew.
        """
        writes = self._end_command(blob_id)
        if writes is None:
            return ()
        right = writes.end_proof(proved)
        for piece, size in right.items():
            self._enqueue(blob_id, writes, piece, size, now)
        self._forget_if_quiet(blob_id, writes)
        return tuple(right)

    def writeback_started(self, blob_id: BlobId) -> None:
        """The running ``StartWriteback`` returned. It proves nothing: whether the disk could write, the next sync tells."""
        self._end_command(blob_id)

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

    def pieces_dropped(self, blob_id: BlobId, pieces: Iterable[PieceIndex]) -> None:
        """They are no *have* any more, wherever they were on their way; none of them is being written, nor will be before
        ``unmark_failed`` or ``free_ended``.
        """
        writes, going = self._blobs.setdefault(blob_id, BlobWrites()), frozenset(pieces)
        waiting_bytes, syncing_bytes = writes.drop(going)
        self._waiting_bytes -= waiting_bytes
        self._syncing_bytes -= syncing_bytes
        self._drop_writebacks(blob_id, going)
        self._shrinking[blob_id] = None

    def unmark_finished(self, blob_id: BlobId) -> None:
        """The bitmap on the disk is without the pieces of the running ``UnmarkPieces``."""
        writes = self._end_command(blob_id)
        if writes is not None:
            writes.unmarked, writes.unmarking = writes.unmarking, ()

    def unmark_failed(self, blob_id: BlobId) -> None:
        """It may still have them: their bytes stay where they are."""
        writes = self._end_command(blob_id)
        if writes is not None:
            writes.unmarking = ()
            self._settle(blob_id, writes)

    def free_ended(self, blob_id: BlobId) -> None:
        """The pieces of the running ``FreePieces`` are holes, or could not be: they can be written again."""
        writes = self._end_command(blob_id)
        if writes is not None:
            writes.unmarked = ()
            self._settle(blob_id, writes)

    def _settle(self, blob_id: BlobId, writes: BlobWrites) -> None:
        if not writes.shrinks:
            del self._shrinking[blob_id]
            self._forget_if_quiet(blob_id, writes)

    def blob_dropped(self, blob_id: BlobId) -> None:
        """Nothing of this blob is wanted any more; a piece that is being written will be refused."""
        writes = self._blobs.pop(blob_id, None)
        self._shrinking.pop(blob_id, None)
        if writes is not None:
            self._waiting_bytes -= writes.written_bytes
            self._syncing_bytes -= sum(writes.syncing.values())
            self._drop_writebacks(blob_id)
        if self._running is not None and self._running.blob_id == blob_id:
            self._running_is_orphan = True

    def flush_requested(self) -> None:
        """From now on everything is due at once, and what is in doubt is given up."""
        self._flushing = True
        self._earliest = -math.inf
        self._writebacks.clear()
        for blob_id, writes in list(self._blobs.items()):
            writes.doubted.clear()
            self._forget_if_quiet(blob_id, writes)

    # -- what to do -----------------------------------------------------------------------------------------------

    def next_commands(self, now: float) -> list[Command]:
        """The next command, if one is due and none is running."""
        if self._running is not None:
            return []
        if self._shrinking:
            self._running = self._next_shrinking()
            return [self._running]
        for turn in self._turns:
            self._running = turn(now)
            if self._running is not None:
                self._turns.remove(turn)
                self._turns.append(turn)
                return [self._running]
        return []

    def next_deadline(self) -> float:
        """When to ask ``next_commands`` again; may be too early, never too late."""
        if self._running is not None:
            return math.inf
        return -math.inf if self._much_waits or self._writebacks or self._shrinking else self._earliest

    @property
    def _much_waits(self) -> bool:
        return self._waiting_bytes >= self._batch_bytes

    def _next_shrinking(self) -> Command:
        """The marks first, then the room that no mark speaks of any more."""
        blob_id = next(iter(self._shrinking))
        writes = self._blobs[blob_id]
        if writes.unmarked:
            return FreePieces(blob_id=blob_id, pieces=writes.unmarked)
        writes.unmarking, writes.dropped = writes.dropped, ()
        return UnmarkPieces(blob_id=blob_id, pieces=writes.unmarking)

    def _next_of_the_largest(self, now: float) -> Command | None:
        """While much waits: the blob with most of it."""
        if not self._much_waits:
            return None
        blob_id = max(self._blobs, key=lambda blob_id: self._blobs[blob_id].written_bytes)
        return self._sync_or_mark(blob_id, now)

    def _next_due(self, now: float) -> Command | None:
        """A blob whose time has come; where there is none, ``_earliest`` is exact afterwards."""
        earliest = math.inf
        for blob_id, writes in self._blobs.items():
            due = min(writes.sync_due, writes.mark_due)
            if due <= now or (self._flushing and writes.at_work):
                return self._sync_or_mark(blob_id, now)
            earliest = min(earliest, due)
        self._earliest = earliest
        return None

    def _next_proof(self, _: float) -> Command | None:
        for blob_id, writes in self._blobs.items():
            if writes.doubted:
                return ProveAgain(blob_id=blob_id, pieces=writes.begin_proof(self._batch_bytes))
        return None

    def _next_writeback(self, _: float) -> Command | None:
        return self._writebacks.popleft() if self._writebacks else None

    def _sync_or_mark(self, blob_id: BlobId, now: float) -> Command:
        writes = self._blobs[blob_id]
        if writes.written and writes.mark_due > now:
            size = writes.begin_sync()
            self._syncing_bytes += size
            self._waiting_bytes -= size
            self._drop_writebacks(blob_id)
            return SyncBlob(blob_id=blob_id, pieces=tuple(writes.syncing))
        if not writes.written:
            writes.rest()
        return MarkDurable(blob_id=blob_id, pieces=writes.synced)

    def _end_command(self, blob_id: BlobId) -> BlobWrites | None:
        """The blob's writes, None where it was dropped while the command ran."""
        orphan, self._running_is_orphan = self._running_is_orphan, False
        self._running = None
        self._earliest = -math.inf
        return None if orphan else self._blobs.get(blob_id)

    def _enqueue(self, blob_id: BlobId, writes: BlobWrites, piece: PieceIndex, size: int, now: float) -> None:
        writes.written[piece] = size
        writes.written_bytes += size
        self._waiting_bytes += size
        self._touch(writes, now)
        first, stop, run_bytes = writes.runs.add(piece, size)
        if run_bytes >= self._writeback_bytes and not self._flushing:
            writes.runs.forget(first)
            self._writebacks.append(StartWriteback(blob_id=blob_id, first=first, stop=stop))

    def _drop_writebacks(self, blob_id: BlobId, going: frozenset[PieceIndex] | None = None) -> None:
        """A sync begins, or nothing is left to be written; or not of the pieces that are ``going``."""
        if self._writebacks:
            self._writebacks = deque(
                command
                for command in self._writebacks
                if command.blob_id != blob_id or (going is not None and going.isdisjoint(range(command.first, command.stop)))
            )

    def _touch(self, writes: BlobWrites, now: float) -> None:
        writes.touch(now + self._batch_age_s, now + self._idle_s)
        self._earliest = min(self._earliest, writes.due_by, writes.due_when_idle)

    def _forget_if_quiet(self, blob_id: BlobId, writes: BlobWrites) -> None:
        if writes.quiet:
            del self._blobs[blob_id]
