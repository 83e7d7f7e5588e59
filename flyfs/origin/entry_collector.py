"""What all listing formats give, and which names they may. Pure."""

from dataclasses import dataclass

from flyfs.core.errors import Unavailable
from flyfs.core.grid import MIB
from flyfs.core.remote import Entry, EntryKind

LISTING_MAX_BYTES = 64 * MIB
LISTING_MAX_NAMES = 1_000_000
_NO_NAMES = frozenset(("", ".", ".."))


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginListing:
    """What an origin lists.

    Attributes:
        entries: without duplicates, in the origin's order.
        skipped: names that nobody could open (empty, ``.``, ``..``, with a slash or NUL, duplicates, no regular files).
        listed: False where the directory is there, but its origin shows no listing of it.
    """

    entries: tuple[Entry, ...] = ()
    skipped: int = 0
    listed: bool = False


NAME_MAX_CHARACTERS = 8192
"""Longer than any URL that servers take; a name must fit into a message."""


class EntryCollector:
    """Collects names, and leaves out those that nobody could open."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._entries: dict[str | tuple[str, str], Entry] = {}
        self._skipped = 0

    def add(
        self,
        name: str,
        kind: EntryKind,
        *,
        query: str = "",
        size: int | None = None,
        modified_s: int | None = None,
        exact: bool = False,
    ) -> None:
        """Takes a decoded name.

        Raises:
            Unavailable: there are more names than a listing may have.
        """
        key = (name, query) if query else name  # the common case makes no tuple
        if (
            key in self._entries
            or name in _NO_NAMES
            or "/" in name
            or "\0" in name
            or len(name) + len(query) > NAME_MAX_CHARACTERS
        ):
            self._skipped += 1
            return
        if len(self._entries) >= LISTING_MAX_NAMES:
            raise Unavailable(f"{self._place}: the listing has more than {LISTING_MAX_NAMES} names")
        self._entries[key] = Entry(name=name, kind=kind, size=size, modified_s=modified_s, modified_exact=exact, query=query)

    def skip(self) -> None:
        """Counts something that is no file and no directory."""
        self._skipped += 1

    def listing(self) -> OriginListing:
        """All that was collected."""
        return OriginListing(entries=tuple(self._entries.values()), skipped=self._skipped, listed=True)
