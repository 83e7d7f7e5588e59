"""What is at a remote name: the supernode's answers to *stat* and *list*. Shell.

A question that comes with the intent to read is asked of the origin as a ranged GET, so that the version and the first piece
arrive together: the first byte of a cold file costs one round trip.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog
import trio

from flyfs.core.blob import Blob, ValidatorKind
from flyfs.core.errors import FlyfsError, NotFound, TooLarge, Unavailable
from flyfs.core.grid import GIB, MIB, ByteRange
from flyfs.core.ids import PUBLIC, PieceIndex
from flyfs.core.manifest import Fork
from flyfs.core.remote import Entry, RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl, parse_url
from flyfs.core.versions import VersionBook
from flyfs.origin.answers import IsDirectory, OriginDirectory, OriginHead
from flyfs.origin.body import OriginBody
from flyfs.origin.client import OriginClient
from supernode.cdn.answers_cache import AnswersCache
from supernode.cdn.feed import Feed
from supernode.cdn.shelves import Spool

MAX_NAMES = 200_000
MAX_LISTINGS = 1_000
PIN_LIMIT_BYTES = GIB
"""Content without a length is read whole up to this."""
PIN_LASTS_S = 10.0
"""What was read whole serves whoever tries again within this time, however long the reading took."""

_SPOOL_STEP_BYTES = MIB

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KnownListing:
    """One listing; ``serial`` ties the pages of one reply together."""

    serial: int
    entries: tuple[Entry, ...]
    skipped: int
    by_name: dict[str, Entry]


class Feeds(Protocol):
    """Where blobs are handed out."""

    async def feed(self, blob: Blob) -> Feed:
        """The feed of a blob, begun where there was none."""
        ...

    async def feed_spooled(self, blob: Blob, spool: Spool) -> Feed:
        """The feed of a blob that was read whole into a spool already."""
        ...

    def version_seen(self, blob: Blob) -> None:
        """The origin says that the blob is what is there now."""
        ...


class Names:
    """Asks origins about names, once however many want to know."""

    def __init__(
        self,
        origin: OriginClient,
        versions: VersionBook,
        feeds: Feeds,
        nursery: trio.Nursery,
        *,
        spool_directory: Path,
        pin_limit_bytes: int = PIN_LIMIT_BYTES,
    ) -> None:
        self._origin = origin
        self._versions = versions
        self._feeds = feeds
        self._nursery = nursery
        self._spool_directory = spool_directory
        self._pin_limit_bytes = pin_limit_bytes
        self._names: AnswersCache[RemoteUrl, RemoteFile | RemoteDirectory] = AnswersCache(nursery, MAX_NAMES)
        self._pins: AnswersCache[RemoteUrl, RemoteFile | RemoteDirectory] = AnswersCache(nursery, MAX_NAMES, lasts_s=PIN_LASTS_S)
        self._listings: AnswersCache[RemoteUrl, KnownListing] = AnswersCache(nursery, MAX_LISTINGS)
        self._serials = itertools.count(1)

    def forget(self, url: RemoteUrl) -> None:
        """What is known of a name turned out to be over."""
        self._names.forget(url)
        self._pins.forget(url)

    def told(self, blob: Blob) -> bool:
        """Whether somebody asked for the name of ``blob``, and was told that this is what is there."""
        known = (names.peek(parse_url(blob.url)) for names in (self._names, self._pins))
        return any(isinstance(one, RemoteFile) and one.blob == blob for one in known)

    # -- stat ------------------------------------------------------------------------------------------------------

    async def stat(
        self, url: RemoteUrl, *, max_age_s: float, read: bool, pin: bool
    ) -> tuple[RemoteFile | RemoteDirectory, float]:
        """What is at ``url``, and how old that knowledge is in seconds.

        Raises:
            NotFound: neither the name nor the directory of that name exists.
            Denied, Unavailable: as the origin says.
            TooLarge: there is no length, and more content than may be pinned.
        """
        answer, age_s = await self._names.ask(url, max_age_s, lambda: self._look(url, read=read))
        if pin and isinstance(answer, RemoteFile) and answer.blob is None:
            return await self._pins.ask(url, max_age_s, lambda: self._pin(url))
        return answer, age_s

    async def _look(self, url: RemoteUrl, *, read: bool) -> RemoteFile | RemoteDirectory:
        try:
            first = None if not read or url.is_directory else await self._first_range(url)
            if first is not None:
                return await self._look_reading(url, first)
            answer = await self._origin.stat(url, {})
        except IsDirectory:
            return RemoteDirectory(age_s=0.0)
        except NotFound as missing:
            answer = await self._origin.directory_instead(url, {}, missing)
        return RemoteDirectory(age_s=0.0) if isinstance(answer, OriginDirectory) else self._file(url, answer)

    async def _first_range(self, url: RemoteUrl) -> ByteRange | None:
        """What to read along with the question; None where the first piece is here, or nothing is worth it."""
        known = self._names.peek(url)
        if isinstance(known, RemoteFile):
            if known.blob is None or known.sequential or known.blob.size == 0:
                return None
            feed = await self._feeds.feed(known.blob)
            if feed.stored.manifest.digest_of(PieceIndex(0)) is not None or feed.plan.reading:
                return None
            return feed.blob.grid.range_of(PieceIndex(0))
        if self._versions.has_read(str(url)):  # before a restart: most likely it is the same version still
            return None
        size = self._listed_size(url)
        return None if size == 0 else ByteRange(0, self._versions.piece_size(size or 0))

    def _listed_size(self, url: RemoteUrl) -> int | None:
        above = RemoteUrl(url.scheme, url.authority, (*url.segments[:-1], ""))
        listing = self._listings.peek(above)
        entry = listing.by_name.get(url.segments[-1]) if listing is not None else None
        return entry.size if entry is not None else None

    def _file(self, url: RemoteUrl, head: OriginHead) -> RemoteFile:
        blob = None if head.size is None else self._versions.blob_of(str(url), PUBLIC, head.validator, head.size)
        if blob is not None:
            self._feeds.version_seen(blob)
        sequential = head.accepts_ranges is False or head.validator.kind is ValidatorKind.NONE
        return RemoteFile(blob=blob, modified_s=head.told_s, age_s=0.0, sequential=sequential)

    async def _look_reading(self, url: RemoteUrl, first: ByteRange) -> RemoteFile:
        """Asks for the first piece; the answer is known with its head, the bytes follow in a task of their own."""
        file: RemoteFile = await self._nursery.start(self._read_along, url, first)
        return file

    async def _read_along(self, url: RemoteUrl, first: ByteRange, *, task_status: trio.TaskStatus[RemoteFile]) -> None:
        told = False
        try:
            async with self._origin.read(url, first, {}, None) as body:
                file = self._file(url, body.head)
                if file.blob is None or file.blob.size == 0:
                    task_status.started(file)
                    return
                feed = await self._feeds.feed(file.blob)
                told = True
                task_status.started(file)
                await self._take_first(feed, body)
        except FlyfsError as error:
            if not told:
                raise
            log.debug("cdn.read_along.failed", url=url.redacted(), reason=error.message)

    async def _take_first(self, feed: Feed, body: OriginBody) -> None:
        """Hands the body of the first range to its feed, where it fits the grid and nobody else reads that piece."""
        grid, head = feed.blob.grid, body.head
        whole = head.length == feed.blob.size
        stop = len(grid) if whole else (head.length or 0) // feed.blob.piece_size
        only_part = head.validator.kind is ValidatorKind.NONE and not whole
        if not stop or only_part or feed.plan.covered(PieceIndex(0)):
            return
        read = feed.plan.begin(0, stop)
        try:
            await feed.take_body(read, body)
        except FlyfsError as error:
            feed.read_failed(read, error)

    # -- content without a length ----------------------------------------------------------------------------------

    async def _pin(self, url: RemoteUrl) -> RemoteFile:
        """Reads the whole content, to learn its length; it goes on although whoever asked gave up."""
        try:
            return await self._pin_once(url)
        except Fork:  # other bytes than last time, and nothing that tells them apart: the old blob is retired by now
            return await self._pin_once(url)

    async def _pin_once(self, url: RemoteUrl) -> RemoteFile:
        spool = Spool(self._spool_directory)
        try:
            async with self._origin.read(url, None, {}, None) as body:
                size = await self._spool(url, body, spool)
            head = body.head
            blob = self._versions.blob_of(str(url), PUBLIC, head.validator, size)
            feed = await self._feeds.feed_spooled(blob, spool)
        except BaseException:
            spool.close()
            raise
        return RemoteFile(blob=feed.blob, modified_s=head.told_s, age_s=0.0, sequential=True)

    async def _spool(self, url: RemoteUrl, body: OriginBody, spool: Spool) -> int:
        buffer = memoryview(bytearray(_SPOOL_STEP_BYTES))
        size = 0
        while count := await body.receive_into(buffer):
            if size + count > self._pin_limit_bytes:
                raise TooLarge(f"{url.redacted()}: no length, and more than {self._pin_limit_bytes} bytes")
            await spool.write(size, buffer[:count])
            size += count
        return size

    # -- list ------------------------------------------------------------------------------------------------------

    async def list(self, url: RemoteUrl, *, max_age_s: float) -> tuple[KnownListing, float]:
        """The names in the directory ``url``, and how old that knowledge is. Raises as ``stat``."""
        return await self._listings.ask(url, max_age_s, lambda: self._list(url))

    async def _list(self, url: RemoteUrl) -> KnownListing:
        listing = await self._origin.list(url, {})
        by_name = {entry.name: entry for entry in listing.entries}
        return KnownListing(next(self._serials), tuple(listing.entries), listing.skipped, by_name)

    def listing_of(self, url: RemoteUrl, serial: int) -> KnownListing:
        """A listing whose first page was told before.

        Raises:
            Unavailable: it was replaced meanwhile; start again.
        """
        known = self._listings.peek(url)
        if known is None or known.serial != serial:
            raise Unavailable("the listing changed while it was told; ask again", retry_after_s=0.0)
        return known


def page_of(entries: tuple[Entry, ...], start: int, most_bytes: int) -> Iterator[Entry]:
    """As many entries from ``start`` on as fit into a frame."""
    room = most_bytes
    for entry in entries[start:]:
        room -= 4 * (len(entry.name) + len(entry.query)) + 48  # the most that a character, and the numbers, take packed
        if room < 0:
            return
        yield entry
