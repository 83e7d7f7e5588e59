"""Which blobs make room for new bytes, and how much room is missing. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from flyfs.core.grid import MIB
from flyfs.core.ids import BlobId

RESERVE_BYTES = 64 * MIB
RESERVE_SHARE = 100
"""A disk keeps 64 MiB free, a small one 1/100 of its size: other programs, and our own bitmaps, need room to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A blob that might go. ``used_bytes`` is what its pieces take; a pinned one has readers or writes under way."""

    blob_id: BlobId
    used_bytes: int
    pinned: bool


def reserve_bytes(disk_bytes: int) -> int:
    """What has to stay free on a disk of ``disk_bytes``."""
    return min(RESERVE_BYTES, disk_bytes // RESERVE_SHARE)


def shortfall_bytes(*, wanted: int, used: int, limit: int | None, free: int, reserve: int) -> int:
    """How many bytes must be freed before ``wanted`` more can be written; 0 where there is room.

    Args:
        wanted: bytes about to be written.
        used: bytes held, and promised to writes under way.
        limit: what ``used`` must not exceed, None for no limit.
        free: bytes the file system has left, less those promised to writes under way.
        reserve: what has to stay free.
    """
    over_limit = 0 if limit is None else used + wanted - limit
    return max(0, over_limit, wanted + reserve - free)


def plan_eviction(by_age: Iterable[Candidate], needed_bytes: int) -> tuple[BlobId, ...]:
    """The least recently used blobs that free ``needed_bytes`` together, none where all of them would not be enough.

    Args:
        by_age: all blobs, the least recently used first.
        needed_bytes: what has to be freed.
    """
    victims: list[BlobId] = []
    freed = 0
    for candidate in by_age:
        if freed >= needed_bytes:
            break
        if not candidate.pinned and candidate.used_bytes:
            victims.append(candidate.blob_id)
            freed += candidate.used_bytes
    return tuple(victims) if freed >= needed_bytes else ()
