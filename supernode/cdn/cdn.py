"""The CDN as a whole: feeds by blob, names, and the store they share. Shell."""

import secrets
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

import structlog
import trio

from flyfs.core.blob import Blob
from flyfs.core.errors import FlyfsError, RemoteProtocolError, StoreFull, Unavailable
from flyfs.core.ids import PUBLIC, BlobId
from flyfs.core.urls import parse_url
from flyfs.core.versions import VersionBook
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from flyfs.transport.buffers import BufferPool
from supernode.cdn.feed import UNCLAIMED_S, Feed, FeedServices
from supernode.cdn.fetch_plan import Read
from supernode.cdn.names import Names
from supernode.cdn.preheat import Preheater
from supernode.cdn.shelves import MemoryShelf, Shelf, Spool, SpoolShelf, StoreShelf

MAX_BLOB_BYTES = 1 << 50

SPOOL_LASTS_S = 600.0
"""How long content that came without ranges waits for being asked for."""

MAX_FEEDS = 1_000
"""Feeds in memory, beyond those in use: one is made again in a millisecond."""

log = structlog.get_logger(__name__)


class RetirementListener(Protocol):
    """Who tells the swarm."""

    def blob_retired(self, blob_id: BlobId, reason: str) -> None:
        """A blob contradicts itself: nobody may serve it any more."""
        ...


