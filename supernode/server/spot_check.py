"""Asks a peer that is said to send wrong bytes for the same piece: one wrong answer is a proof. Shell.

One at a time, each peer once in a while, within a deadline: what peers report must not make us download. A right answer proves
nothing, a liar may know who asks.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog
import trio

from flyfs.core.address import parse_address
from flyfs.core.errors import FlyfsError, Unavailable
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from flyfs.core.manifest import piece_digest
from flyfs.transport.buffers import BufferPool
from flyfs.transport.greeting import dial
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import GetPiece, Hello, Message, Piece
from supernode.cdn.feed import Feed
from supernode.members import Member

DEADLINE_S = 10.0
AGAIN_S = 10.0
"""A peer is asked once in so many seconds, whoever complains of it."""
_MOST_REMEMBERED = 1024

log = structlog.get_logger(__name__)


class SpotCheck:
    """Of one supernode."""

    def __init__(
        self,
        hello: Callable[[], Hello],
        find: Callable[[BlobId], Awaitable[Feed | None]],
        buffers: BufferPool,
        nursery: trio.Nursery,
    ) -> None:
        """``find`` gives the feed of a blob, where its digests are known."""
        self._hello = hello
        self._find = find
        self._buffers = buffers
        self._nursery = nursery
        self._running = False
        self._checked: OrderedDict[PeerId, float] = OrderedDict()

    def suspect(self, peer: Member, blob_id: BlobId, piece: int, proved: Callable[[Member, str], None]) -> None:
        """Somebody got wrong bytes from ``peer``; ``proved`` hears it where we do, too."""
        now = trio.current_time()
        if self._running or not peer.address or now - self._checked.get(peer.peer_id, -AGAIN_S) < AGAIN_S:
            return
        self._checked[peer.peer_id] = now
        self._checked.move_to_end(peer.peer_id)
        if len(self._checked) > _MOST_REMEMBERED:
            self._checked.popitem(last=False)
        self._running = True
        self._nursery.start_soon(self._check, peer, blob_id, piece, proved)

    async def _check(self, peer: Member, blob_id: BlobId, piece: int, proved: Callable[[Member, str], None]) -> None:
        wrong = False
        try:
            with trio.move_on_after(DEADLINE_S):
                wrong = await self._sends_wrong_bytes(peer, blob_id, piece)
        except (FlyfsError, ValueError) as error:
            log.debug("server.peer.unchecked", peer=peer.peer_id, reason=str(error))
        finally:
            self._running = False
        log.info("server.peer.checked", peer=peer.peer_id, blob=blob_id, piece=piece, wrong=wrong)
        if wrong:
            proved(peer, "sends wrong bytes, as the supernode saw for itself")

    async def _sends_wrong_bytes(self, peer: Member, blob_id: BlobId, piece: int) -> bool:
        feed = await self._find(blob_id)
        if feed is None or piece >= len(feed.blob.grid):
            return False
        batch = feed.proof(PieceIndex(piece))
        if batch is None:
            return False
        loan = self._buffers.lend_spare(feed.blob.grid.length_of(PieceIndex(piece)))
        if loan is None:
            return False
        with loan as view:
            reply = await self._ask(peer, GetPiece(blob_id=blob_id, piece=piece, demand=False, proof=False), view)
            return isinstance(reply, Piece) and piece_digest(view) != batch.digest_of(piece)

    async def _ask(self, peer: Member, message: GetPiece, into: memoryview) -> Message:
        async with dial(parse_address(peer.address), self._hello()) as dialled:
            if dialled.welcome.peer_id != peer.peer_id:
                raise Unavailable("another peer answers there")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dialled.link.run, _nothing_served)
                try:
                    return await dialled.link.request(message, timeout_s=DEADLINE_S, into=into)
                finally:
                    nursery.cancel_scope.cancel()


async def _nothing_served(_: Link, message: Message) -> Answer | None:
    raise Unavailable(f"this side does not serve {type(message).__name__} on this connection")
