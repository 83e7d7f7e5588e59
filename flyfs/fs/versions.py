"""What is known of a remote name as of a time, and whether two pieces of knowledge can be about one version. Pure."""

from dataclasses import dataclass, replace

from flyfs.core.ids import BlobId
from flyfs.core.remote import Entry, EntryKind, RemoteDirectory, RemoteFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Knowledge about a name.

    Attributes:
        directory: whether it is a directory; then nothing but ``modified_s`` and ``as_of`` counts.
        size: bytes, None where unknown.
        modified_s: seconds since 1970, None where unknown.
        modified_exact: False where ``modified_s`` is cut to the minute or shown in a zone nobody told.
        blob_id: the version itself, None where only a listing, or nobody, told of it.
        as_of: when this was true at the origin.
    """

    directory: bool
    size: int | None = None
    modified_s: int | None = None
    modified_exact: bool = False
    blob_id: BlobId | None = None
    as_of: float

    @property
    def version_key(self) -> str:
        """What tells versions apart, as text that a number is derived from."""
        if self.directory:
            return "directory"
        return f"blob {self.blob_id}" if self.blob_id else f"listed {self.size} {self.modified_s}"


def listed_facts(entry: Entry, as_of: float) -> Facts:
    """What a listing tells."""
    return Facts(
        directory=entry.kind is EntryKind.DIRECTORY,
        size=entry.size,
        modified_s=entry.modified_s,
        modified_exact=entry.modified_exact,
        as_of=as_of,
    )


def answered_facts(answer: RemoteFile | RemoteDirectory, as_of: float) -> Facts:
    """What a stat tells."""
    if isinstance(answer, RemoteDirectory):
        return Facts(directory=True, as_of=as_of)
    return Facts(
        directory=False,
        size=answer.blob.size if answer.blob else None,
        modified_s=answer.modified_s,
        modified_exact=True,
        blob_id=answer.blob.id if answer.blob else None,
        as_of=as_of,
    )


def fits(known: Facts, listed: Facts | None, new: Facts) -> bool:
    """Whether ``new`` can be about the version that ``known`` is about.

    Args:
        known: what the number stands for.
        listed: what a listing last told of it, if one did: listings are compared with listings, because their times are
            cut to the minute and often in an unknown zone.
        new: what was learned now.
    """
    if known.directory or new.directory:
        return known.directory == new.directory
    if new.blob_id and known.blob_id:
        return new.blob_id == known.blob_id
    if new.size is not None and known.size is not None and new.size != known.size:
        return False
    if not new.blob_id and listed and listed.modified_exact == new.modified_exact:
        return new.modified_s is None or listed.modified_s is None or new.modified_s == listed.modified_s
    if new.modified_exact and known.modified_exact:
        return new.modified_s is None or known.modified_s is None or new.modified_s == known.modified_s
    return True


def merged(known: Facts, new: Facts) -> Facts:
    """Both together, where ``new`` fits: the exact values win, the later time counts."""
    if new.blob_id or known.directory:
        unknown = new.modified_s is None
        better = replace(new, modified_s=known.modified_s, modified_exact=known.modified_exact) if unknown else new
    elif known.blob_id or new.size is None:
        better = known
    else:
        better = new
    as_of = max(known.as_of, new.as_of)
    return better if better.as_of == as_of else replace(better, as_of=as_of)
