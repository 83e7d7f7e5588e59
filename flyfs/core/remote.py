"""What can be said about a remote name: the answers to *stat* and *list*. Pure values.

Three answers exist: it is there (one of these), it is certainly not (``NotFound``), it cannot be known now (``Unavailable``).
"""

from dataclasses import dataclass
from enum import StrEnum

from flyfs.core.blob import Blob


class EntryKind(StrEnum):
    """What a listing says of a name."""

    FILE = "file"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name of a listing.

    Attributes:
        name: decoded, one path segment, without a trailing slash; bytes that are no UTF-8 as surrogate escapes.
        size: exact bytes, None where the listing does not tell or only rounds.
        modified_s: seconds since 1970, None where the listing does not tell.
        modified_exact: False where ``modified_s`` is cut to the minute or coarser.
        query: raw query part of the entry's link, empty for almost all.
    """

    name: str
    kind: EntryKind
    size: int | None = None
    modified_s: int | None = None
    modified_exact: bool = False
    query: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A name that is a file.

    Attributes:
        blob: the version the origin has; None while the length is not known (the origin gives none, nobody read it yet).
        modified_s: Last-Modified in seconds since 1970, None where the origin does not tell.
        age_s: how old this knowledge is.
        sequential: the origin ignores Range: its bytes come from the start only.
    """

    blob: Blob | None
    modified_s: int | None
    age_s: float
    sequential: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteDirectory:
    """A name that is a directory (the origin lists it, or redirects to it with a slash)."""

    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The names in a directory.

    Attributes:
        entries: without duplicates, in the origin's order.
        skipped: names that were left out because nobody could open them (empty, ``.``, ``..``, duplicates).
        age_s: how old this knowledge is.
    """

    entries: tuple[Entry, ...]
    skipped: int
    age_s: float
