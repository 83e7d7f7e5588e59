"""One blob at the supernode: read from its origin once, proved, published, handed out. Shell.

Carries out the fetch plan. Reads belong to the CDN's nursery; whoever waits for a piece only waits.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog
import trio

from flyfs.core.blob import Blob
from flyfs.core.errors import FlyfsError, Stale, StoreFull, Unavailable
from flyfs.core.grid import ByteRange
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import PAGE_PIECES, Fork, SignedDigests, piece_digest
from flyfs.core.signing import SigningKey
from flyfs.core.urls import parse_url
from flyfs.origin.answers import VersionChanged
from flyfs.origin.body import OriginBody
from flyfs.origin.client import OriginClient
from flyfs.store.reader import PiecesLost
from flyfs.store.stored_blob import StoredBlob
from flyfs.telemetry.counters import Counters
from flyfs.transport.buffers import BufferPool, Loan
from supernode.cdn.fetch_plan import FetchPlan, Read
from supernode.cdn.shelves import Lent, Shelf

SIGN_AT_ONCE = 64
"""Digests that wait for their signature at most."""

COLLECT_S = 0.002
"""How long a prefetch waits for the demand that was sent with it, and may come behind it: one read of the origin serves both."""

UNCLAIMED_S = 2.0
"""A piece in memory that nobody asked for within this time was read ahead in vain; it goes when buffers are short."""

_TRIES = 3
"""How often a piece is read from the origin that the disk takes and then does not give back."""

log = structlog.get_logger(__name__)


class FeedListener(Protocol):
    """Who is told what became of a blob."""

    def version_over(self, blob: Blob, reason: str) -> None:
        """The origin has another version now; what is held stays valid."""
        ...

    def whole_file_comes(self, feed: "Feed") -> None:
        """All of a blob is coming in the origin's order, whatever is wanted: it needs a place until it is asked for."""
        ...

    def buffers_short(self) -> None:
        """No buffer came free for a while: pieces that nobody asks for should go."""
        ...

    def blob_forked(self, blob: Blob, reason: str) -> None:
        """The origin sent other bytes under the same validator: the blob must be retired."""
        ...


@dataclass(frozen=True, slots=True)
class FeedServices:
    """What all feeds share."""

    origin: OriginClient
    buffers: BufferPool
    key: SigningKey
    counters: Counters
    nursery: trio.Nursery


