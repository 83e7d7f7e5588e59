"""Digests of pieces that another supernode read: asked of the peers that hold them, and believed where our own key signed. Shell.

A supernode that took a blob over must not read again what is read already. Whom it asks is not trusted: a batch that the fleet's
key did not sign is worth nothing, whoever sends it, and costs its sender nothing, because it may have been told so itself.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog
import trio

from flyfs.core.errors import Corrupt, FlyfsError
from flyfs.core.ids import BlobId, PeerId
from flyfs.core.manifest import SignedDigests
from flyfs.core.signing import verify
from flyfs.wire.messages import Digests, GetDigests, Message
from supernode.cdn.feed import Feed

ANSWER_S = 0.5
"""How long a peer may take: it answers from memory, and a reader may be waiting."""

MOST_ASKED = 3
"""Peers that are asked about a page, one after the other, before it is left alone for a while."""

AGAIN_S = 10.0
"""After that many seconds other peers may know more."""

SOON_S = 0.5
"""Where nobody knew more, somebody may join who does."""

_CHECKED_AT_ONCE = 8
"""Signatures checked before others get their turn: each takes 100 to 200 µs."""
_PAGES_REMEMBERED = 10_000

log = structlog.get_logger(__name__)


class Adoption:
    """Asks peers for digests, one of them at a time for each manifest page."""

    def __init__(self, ask: Callable[[PeerId, Message, float], Awaitable[Message]]) -> None:
        """``ask`` sends a peer a question, and waits for its answer so long."""
        self._ask = ask
        self._asking: dict[tuple[BlobId, int], trio.Event] = {}
        self._asked_at: OrderedDict[tuple[BlobId, int], float] = OrderedDict()

    async def learn_page(self, feed: Feed, page: int, holders: Iterable[PeerId]) -> None:
        """Learns what peers know of a page, unless that was tried a moment ago.

        ``holders`` hold pieces of the page whose digests are not known here; they are looked at only where one is asked.
        """
        key = (feed.blob.id, page)
        asking = self._asking.get(key)
        if asking is not None:
            await asking.wait()
            return
        now = trio.current_time()
        if now - self._asked_at.get(key, -AGAIN_S) < AGAIN_S:
            return
        asking = self._asking[key] = trio.Event()
        try:
            asked = 0
            for peer in holders:
                asked += 1
                await self._learn_from(feed, page, peer)
                if asked == MOST_ASKED:
                    break
            self._remember(key, now if asked else now - AGAIN_S + SOON_S)
        finally:
            del self._asking[key]
            asking.set()

    def _remember(self, key: tuple[BlobId, int], now: float) -> None:
        self._asked_at[key] = now
        self._asked_at.move_to_end(key)
        if len(self._asked_at) > _PAGES_REMEMBERED:
            self._asked_at.popitem(last=False)

    async def _learn_from(self, feed: Feed, page: int, peer: PeerId) -> None:
        try:
            reply = await self._ask(peer, GetDigests(blob_id=feed.blob.id, page=page), ANSWER_S)
        except FlyfsError as error:
            log.debug("cdn.digests.unanswered", peer=peer, blob=feed.blob.id, reason=error.message)
            return
        if isinstance(reply, Digests):
            await adopt(feed, reply.batches)


def contradict(feed: Feed, batches: Sequence[SignedDigests]) -> bool:
    """Whether two of ``batches``, both signed by the fleet's key, name different digests for a piece of the feed's blob."""
    if len(batches) != 2 or any(batch.blob_id != feed.blob.id for batch in batches):
        return False
    try:
        for batch in batches:
            verify(batch, frozenset([feed.key]))
    except Corrupt:
        return False
    one, other = batches
    shared = range(max(one.first, other.first), min(one.pieces.stop, other.pieces.stop))
    return any(one.digest_of(piece) != other.digest_of(piece) for piece in shared)


async def adopt(feed: Feed, batches: Iterable[SignedDigests]) -> None:
    """Takes over what the fleet's key signed of ``batches``; what another key signed, or does not fit, is left out."""
    ours = frozenset([feed.key])
    checked = 0
    for batch in batches:
        foreign = batch.blob_id != feed.blob.id or batch.pieces.stop > len(feed.blob.grid) or batch.key not in ours
        if foreign or feed.stored.dropped or feed.stored.manifest.knows(batch):
            continue
        try:
            verify(batch, ours)
        except Corrupt as error:
            log.info("cdn.digests.refused", blob=feed.blob.id, reason=error.message)
            return
        feed.learn(batch)
        checked += 1
        if checked % _CHECKED_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