class Cdn:
    """Hands out every piece of every blob that its origin allows."""

    def __init__(
        self,
        store: Store,
        services: FeedServices,
        versions: VersionBook,
        listener: RetirementListener,
        *,
        embedded: bool,
        spool_directory: Path,
    ) -> None:
        self._store = store
        self._services = services
        self._versions = versions
        self._listener = listener
        self.embedded = embedded
        self._spool_directory = spool_directory
        self._feeds: OrderedDict[BlobId, Feed] = OrderedDict()  # the least recently used first
        self._preheater = Preheater(services.nursery)
        self.names = Names(services.origin, versions, self, services.nursery, spool_directory=spool_directory)

    @property
    def buffers(self) -> BufferPool:
        """What pieces are received into."""
        return self._services.buffers

    # -- blobs -----------------------------------------------------------------------------------------------------

    async def feed(self, blob: Blob) -> Feed:
        """The feed of a blob, begun where there was none. Raises Unavailable where descriptors or memory are short."""
        known = self._known(blob.id)
        if known is not None:
            return known
        stored = await self._store.create(blob)
        return self._known(blob.id) or self._begin(stored, self._shelf(stored))

    def _known(self, blob_id: BlobId) -> Feed | None:
        feed = self._feeds.get(blob_id)
        if feed is None:
            return None
        if feed.stored.dropped:  # evicted meanwhile: what it holds cannot be sent, nor anything be added
            self._feeds.pop(blob_id).shelf.close()
            return None
        self._feeds.move_to_end(blob_id)
        return feed

    def _shelf(self, stored: StoredBlob) -> Shelf:
        return MemoryShelf() if self.embedded else StoreShelf(stored)

    def _begin(self, stored: StoredBlob, shelf: Shelf) -> Feed:
        feed = Feed(stored, shelf, self._services, self)
        feed.plan.sequential = self._versions.needs_whole_read(stored.blob.validator)
        self._feeds[stored.blob.id] = feed
        for blob_id in list(self._feeds)[: max(0, len(self._feeds) - MAX_FEEDS)]:
            if self._feeds[blob_id].idle:
                self._feeds.pop(blob_id).shelf.close()
        return feed

    async def feed_spooled(self, blob: Blob, spool: Spool) -> Feed:
        """The feed of a blob whose bytes are all in ``spool``: proved now, and kept as the other blobs are.

        Raises:
            Corrupt: the spool does not give its bytes back.
        """
        feed = await self.feed(blob)
        feed.plan.sequential = True
        read = feed.plan.begin(0, len(blob.grid))
        shelf = SpoolShelf(spool, blob.grid, lambda: self._unspool(feed, shelf))
        feed.shelf.close()
        feed.shelf = shelf if self.embedded else StoreShelf(feed.stored, shelf)
        try:
            await self._keep_spooled(feed, read, spool)
        except FlyfsError as error:
            feed.read_failed(read, error)
            self._unspool(feed, shelf)
            raise
        feed.spooled(read)
        shelf.all_came()
        if not self.embedded and not shelf.closed:  # what the store had no room for
            self._services.nursery.start_soon(self._end_spool, feed, shelf)
        return feed

    async def _keep_spooled(self, feed: Feed, read: Read, spool: Spool) -> None:
        with feed.stored.use():
            for piece in feed.blob.grid:
                loan = await self._services.buffers.lend(feed.blob.grid.length_of(piece))
                try:
                    await spool.read(feed.blob.grid.range_of(piece).start, loan.view)
                    await feed.keep(read, piece, loan)
                except BaseException:
                    loan.give_back()
                    raise

    @staticmethod
    def _unspool(feed: Feed, shelf: SpoolShelf) -> None:
        shelf.close()
        if feed.shelf is shelf:
            feed.shelf = MemoryShelf()
        elif isinstance(feed.shelf, StoreShelf) and feed.shelf.overflow is shelf:
            feed.shelf.overflow = MemoryShelf()

    def know(self, blob: Blob) -> None:
        """A peer names a blob: checked, so that it can be asked for by its id.

        Raises:
            RemoteProtocolError: that is no blob that a supernode could have made.
        """
        # The id does not tell the piece size: two of them under one id would be two grids in one task.
        same_grid = blob.piece_size == self._versions.piece_size(blob.size) and blob.size <= MAX_BLOB_BYTES
        if blob.principal != PUBLIC or not same_grid or not _is_canonical(blob.url):
            raise RemoteProtocolError(f"not a blob of ours: {blob.id}")
        self._versions.learn(blob)

    async def find(self, blob_id: BlobId, blob: Blob | None) -> Feed | None:
        """The feed of a blob by its id; ``blob`` is what peers said of it, for one that is not in the store."""
        known = self._known(blob_id)
        if known is not None:
            return known
        stored = self._store.find(blob_id)
        if stored is not None:
            return await self.feed(stored.blob)
        return await self.feed(blob) if blob is not None else None

    def held(self, blob_id: BlobId) -> int:
        """The pieces of a blob that lie on this disk (a mask), so that nobody has to be asked for them."""
        feed = self._feeds.get(blob_id)
        return feed.stored.have.mask if feed is not None and isinstance(feed.shelf, StoreShelf) else 0

    async def warm(self, blob: Blob, wait_s: float) -> int:
        """Has all of a blob read ahead of everybody; how many pieces are held after ``wait_s``, or once all are.

        Raises:
            Unavailable: an embedded supernode keeps no bytes.
            FlyfsError: what its origin, or the store, said.
        """
        if self.embedded:
            raise Unavailable("the supernode that a mount starts for itself keeps no bytes; warm this host instead")
        if blob.size > self._store.capacity_bytes:  # else it would push out everything else first
            raise StoreFull(f"{blob.url} is larger than what the supernode may keep")
        return await self._preheater.warm(await self.feed(blob), wait_s)

    def version_seen(self, blob: Blob) -> None:
        """The origin has this version, perhaps once more."""
        feed = self._feeds.get(blob.id)
        if feed is not None:
            feed.version_seen()

    # -- what feeds tell (feed.FeedListener) -----------------------------------------------------------------------

    def version_over(self, blob: Blob, reason: str) -> None:
        """The next question about the name asks the origin."""
        log.info("cdn.version.over", url=blob.url, reason=reason)
        self._versions.forget(blob)
        self.names.forget(parse_url(blob.url))

    def whole_file_comes(self, feed: Feed) -> None:
        """An embedded supernode keeps what comes too early in a spool file: in memory it would be dropped and read again."""
        fits = feed.blob.size <= self._services.buffers.budget_bytes // 2
        if not self.embedded or fits or not isinstance(feed.shelf, MemoryShelf):
            return
        try:
            spool = Spool(self._spool_directory)
        except StoreFull as error:
            log.warning("cdn.spool.refused", url=feed.blob.url, reason=error.message)  # it is read again then, piece by piece
            return
        shelf = SpoolShelf(spool, feed.blob.grid, lambda: self._unspool(feed, shelf))
        feed.shelf.close()
        feed.shelf = shelf
        self._services.nursery.start_soon(self._end_spool, feed, shelf)

    async def _end_spool(self, feed: Feed, shelf: SpoolShelf) -> None:
        """The daemon may have had some pieces before, and never ask for them: the spool ends in time all the same."""
        while not shelf.closed:
            await trio.sleep(SPOOL_LASTS_S)
            if not feed.plan.reading:
                self._unspool(feed, shelf)

    def buffers_short(self) -> None:
        """Pieces that nobody asked for in time make room."""
        for feed in self._feeds.values():
            feed.shelf.drop_unclaimed(trio.current_time() - UNCLAIMED_S)

    def blob_forked(self, blob: Blob, reason: str) -> None:
        """The blob is dropped here and everywhere."""
        log.warning("cdn.blob.forked", url=blob.url, reason=reason)
        self.version_over(blob, reason)
        feed = self._feeds.pop(blob.id, None)
        if feed is not None:
            feed.shelf.close()
        self._listener.blob_retired(blob.id, reason)
        self._services.nursery.start_soon(self._store.drop, blob.id)


def _is_canonical(url: str) -> bool:
    try:
        return str(parse_url(url)) == url
    except ValueError:
        return False


def version_book(store: Store, piece_size: int | None) -> VersionBook:
    """The versions of all blobs in a store, so that weak ones are recognised after a restart."""
    versions = VersionBook(lambda: secrets.randbits(63) | 1, piece_size)
    for blob in reversed(store.blobs()):  # the most recently used one of a name is the one to go on with
        versions.learn(blob)
    return versions
