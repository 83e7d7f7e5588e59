"""Carries out what ``write_order`` says: one step at a time, in a thread, while readers and writers go on. Shell."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog
import trio

from flyfs.core.bitmap import runs_of
from flyfs.core.errors import Corrupt, Stale, Unavailable
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.manifest import SignedDigests
from flyfs.store.faults import expected_of
from flyfs.store.page_cache import drop_pages
from flyfs.store.stored_blob import StoredBlob
from flyfs.store.unread_pages import DropPages, UnreadPages
from flyfs.store.uses import Use
from flyfs.store.write_commands import (
    Command,
    FreePieces,
    MarkDurable,
    ProveAgain,
    StartWriteback,
    SyncBlob,
    UnmarkPieces,
)
from flyfs.store.write_order import WriteOrder

_log = structlog.get_logger()


class SyncLoop:
    """Keeps the order of writes for one store. A blob with something to do is kept open meanwhile."""

    def __init__(self, order: WriteOrder, unread_pages: UnreadPages[StoredBlob], *, progressed: Callable[[], None]) -> None:
        """``progressed`` is called when unsynced bytes may have become fewer."""
        self._order = order
        self._unread_pages = unread_pages
        self._progressed = progressed
        self._at_work: dict[BlobId, tuple[StoredBlob, Use]] = {}
        self._unmarkable: set[BlobId] = set()  # whose last mark failed
        self._wake = trio.Event()
        self._sleeps_until = float("-inf")  # while it works, nobody needs to wake it
        self._flushed = trio.Event()
        self._scope = trio.CancelScope(shield=True)  # what was written is flushed also where the program is cancelled
        self._disk = trio.CapacityLimiter(1)  # syncs must neither wait for writers nor for other threads' work

    async def run(self) -> None:
        """Syncs and marks until flushed; a cancelled scope around it does not end it before (``stop`` does)."""
        try:
            with self._scope:
                await self._work()
        finally:
            self._flushed.set()

    async def _work(self) -> None:
        while not self._order.flushed:
            self._wake = trio.Event()
            commands = self._order.next_commands(trio.current_time())
            for command in commands:
                await self._carry_out(command)
            drops = self._unread_pages.next_commands(trio.current_time())
            if drops:
                await self._drop_pages(drops)
            if commands or drops:
                continue
            self._sleeps_until = min(self._order.next_deadline(), self._unread_pages.next_deadline())
            with trio.move_on_at(self._sleeps_until):
                await self._wake.wait()
            self._sleeps_until = float("-inf")

    async def flush(self) -> None:
        """Syncs and marks all that was written; then ``run`` ends. Nothing may be written from now on."""
        self._order.flush_requested()
        self._wake.set()
        await self._flushed.wait()

    async def stop(self) -> None:
        """Ends ``run``; returns when the disk has let go of the last descriptor."""
        self._scope.cancel()
        with trio.CancelScope(shield=True):  # a thread in fdatasync(2) cannot be left alone with a descriptor that closes
            await self._flushed.wait()

    def drop(self, stored: StoredBlob) -> None:
        """Nothing of this blob is synced or marked any more."""
        self._order.blob_dropped(stored.blob.id)
        self._unmarkable.discard(stored.blob.id)
        self._release(stored.blob.id)
        self._progressed()

    # -- events from the blobs --------------------------------------------------------------------------------------

    def piece_started(self, stored: StoredBlob, piece: PieceIndex) -> None:
        """It is about to be written."""
        self._order.piece_started(stored.blob.id, piece)

    def piece_ended(self, stored: StoredBlob, piece: PieceIndex, *, written: bool) -> bool:
        """It is written whole, or could not be; True where it counts."""
        blob_id = stored.blob.id
        if stored.dropped:  # the name may belong to a successor by now
            return False
        if not written:
            self._order.piece_abandoned(blob_id, piece)
            return False
        size = stored.blob.grid.length_of(piece)
        provable = stored.manifest.digest_of(piece) is not None
        counts = self._order.piece_written(blob_id, piece, size, trio.current_time(), provable=provable)
        self._changed(stored)
        return counts

    def digests_added(self, stored: StoredBlob, batch: SignedDigests) -> None:
        """The manifest grew."""
        self._order.digests_added(stored.blob.id, batch.pieces, trio.current_time())
        self._changed(stored)

    def pieces_dropped(self, stored: StoredBlob, pieces: Iterable[PieceIndex]) -> None:
        """They are no *have* any more: their marks, and then their room, go."""
        self._order.pieces_dropped(stored.blob.id, pieces)
        self._changed(stored)

    def forgotten(self, stored: StoredBlob) -> None:
        """What was written of it and is not durable does not count any more."""
        self._order.blob_dropped(stored.blob.id)

    # -- the commands -----------------------------------------------------------------------------------------------

    async def _carry_out(self, command: Command) -> None:
        stored, _ = self._at_work[command.blob_id]
        with stored.keep_open():  # a drop meanwhile must not close what the thread uses
            match command:
                case SyncBlob():
                    await self._sync(stored)
                case MarkDurable(pieces=pieces):
                    await self._mark(stored, pieces)
                case StartWriteback(first=first, stop=stop):
                    await self._start_writeback(stored, first, stop)
                case ProveAgain(pieces=pieces):
                    await self._prove_again(stored, pieces)
                case UnmarkPieces(pieces=pieces):
                    await self._unmark(stored, pieces)
                case FreePieces(pieces=pieces):
                    await self._free(stored, pieces)
        if not stored.dropped and not self._order.at_work(command.blob_id):
            self._release(command.blob_id)
        self._progressed()

    async def _sync(self, stored: StoredBlob) -> None:
        try:
            await trio.to_thread.run_sync(stored.files.sync_data, limiter=self._disk)
        except OSError as error:
            self._sync_failed(stored, error)
        else:
            self._order.sync_finished(stored.blob.id)

    async def _start_writeback(self, stored: StoredBlob, first: int, stop: int) -> None:
        ((start, end),) = stored.places(((first, stop - first),))
        try:
            await trio.to_thread.run_sync(stored.files.start_writeback, start, end, limiter=self._disk)
        except OSError as error:  # not every file system would tell it to the next sync, too
            self._sync_failed(stored, error)
        else:
            self._order.writeback_started(stored.blob.id)

    def _sync_failed(self, stored: StoredBlob, error: OSError) -> None:
        lost = self._order.sync_failed(stored.blob.id)
        if not stored.dropped:
            stored.pieces_lost(lost)
            _log.error("store.sync.failed", blob=stored.blob.id, pieces=len(lost), reason=error.strerror)

    async def _prove_again(self, stored: StoredBlob, pieces: tuple[PieceIndex, ...]) -> None:
        expected = expected_of(stored.blob, stored.manifest, pieces)
        found = await trio.to_thread.run_sync(stored.files.pieces_on_disk, expected, limiter=self._disk)
        proved = [piece for piece in found if not stored.is_written(piece)]  # who brings it anew will tell
        again = self._order.pieces_proved(stored.blob.id, proved, trio.current_time())
        if not stored.dropped:
            stored.pieces_regained(again)
            _log.warning("store.sync.proved", blob=stored.blob.id, pieces=len(pieces), right=len(again))

    async def _mark(self, stored: StoredBlob, pieces: tuple[PieceIndex, ...]) -> None:
        blob_id = stored.blob.id
        batches = stored.unsaved_digests
        try:
            if batches:
                await trio.to_thread.run_sync(stored.files.append_digests, batches, limiter=self._disk)
                stored.digests_saved(len(batches))
            if pieces:
                durable = stored.durable.copy()
                for piece in pieces:
                    durable.add(piece)
                await trio.to_thread.run_sync(stored.files.replace_durable, durable, limiter=self._disk)
        except OSError as error:
            self._order.mark_failed(blob_id, trio.current_time())
            if not stored.dropped:  # else its files are gone, as they should be
                tell = _log.debug if blob_id in self._unmarkable else _log.warning  # a full disk refuses every five seconds
                tell("store.mark.failed", blob=blob_id, pieces=len(pieces), reason=error.strerror)
                self._unmarkable.add(blob_id)
            return
        self._unmarkable.discard(blob_id)
        self._order.mark_finished(blob_id, digests_wait=bool(stored.unsaved_digests))
        if not stored.dropped:
            stored.pieces_marked(pieces)
            length_of = stored.blob.grid.length_of
            self._unread_pages.pieces_durable(stored, ((piece, length_of(piece)) for piece in pieces), trio.current_time())

    async def _drop_pages(self, drops: list[DropPages[StoredBlob]]) -> None:
        """All in one thread hop: there may be many small blobs."""
        places: list[tuple[int, list[tuple[int, int]]]] = []
        try:
            for drop in drops:
                # A descriptor of its own: to pin the blob would count as using it.
                with suppress(Corrupt, Stale, Unavailable, OSError):  # gone, or none is left: then its pages stay
                    places.append((os.dup(drop.owner.fileno), drop.owner.places(drop.runs)))
            await trio.to_thread.run_sync(_drop_all, places, limiter=self._disk)
        finally:
            for fileno, _ in places:
                os.close(fileno)

    async def _unmark(self, stored: StoredBlob, pieces: tuple[PieceIndex, ...]) -> None:
        blob_id = stored.blob.id
        try:
            await trio.to_thread.run_sync(stored.files.unmark, stored.durable.copy(), limiter=self._disk)
        except OSError as error:
            self._order.unmark_failed(blob_id)
            _log.warning("store.unmark.failed", blob=blob_id, pieces=len(pieces), reason=error.strerror)
            if not stored.dropped:
                stored.drops.ended(pieces, freed=False)
        else:
            self._order.unmark_finished(blob_id)

    async def _free(self, stored: StoredBlob, pieces: tuple[PieceIndex, ...]) -> None:
        blob_id = stored.blob.id
        try:
            runs = runs_of(sorted(stored.drops.to_free(pieces)))
            await trio.to_thread.run_sync(stored.files.free, runs, limiter=self._disk)
        except OSError as error:  # nobody counts on them any more: their bytes lie there until they are written again
            _log.warning("store.free.failed", blob=blob_id, pieces=len(pieces), reason=error.strerror)
        self._order.free_ended(blob_id)
        if not stored.dropped:
            stored.drops.ended(pieces, freed=True)

    def _changed(self, stored: StoredBlob) -> None:
        """Keeps a blob open that has work now, and wakes the loop where it would sleep too long."""
        blob_id = stored.blob.id
        if blob_id not in self._at_work and self._order.at_work(blob_id):
            self._at_work[blob_id] = (stored, stored.keep_open())
        if self._order.next_deadline() < self._sleeps_until:
            self._wake.set()

    def _release(self, blob_id: BlobId) -> None:
        found = self._at_work.pop(blob_id, None)
        if found is not None:
            found[1].end()


def _drop_all(places: list[tuple[int, list[tuple[int, int]]]]) -> None:
    """In a thread."""
    for fileno, ranges in places:
        drop_pages(fileno, ranges)
