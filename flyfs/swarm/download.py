"""One blob being read on this peer: carries out what the picker decides. Shell.

A flight is one request for one piece: buffer, request, proof, digest, write; then the store has it and readers wake. Where the
store has no room the piece passes by: whoever waits for it takes what it wants. Nothing here chooses; every outcome is an event
for the picker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
import trio

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.errors import Corrupt, Denied, FlyfsError, NotFound, ProtocolError, Stale, StoreFull, Unavailable
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from flyfs.core.manifest import PAGE_PIECES, Fork, SignedDigests
from flyfs.core.signing import verify
from flyfs.limit.bucket import Priority
from flyfs.limit.turns import Urgency
from flyfs.store.stored_blob import StoredBlob
from flyfs.store.unvouched import write_provisional
from flyfs.swarm.back_to_origin import FromOrigin
from flyfs.swarm.faults import Fault, fault_of
from flyfs.swarm.passing import Passing
from flyfs.swarm.picker import CancelRequest, HurryPiece, Picker, RequestPiece
from flyfs.swarm.reading import Reading
from flyfs.swarm.sources import SUPERNODE, Source
from flyfs.swarm.wishes import Wishes
from flyfs.telemetry.latency import LatencyWindow
from flyfs.transport.buffers import BufferPool, Loan
from flyfs.wire.messages import Busy, Elsewhere, GetPiece, Message, Neighbour, NotHeld, Piece

LATE_S = 1.0
"""A reader that catches up with what was asked for ahead of it waits in line: under a limit every sequential reader always does.
One that waited so long is blocked like any other."""

log = structlog.get_logger(__name__)


class Surroundings(Protocol):
    """What a download needs of the swarm around it."""

    buffers: BufferPool
    demand_latency: LatencyWindow
    passing: Passing

    async def fetch(
        self, source: Source, blob: Blob, message: GetPiece, into: memoryview, *, timeout_s: float, urgency: Urgency
    ) -> Message | FromOrigin:
        """Asks a source for a piece, as urgent as ``urgency`` says by then; raises Unavailable where it is gone."""
        ...

    async def ask_digests(self, blob_id: BlobId, page: int) -> Sequence[SignedDigests]:
        """What the supernode knows of a manifest page."""
        ...

    async def hurry(self, blob_id: BlobId, piece: PieceIndex) -> None:
        """Tells the supernode that a reader waits for a piece that it was asked for before."""
        ...

    def meet(self, blob_id: BlobId, neighbours: Sequence[Neighbour]) -> None:
        """Gets in touch with neighbours for a blob."""
        ...

    def trusted_keys(self) -> frozenset[bytes]:
        """Keys whose signatures over digests count."""
        ...

    def piece_came(self, source: Source, size: int) -> None:
        """Counts verified bytes by where they came from."""
        ...

    def piece_rejected(self, source: Source, blob_id: BlobId, piece: PieceIndex) -> None:
        """Counts, and reports, bytes that were not what they should be."""
        ...

    def forked(self, blob_id: BlobId, fork: Fork) -> None:
        """Drops a blob that contradicts itself, and tells who should do so too."""
        ...


@dataclass(slots=True)
class _Waiter:
    missing: set[PieceIndex]
    reading: Reading
    since: float
    done: trio.Event
    error: FlyfsError | None = None


class Download:
    """Brings the wanted pieces of one blob into the store. ``run`` must be running."""

    def __init__(self, stored: StoredBlob, around: Surroundings, *, timeout_s: float, spread: int = 0) -> None:
        """``timeout_s`` is what a supernode gets; ``spread`` makes peers choose differently among equals."""
        self.stored = stored
        self.picker = Picker(stored.have, piece_size=stored.blob.piece_size, timeout_s=timeout_s, spread=spread)
        self.wishes = Wishes(stored, self._wishes_changed)
        self.bytes_from: dict[str, int] = {"peers": 0, "supernode": 0, "origin": 0}
        self.last_error: FlyfsError | None = None
        self._around = around
        self._changed = trio.Event()
        self._waiting: dict[PieceIndex, list[_Waiter]] = {}
        self._flights: dict[tuple[PieceIndex, Source], trio.CancelScope] = {}
        self._pages_asked: set[int] = set()
        self._scope = trio.CancelScope()
        self._finishing = False
        self._ended: FlyfsError | None = None

    @property
    def blob(self) -> Blob:
        """The blob that is read."""
        return self.stored.blob

    async def run(self) -> None:
        """Carries out the picker's commands until ``finish`` or ``stop``."""
        unlisten = self.stored.listen(self._store_has)
        use = self.stored.use()
        try:
            with self._scope:
                while not self._finished:  # a nursery takes a moment to close: somebody may have resumed meanwhile
                    async with trio.open_nursery() as nursery:
                        await self._carry_out(nursery)
        finally:
            use.end()
            unlisten()
            self._around.passing.forget(self.blob.id)
            self._ended = self._ended or Unavailable("the file was closed, or the mount is going away")
            self.fail(self._ended)

    @property
    def _finished(self) -> bool:
        return self._finishing and self.picker.idle

    async def _carry_out(self, nursery: trio.Nursery) -> None:
        while not self._finished:
            self._changed = trio.Event()
            now = trio.current_time()
            for command in self.picker.next_commands(now):
                match command:
                    case RequestPiece():
                        loan = None if command.demand else self._lend_spare(command.piece)
                        if loan is None and not command.demand:
                            self._failed(command, Fault.NO_BUFFER)
                            continue
                        nursery.start_soon(self._fly, command, loan)
                        self._learn_page(command, nursery)
                    case CancelRequest(piece, source):
                        self._cancel(piece, source)
                    case HurryPiece(piece):
                        nursery.start_soon(self._around.hurry, self.blob.id, piece)
            with trio.move_on_at(self.picker.next_deadline(now)):
                await self._changed.wait()

    def finish(self) -> None:
        """Nobody reads any more: what is under way arrives, nothing new is asked for, then ``run`` ends."""
        self._finishing = True
        self.wishes.windows_moved(())

    def resume(self) -> None:
        """Somebody reads again before ``run`` ended."""
        self._finishing = False

    def stop(self, error: FlyfsError) -> None:
        """Ends ``run`` at once; requests under way are given up, whoever waits for a piece, now or later, gets ``error``."""
        self._ended = error
        self.fail(error)
        self._scope.cancel()

    def changed(self) -> None:
        """The picker was told something: let it decide."""
        self._changed.set()

    def _wishes_changed(self, windows: Sequence[range], whole: bool) -> None:
        self.picker.windows_moved(windows)
        self.picker.whole_wanted(whole)
        self.changed()

    def fail(self, error: FlyfsError) -> None:
        """Everybody who waits for a piece gets ``error``."""
        self.last_error = error
        for piece in self._waiting:
            self._fail_piece(piece, error)
        self.wishes.fail(error)

    def _fail_piece(self, piece: PieceIndex, error: FlyfsError) -> None:
        for waiter in self._waiting.get(piece, ()):
            waiter.error = error
            waiter.done.set()
        self.wishes.fail(error)

    async def wait(self, missing: Sequence[PieceIndex], reading: Reading) -> None:
        """Returns once each of the ``missing`` pieces came to the store, or passed by; the caller sets the deadline.

        Raises:
            FlyfsError: they cannot be had (the version is over, the download was stopped).
        """
        if self._ended is not None:
            raise self._ended.with_traceback(None)
        waiter = _Waiter(set(missing), reading, trio.current_time(), trio.Event())
        for piece in missing:
            self._waiting.setdefault(piece, []).append(waiter)
            self.picker.demand_added(piece)
            self.stored.piece_demanded(piece)
        self.changed()
        try:
            await waiter.done.wait()
            self._around.demand_latency.add(trio.current_time() - waiter.since)
        finally:
            for piece in waiter.missing:
                self.picker.demand_removed(piece)
                waiters = self._waiting[piece]
                waiters.remove(waiter)
                if not waiters:
                    del self._waiting[piece]
        if waiter.error is not None:
            raise waiter.error.with_traceback(None)  # several tasks raise it, each anew

    def _store_has(self, piece: PieceIndex, durable: bool) -> None:
        if not durable:
            self._piece_came(piece)
            self.wishes.piece_came(piece)

    def _piece_came(self, piece: PieceIndex, passing: memoryview | None = None) -> None:
        """Wakes a piece's readers, who take their share where it only passes by.

        Invariant: runs between awaits, so no waiter is added meanwhile.
        """
        self.last_error = None
        for waiter in self._waiting.pop(piece, []):
            self.picker.demand_removed(piece)
            if passing is not None:
                waiter.reading.piece_passed(piece, passing)
            waiter.missing.discard(piece)
            if not waiter.missing:
                waiter.done.set()

    def _cancel(self, piece: PieceIndex, source: Source) -> None:
        scope = self._flights.get((piece, source))
        if scope is not None:
            scope.cancel()

    def _lend_spare(self, piece: PieceIndex) -> Loan | None:
        size = self.blob.grid.length_of(piece)
        return self._around.buffers.lend_spare(size, background=not self.wishes.is_ahead_of_a_reader(piece))

    def _urgency_of(self, command: RequestPiece) -> Priority:
        late = trio.current_time() - LATE_S
        if command.demand or any(waiter.since < late for waiter in self._waiting.get(command.piece, ())):
            return Priority.DEMAND
        return Priority.PREFETCH if self.wishes.is_ahead_of_a_reader(command.piece) else Priority.BACKGROUND

    async def _fly(self, command: RequestPiece, loan: Loan | None) -> None:
        piece, source = command.piece, command.source
        with trio.CancelScope() as scope:
            self._flights[piece, source] = scope
            try:
                with loan or await self._around.buffers.lend(self.blob.grid.length_of(piece)) as view:
                    await self._request(command, view)
            finally:
                del self._flights[piece, source]
                self.changed()

    async def _request(self, command: RequestPiece, view: memoryview) -> None:
        manifest = self.stored.manifest
        message = GetPiece(
            blob_id=self.blob.id,
            piece=command.piece,
            demand=command.demand,
            proof=manifest.digest_of(command.piece) is None,
            ahead=command.ahead,
            background=self._urgency_of(command) is Priority.BACKGROUND,
        )
        try:
            urgency, timeout_s = (lambda: self._urgency_of(command)), command.timeout_s
            reply = await self._around.fetch(command.source, self.blob, message, view, timeout_s=timeout_s, urgency=urgency)
            await self._take(command, reply, view)
        except FlyfsError as error:
            self._went_wrong(command, error)
        except trio.Cancelled:
            self._failed(command, Fault.CANCELLED)
            raise

    async def _take(self, command: RequestPiece, reply: Message | FromOrigin, view: memoryview) -> None:
        """What follows from an answer. Raises FlyfsError where the bytes, or their proof, are wrong."""
        match reply:
            case Piece(piece=piece, proof=proof) if piece == command.piece:
                if proof is not None:
                    self._learn(proof, command.source)
                try:
                    await self.stored.write_piece(command.piece, view, demand=piece in self._waiting)
                except StoreFull:  # it is the right piece all the same
                    self._pass_on(command.piece, view)
                self._arrived(command, len(view))
            case FromOrigin():
                try:
                    await write_provisional(self.stored, command.piece, view, demand=command.piece in self._waiting)
                except StoreFull:
                    self._pass_on(command.piece, view)
                self.picker.piece_arrived(command.piece, command.source, trio.current_time())
                self.bytes_from["origin"] += len(view)
            case NotHeld():
                self._failed(command, Fault.NOT_HELD)
            case Busy(retry_after_s=retry_after_s):
                self._failed(command, Fault.BUSY, retry_after_s=retry_after_s)
            case Elsewhere(holders=holders) if command.source is SUPERNODE:
                self.picker.redirected(command.piece, trio.current_time())
                self._around.meet(self.blob.id, holders)
            case _:
                raise Corrupt(f"an answer that does not fit: {type(reply).__name__}")

    def _went_wrong(self, command: RequestPiece, error: FlyfsError) -> None:
        retry_after_s = error.retry_after_s if isinstance(error, Unavailable) else None
        self._failed(command, fault_of(error), error, retry_after_s)
        match error:
            case Fork():
                self._around.forked(self.blob.id, error)
            case Corrupt() | ProtocolError():
                self._around.piece_rejected(command.source, self.blob.id, command.piece)
                log.warning("swarm.piece.rejected", blob=self.blob.id, piece=command.piece, reason=error.message)
            case Stale() | NotFound() if not self.picker.held_by_peer(command.piece):
                self._fail_piece(command.piece, Stale(f"this version is over: {error.message}"))
            case Denied() if command.source is SUPERNODE and not self.picker.held_by_peer(command.piece):
                self._fail_piece(command.piece, error)
            case _:
                pass

    def _pass_on(self, piece: PieceIndex, view: memoryview) -> None:
        """A proved piece for which there is no room."""
        self.wishes.fail(StoreFull("the cache has no room for all of it; give it more with --cache-limit, or another place"))
        self.picker.piece_passed(piece)
        self._around.passing.put(self.blob.id, piece, view)
        self._piece_came(piece, view)

    def _learn_page(self, command: RequestPiece, nursery: trio.Nursery) -> None:
        """Before pieces come from neighbours: asks the supernode once for the digests of their whole page.

        A neighbour hands on the small batches that it got, and each of those would have to be checked.
        """
        page = command.piece // PAGE_PIECES
        if (
            command.source is not SUPERNODE
            and page not in self._pages_asked
            and self.stored.manifest.digest_of(command.piece) is None
        ):
            self._pages_asked.add(page)
            nursery.start_soon(self._ask_page, page)

    async def _ask_page(self, page: int) -> None:
        try:
            for batch in await self._around.ask_digests(self.blob.id, page):
                self._learn(batch, SUPERNODE)
        except Fork as error:
            self._around.forked(self.blob.id, error)
        except FlyfsError as error:
            log.debug("swarm.digests.failed", blob=self.blob.id, page=page, reason=error.message)  # pieces bring their own

    def _learn(self, proof: SignedDigests, source: Source) -> None:
        """Takes over digests that a trusted key signed. Raises Corrupt (Fork where they contradict what is known).

        The supernode's own word needs no check of its signature: its key came over the same session. The signature is for
        those to whom these digests are handed on, and each of them checks it (decision record 5).
        """
        if proof.blob_id != self.blob.id or proof.pieces.stop > len(self.blob.grid):
            raise Corrupt("digests of another blob")
        if self.stored.manifest.knows(proof):
            return
        if source is not SUPERNODE or proof.key not in self._around.trusted_keys():
            verify(proof, self._around.trusted_keys())
        self.stored.add_digests(proof)

    def _arrived(self, command: RequestPiece, size: int) -> None:
        self.picker.piece_arrived(command.piece, command.source, trio.current_time())
        self.bytes_from["supernode" if command.source is None else "peers"] += size
        self._around.piece_came(command.source, size)

    def _failed(
        self, command: RequestPiece, fault: Fault, error: FlyfsError | None = None, retry_after_s: float | None = None
    ) -> None:
        if error is not None:
            self.last_error = error
        self.picker.request_failed(command.piece, command.source, fault, trio.current_time(), retry_after_s)

    def peer_holds(self, peer: PeerId, have: bytes, *, far: bool) -> None:
        """A neighbour's whole bitmap arrived. Raises ValueError where it is not a bitmap of this blob."""
        self.picker.peer_came(peer, Bitmap.from_bytes(have, len(self.blob.grid)), far=far)
        self.changed()

    def offered(self, pieces: Sequence[int]) -> None:
        """The supernode would send these pieces."""
        self.picker.offered(PieceIndex(piece) for piece in pieces if piece < len(self.blob.grid))
        self.changed()
