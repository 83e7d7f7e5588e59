"""What a store holds, as told to people, and which blobs they mean. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flyfs.core.blob import Blob
from flyfs.core.ids import BlobId
from flyfs.core.urls import parse_url

SHORT_ID_DIGITS = 8
"""Of an id that a person types, at least so many; more than that are needed only where two begin alike."""


@dataclass(frozen=True, slots=True)
class Holding:
    """One blob of a store.

    Attributes:
        held_bytes: what its pieces take.
        used_at_s: when it was last used, seconds since 1970.
        in_use: whether somebody uses it now; None where nobody can tell.
    """

    blob: Blob
    held_bytes: int
    used_at_s: float
    in_use: bool | None

    @property
    def pieces(self) -> int:
        """How many are held: only the last one of a blob may be shorter."""
        return -(-self.held_bytes // self.blob.piece_size)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which blobs some names mean.

    Attributes:
        unknown: names that mean none.
        ambiguous: starts of an id that mean several.
    """

    blob_ids: tuple[BlobId, ...]
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]


def select_blobs(blobs: Iterable[Blob], names: Sequence[str]) -> Selection:
    """The blobs that ``names`` mean: a URL all versions of it, an id or its first digits one blob."""
    known = list(blobs)
    found: dict[BlobId, None] = {}
    unknown: list[str] = []
    ambiguous: list[str] = []
    for name in names:
        url = _canonical(name)
        meant = [blob.id for blob in known if blob.url == url or _is_start_of_id(name, blob.id)]
        if not meant:
            unknown.append(name)
        elif url is None and len(meant) > 1:
            ambiguous.append(name)
        else:
            found.update(dict.fromkeys(meant))
    return Selection(tuple(found), tuple(unknown), tuple(ambiguous))


def _canonical(name: str) -> str | None:
    try:
        return str(parse_url(name))
    except ValueError:
        return None


def _is_start_of_id(name: str, blob_id: BlobId) -> bool:
    return len(name) >= SHORT_ID_DIGITS and blob_id.startswith(name.lower())