class Feed:
    """One blob being handed out."""

    def __init__(self, stored: StoredBlob, shelf: Shelf, services: FeedServices, listener: FeedListener) -> None:
        """``stored`` keeps the digests (and, at a supernode of its own, the bytes)."""
        self.stored = stored
        self.shelf = shelf
        self.plan = FetchPlan(len(stored.blob.grid), stored.blob.piece_size, self._holds, self._was_read)
        self._services = services
        self._listener = listener
        self._waiting: dict[PieceIndex, set[trio.Event]] = {}
        self._unsigned: dict[int, bytes] = {}
        self._error: FlyfsError | None = None
        self._over: Stale | None = None

    @property
    def blob(self) -> Blob:
        """The blob that is handed out."""
        return self.stored.blob

    def _holds(self, piece: PieceIndex) -> bool:
        return self.shelf.holds(piece)

    def _was_read(self, piece: PieceIndex) -> bool:
        return self._digest_of(piece) is not None

    def _digest_of(self, piece: PieceIndex) -> bytes | None:
        return self.stored.manifest.digest_of(piece) or self._unsigned.get(piece)

    @property
    def idle(self) -> bool:
        """Whether nothing is read, nobody waits, and no bytes are here that a new feed of the blob would not have."""
        return not self.plan.reading and not self._waiting and self.shelf.bare

    # -- handing out -----------------------------------------------------------------------------------------------

    async def lend(self, piece: PieceIndex, *, demand: bool, ahead: int, background: bool = False) -> Lent:
        """The piece's bytes, read from the origin where they are not here.

        Raises:
            Stale: the origin has another version, and the piece was never read.
            FlyfsError: what the origin said, for as long as it is left alone after a failure.
        """
        for _ in range(_TRIES):
            while not self.shelf.holds(piece):
                await self._wait_for(piece, demand=demand, ahead=ahead, background=background)
            with suppress(PiecesLost, StoreFull):  # this disk lost it: the origin is asked again
                return await self.shelf.lend(piece)
        raise Unavailable(f"{self.blob.url}: the disk does not give back what was just written to it")

    async def bring(self, piece: PieceIndex) -> None:
        """Reads a piece, and what follows it, for nobody yet: behind everything else. Raises as ``lend``."""
        if not self.shelf.holds(piece):
            await self._wait_for(piece, demand=False, ahead=len(self.blob.grid) - piece - 1, background=True)

    def proof(self, piece: PieceIndex) -> SignedDigests | None:
        """The signed digests that cover a piece."""
        if piece in self._unsigned:
            self._sign_around(piece)
        batch = self.stored.manifest.batch_for(piece)
        return None if batch is None else self._signed_anew(batch)

    def _signed_anew(self, batch: SignedDigests) -> SignedDigests:
        """``batch`` with the key of now: what our disk holds was read or checked by us, perhaps under another key."""
        if batch.key == self._services.key.public:
            return batch
        return self._services.key.sign(batch.blob_id, batch.first, batch.digests)

    def digests(self, page: int) -> tuple[SignedDigests, ...]:
        """The digests known of a manifest page, in as few batches as there are gaps between them."""
        self._sign_all()
        for run in self._runs_of_batches(page):
            if len(run) > 1:
                digests = b"".join(batch.digests for batch in run)
                self.stored.add_digests(self._services.key.sign(self.blob.id, run[0].first, digests))
        return tuple(map(self._signed_anew, self.stored.manifest.batches(page)))

    @property
    def key(self) -> bytes:
        """The public key whose signatures count here."""
        return self._services.key.public

    def proves(self, piece: PieceIndex) -> bool:
        """Whether the digest of a piece is known here."""
        return self._digest_of(piece) is not None

    def learn(self, batch: SignedDigests) -> None:
        """Takes over digests that our own key signed, elsewhere; where they contradict what is known, the blob is retired."""
        try:
            self._refuse_fork(batch)
            self.stored.add_digests(batch)
        except Fork as error:
            self.forked(error.message)

    def forked(self, reason: str) -> None:
        """Two signed digests contradict each other: the blob is over, here and everywhere."""
        self._over = Stale(reason)
        self._listener.blob_forked(self.blob, reason)

    def _refuse_fork(self, batch: SignedDigests) -> None:
        """Raises Fork where a batch contradicts what was read here and is not signed yet; the rest the manifest checks."""
        for piece in map(PieceIndex, batch.pieces):
            own = self._unsigned.get(piece)
            if own is not None and own != batch.digest_of(piece):
                raise Fork(f"two signed digests for piece {piece} of blob {batch.blob_id}")

    def _runs_of_batches(self, page: int) -> list[list[SignedDigests]]:
        runs: list[list[SignedDigests]] = []
        for batch in self.stored.manifest.batches(page):
            if runs and runs[-1][-1].pieces.stop == batch.first:
                runs[-1].append(batch)
            else:
                runs.append([batch])
        return runs

    async def _wait_for(self, piece: PieceIndex, *, demand: bool, ahead: int, background: bool) -> None:
        if self._over is not None and not self.plan.covered(piece):
            raise self._over.with_traceback(None)
        pause_s = self.plan.pause_left_s(trio.current_time())
        if self._error is not None and pause_s and not self.plan.covered(piece):
            raise self._told_later(self._error, pause_s)
        came = trio.Event()
        self._waiting.setdefault(piece, set()).add(came)
        self.plan.wanted(piece, demand=demand, ahead=ahead, background=background)
        if demand:
            self.stored.piece_demanded(piece)  # it may be here, and wait to be written
        try:
            with self.stored.use(range(piece, piece + 1)):  # what comes must be here still when it is lent
                if not demand and not self.plan.covered(piece):
                    await trio.sleep(COLLECT_S)
                self._decide()
                await came.wait()
        finally:
            self.plan.unwanted(piece, demand=demand, background=background)
            waiting = self._waiting.get(piece, set())
            waiting.discard(came)
            if not waiting:
                self._waiting.pop(piece, None)
        if not self.shelf.holds(piece):
            if self._over is not None:
                raise self._over.with_traceback(None)
            if self._error is not None:
                raise self._told_later(self._error, self.plan.pause_left_s(trio.current_time()))

    @staticmethod
    def _told_later(error: FlyfsError, pause_s: float) -> FlyfsError:
        if isinstance(error, Unavailable):
            return Unavailable(error.message, retry_after_s=max(pause_s, 0.05))
        return error.with_traceback(None)  # raised again and again, it would collect the frames of all who heard it

    def hurried(self, piece: PieceIndex) -> None:
        """A reader waits by now for a piece that was asked for ahead of it."""
        self.plan.hurried(piece)
        self.stored.piece_demanded(piece)
        self._decide()

    def _wake(self, piece: PieceIndex) -> None:
        for came in self._waiting.get(piece, ()):
            came.set()

    def version_seen(self) -> None:
        """The origin has this version again: an answer that did not fit is forgotten."""
        self._over = None

    # -- reading ---------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        for read in self.plan.next_reads(trio.current_time()):
            self._services.nursery.start_soon(self._read, read)

    async def _read(self, read: Read) -> None:
        """One read of the origin, from its request to its last piece."""
        blob, grid = self.blob, self.blob.grid
        part = ByteRange(grid.range_of(PieceIndex(read.first)).start, grid.range_of(PieceIndex(read.stop - 1)).stop)
        whole = self.plan.sequential and len(part) == blob.size  # one that was planned before may still be for a part
        try:
            async with self._services.origin.read(parse_url(blob.url), None if whole else part, {}, blob) as body:
                await self.take_body(read, body)
        except FlyfsError as error:
            self.read_failed(read, error)

    async def take_body(self, read: Read, body: OriginBody) -> None:
        """Takes the pieces of ``read`` from a body that begins with it; ends the read.

        Raises:
            FlyfsError: the body broke off, or does not fit what is known of the blob; tell ``read_failed``.
        """
        if body.sequential and not self.plan.whole_file_comes(read):
            self._decide()
            return
        if self.plan.sequential:
            self._listener.whole_file_comes(self)
        with self.stored.use():
            while read.at < read.stop:
                piece = PieceIndex(read.at)
                loan = await self._buffer(self.blob.grid.length_of(piece))
                try:
                    await self._take_piece(read, piece, loan, body)
                except BaseException:
                    loan.give_back()
                    raise
        self.plan.read_ended(read)
        self._sign_all()
        if not self.plan.pause_left_s(trio.current_time()):  # else nothing is begun yet, and whoever asks must come back
            self._error = None
        self._decide()

    async def _buffer(self, size: int) -> Loan:
        loan = self._services.buffers.lend_nowait(size)
        while loan is None:
            with trio.move_on_after(UNCLAIMED_S):
                loan = await self._services.buffers.lend(size)
            if loan is None:
                self._listener.buffers_short()
        return loan

    async def _take_piece(self, read: Read, piece: PieceIndex, loan: Loan, body: OriginBody) -> None:
        count = await body.receive_into(loan.view, lambda: self.plan.priority_of(read))
        if count != len(loan.view):
            raise Unavailable(f"{self.blob.url}: the origin sent fewer bytes than it promised")
        self._services.counters.origin_bytes += count
        await self.keep(read, piece, loan)

    async def keep(self, read: Read, piece: PieceIndex, loan: Loan) -> None:
        """Proves and keeps a piece that ``read`` brought, and wakes who waits for it.

        Raises:
            Fork: other bytes are known under the same digest.
            StoreFull: it goes to a spool file that cannot grow.
        """
        self._remember(piece, piece_digest(loan.view))
        new = not self.shelf.holds(piece)
        if new:
            await self.shelf.put(piece, loan, demand=self.plan.demanded(piece))
        else:  # a sequential read passes by what is here already
            loan.give_back()
        self.plan.piece_came(read, piece, new=new)
        self._wake(piece)
        self._decide()

    def spooled(self, read: Read) -> None:
        """All of a read was kept from a spool."""
        self.plan.read_ended(read)
        self._sign_all()

    def _remember(self, piece: PieceIndex, digest: bytes) -> None:
        """Notes a digest, to be signed with others at the latest when somebody wants a proof. Raises Fork."""
        known = self._digest_of(piece)
        if known is None:
            self._unsigned[piece] = digest
            if len(self._unsigned) >= SIGN_AT_ONCE:
                self._sign_all()
        elif known != digest:
            raise Fork(f"{self.blob.url}: the origin sends other bytes under the same validator")

    def _sign_around(self, piece: int) -> None:
        """Signs the digests side by side with ``piece`` in its page: one signature takes as long as hashing 300 KiB."""
        first = last = piece
        page = piece // PAGE_PIECES
        while first - 1 in self._unsigned and (first - 1) // PAGE_PIECES == page:
            first -= 1
        while last + 1 in self._unsigned and (last + 1) // PAGE_PIECES == page:
            last += 1
        digests = b"".join(self._unsigned.pop(one) for one in range(first, last + 1))
        self.stored.add_digests(self._services.key.sign(self.blob.id, first, digests))

    def _sign_all(self) -> None:
        while self._unsigned:
            self._sign_around(next(iter(self._unsigned)))

    def read_failed(self, read: Read, error: FlyfsError) -> None:
        """A read broke: whoever waits for its pieces hears why, the origin is left alone for a moment."""
        now = trio.current_time()
        retry_after_s = error.retry_after_s if isinstance(error, Unavailable) else None
        self.plan.read_failed(read, now, retry_after_s)
        self._sign_all()
        self._error = error
        log.info("cdn.read.failed", url=self.blob.url, reason=error.message)
        match error:
            case Fork():
                self.forked(error.message)
            case VersionChanged():
                self._over = Stale(error.message)
                self._listener.version_over(self.blob, error.message)
            case _:
                pass
        for piece in list(self._waiting):
            if not self.plan.covered(piece):
                self._wake(piece)
