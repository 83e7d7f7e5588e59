"""What a blob of the store needs of the store around it. Shell (limiters), but it does nothing by itself."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.manifest import SignedDigests
from flyfs.store.open_blobs import OpenBlobs
from flyfs.store.page_cache import PageCache
from flyfs.store.reader import Reader
from flyfs.store.space import Space
from flyfs.store.trust import Trust
from flyfs.store.unread_pages import UnreadPages
from flyfs.store.writer import Writer

if TYPE_CHECKING:
    from flyfs.store.stored_blob import StoredBlob


class Ordering(Protocol):
    """Who keeps the order of writes; ``StoredBlob`` tells what happens to it."""

    def piece_started(self, stored: "StoredBlob", piece: PieceIndex) -> None:
        """It is about to be written."""

    def piece_ended(self, stored: "StoredBlob", piece: PieceIndex, *, written: bool) -> bool:
        """It is written whole, or could not be; True where it counts, False where it has to be written (again)."""
        ...

    def digests_added(self, stored: "StoredBlob", batch: SignedDigests) -> None:
        """The manifest grew."""

    def pieces_dropped(self, stored: "StoredBlob", pieces: Iterable[PieceIndex]) -> None:
        """They are no *have* any more: unmark and free them, and tell the blob."""

    def forgotten(self, stored: "StoredBlob") -> None:
        """What was written of it and is not durable does not count any more."""


class StoreServices:
    """What the blobs of one store share."""

    def __init__(
        self,
        *,
        ordering: Ordering,
        writer: Writer,
        space: Space,
        pages: PageCache,
        unread_pages: "UnreadPages[StoredBlob]",
        open_blobs: OpenBlobs,
        trust: Trust,
        begin: Callable[["StoredBlob"], Awaitable[None]],
        lost: Callable[[BlobId], None],
    ) -> None:
        """``begin`` makes the files of a blob that has none; ``lost`` is told of a blob that lost pieces."""
        self.ordering = ordering
        self.writer = writer
        self.space = space
        self.pages = pages
        self.unread_pages = unread_pages
        self.open_blobs = open_blobs
        self.trust = trust
        self.begin = begin
        self.lost = lost
        self.reader = Reader()
