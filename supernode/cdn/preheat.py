"""Reading whole blobs before anybody wants them, for as long as somebody asks for it. Shell."""

from dataclasses import dataclass, field

import structlog
import trio

from flyfs.core.errors import FlyfsError, StoreFull
from flyfs.core.ids import BlobId
from supernode.cdn.feed import Feed

LEASE_S = 10.0
"""A blob that nobody asked for again within this time is left as it is."""
MOST_WAIT_S = 2.0
AT_ONCE = 4
"""Blobs read at a time; whoever wants more waits for their turn."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Preheat:
    feed: Feed
    asked_at: float
    ended: trio.Event = field(default_factory=trio.Event)
    error: FlyfsError | None = None


class Preheater:
    """All blobs that are being read ahead of everybody."""

    def __init__(self, nursery: trio.Nursery) -> None:
        """``nursery`` owns the reading."""
        self._nursery = nursery
        self._running: dict[BlobId, _Preheat] = {}
        self._slots = trio.CapacityLimiter(AT_ONCE)

    async def warm(self, feed: Feed, wait_s: float) -> int:
        """Goes on reading the blob of ``feed``; how many pieces it holds after ``wait_s``, or once it has all.

        Raises:
            FlyfsError: what its origin, or the store, said; the next call tries again.
        """
        now = trio.current_time()
        preheat = self._running.get(feed.blob.id)
        if preheat is None and not feed.stored.have.complete:
            preheat = self._running[feed.blob.id] = _Preheat(feed, now)
            self._nursery.start_soon(self._run, preheat)
        if preheat is not None:
            preheat.asked_at = now
            with trio.move_on_after(min(wait_s, MOST_WAIT_S)):
                await preheat.ended.wait()
            if preheat.error is not None:
                raise preheat.error.with_traceback(None)
        return feed.stored.have.count

    async def _run(self, preheat: _Preheat) -> None:
        try:
            async with self._slots:
                with preheat.feed.stored.pin():
                    await self._bring_all(preheat)
        except FlyfsError as error:
            preheat.error = error
        finally:
            del self._running[preheat.feed.blob.id]
            preheat.ended.set()

    @staticmethod
    async def _bring_all(preheat: _Preheat) -> None:
        """Until all is held, or nobody asks any more. Raises FlyfsError."""
        feed = preheat.feed
        log.info("cdn.preheat.began", url=feed.blob.url, missing=len(feed.blob.grid) - feed.stored.have.count)
        for piece in feed.blob.grid:
            while piece not in feed.stored.have:
                if feed.shelf.holds(piece):  # and not in the store
                    raise StoreFull(f"{feed.blob.url}: the supernode has no room for all of it")
                if trio.current_time() >= preheat.asked_at + LEASE_S:
                    log.info("cdn.preheat.left", url=feed.blob.url, missing=len(feed.blob.grid) - feed.stored.have.count)
                    return
                with trio.move_on_at(preheat.asked_at + LEASE_S):
                    await feed.bring(piece)
