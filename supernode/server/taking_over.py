"""Takes blobs over from a supernode that is gone: waits for who holds them, and learns their digests from those. Shell."""

from collections.abc import Iterator
from itertools import islice

import trio

from flyfs.core.blob import Blob
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from flyfs.core.manifest import PAGE_PIECES
from flyfs.core.masks import mask_of_range, pieces_in
from supernode.cdn.adoption import Adoption
from supernode.cdn.cdn import Cdn
from supernode.cdn.feed import Feed
from supernode.coordinator import Coordinator
from supernode.server.takeover import Takeovers

_MOST_LOOKED_AT = 64
"""Holders whose bitmaps are compared with what is known, a few µs each."""


class TakingOver:
    """What happens before a blob that others read is served. Costs nothing for blobs of our own."""

    def __init__(self, coordinator: Coordinator, cdn: Cdn, adoption: Adoption) -> None:
        self._coordinator = coordinator
        self._cdn = cdn
        self._adoption = adoption
        self._takeovers = Takeovers()
        self._waiting: dict[BlobId, trio.Event] = {}

    def peer_joins(self, blob: Blob) -> None:
        """A peer is about to take part in a blob."""
        if self._cdn.embedded:
            return  # nobody else can come
        if self._coordinator.tasks.find(blob.id) is None and not self._cdn.names.told(blob):
            self._coordinator.blob_taken_over(blob, self._takeovers.blob_came(blob.id, trio.current_time()))

    def holder_came(self, blob_id: BlobId) -> None:
        """A peer told what it holds, or turned out to be reachable: whoever waits for a holder looks again."""
        waiting = self._waiting.pop(blob_id, None)
        if waiting is not None:
            waiting.set()

    async def before_serving(self, feed: Feed, piece: PieceIndex, ahead: int, peer: PeerId) -> None:
        """Before a piece is asked for that may have to be read: holders may be on their way, and tell what was read already."""
        until = self._takeovers.until(feed.blob.id)
        if until is None or feed.shelf.holds(piece):
            return
        with trio.move_on_at(until):
            while not self._can_be_had(feed.blob.id, piece, peer):
                await self._waiting.setdefault(feed.blob.id, trio.Event()).wait()
        if trio.current_time() >= until:
            self._waiting.pop(feed.blob.id, None)
        last = min(piece + ahead, len(feed.blob.grid) - 1)
        for page in range(piece // PAGE_PIECES, last // PAGE_PIECES + 1):
            await self.before_digests(feed, page)

    def _can_be_had(self, blob_id: BlobId, piece: PieceIndex, but: PeerId) -> bool:
        """Whether somebody else holds the piece, and can be reached."""
        task = self._coordinator.tasks.find(blob_id)
        holders = () if task is None else task.holders(piece, but)
        return any(member.address for peer in holders if (member := self._coordinator.members.find(peer)) is not None)

    async def before_digests(self, feed: Feed, page: int) -> None:
        """Before a manifest page is told, or read by: what peers know of it is known here too."""
        if self._takeovers.until(feed.blob.id) is not None:
            await self._adoption.learn_page(feed, page, self._holders_of_more(feed, page))

    def _holders_of_more(self, feed: Feed, page: int) -> Iterator[PeerId]:
        """Peers that hold pieces of a page whose digests are not known here; compared anew for each."""
        task = self._coordinator.tasks.find(feed.blob.id)
        if task is None:
            return
        first = page * PAGE_PIECES
        page_mask = mask_of_range(range(first, min(first + PAGE_PIECES, len(feed.blob.grid))))
        for one in list(islice(task.participants(), _MOST_LOOKED_AT)):
            if any(not feed.proves(piece) for piece in pieces_in(one.pieces & page_mask)):
                yield one.peer_id
