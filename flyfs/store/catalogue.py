"""Which blobs the store has, how many bytes each holds, and which was used last. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flyfs.core.blob import Blob
from flyfs.core.ids import BlobId
from flyfs.store.holdings import Holding


@dataclass(slots=True)
class _Entry:
    blob: Blob
    used_bytes: int
    used_at_s: float
    found: bool = False  # since the start


class Catalogue:
    """All blobs of one store, the least recently used first."""

    def __init__(self) -> None:
        self._entries: dict[BlobId, _Entry] = {}  # in order of use
        self.used_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, blob_id: BlobId) -> bool:
        return blob_id in self._entries

    def add(self, blob: Blob, used_bytes: int = 0, *, used_at_s: float) -> None:
        """A blob that was used later than all others, and whose pieces take ``used_bytes``; it replaces one of the same id."""
        self.remove(blob.id)
        self._entries[blob.id] = _Entry(blob, used_bytes, used_at_s)
        self.used_bytes += used_bytes

    def remove(self, blob_id: BlobId) -> int:
        """Forgets a blob; gives the bytes that it took, 0 for an unknown one."""
        entry = self._entries.pop(blob_id, None)
        if entry is None:
            return 0
        self.used_bytes -= entry.used_bytes
        return entry.used_bytes

    def peek(self, blob_id: BlobId) -> Blob | None:
        """The blob; its age stays what it is."""
        entry = self._entries.get(blob_id)
        return entry.blob if entry is not None else None

    def find(self, blob_id: BlobId, now_s: float) -> Blob | None:
        """The blob, used now (seconds since 1970)."""
        entry = self._entries.pop(blob_id, None)
        if entry is None:
            return None
        self._entries[blob_id] = entry
        entry.found = True
        entry.used_at_s = now_s
        return entry.blob

    def blobs(self) -> list[Blob]:
        """All blobs, the least recently used first."""
        return [entry.blob for entry in self._entries.values()]

    def change_used(self, blob_id: BlobId, by_bytes: int) -> None:
        """The blob's pieces take ``by_bytes`` more (or less); an unknown one is no mistake."""
        entry = self._entries.get(blob_id)
        if entry is not None:
            entry.used_bytes += by_bytes
            self.used_bytes += by_bytes

    def set_used(self, blob_id: BlobId, used_bytes: int) -> None:
        """The blob's pieces take ``used_bytes``, as its files turned out to say."""
        self.change_used(blob_id, used_bytes - self._entries[blob_id].used_bytes)

    def found(self) -> Iterator[tuple[BlobId, float]]:
        """The blobs that ``find`` gave, and when last, the least recently used first."""
        return ((blob_id, entry.used_at_s) for blob_id, entry in self._entries.items() if entry.found)

    def holdings(self, in_use: Callable[[BlobId], bool]) -> list[Holding]:
        """All blobs as people see them, the least recently used first."""
        return [
            Holding(entry.blob, entry.used_bytes, entry.used_at_s, in_use(blob_id)) for blob_id, entry in self._entries.items()
        ]

    def by_age(self) -> Iterator[tuple[BlobId, int]]:
        """(blob id, used bytes), the least recently used first."""
        return ((blob_id, entry.used_bytes) for blob_id, entry in self._entries.items())
