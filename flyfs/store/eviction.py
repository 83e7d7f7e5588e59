"""How much room there is, when to make more, and who goes. Pure.

Eviction works in batches: it begins when less than one batch is left (the high watermark) and ends when two are free (the low
one), so that writers seldom wait for it and a sync of bitmaps serves many pieces. The least recently used blobs go first, and
whole; then the coldest pieces of those in use, of the blob that holds most of them first.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from flyfs.core.grid import MIB
from flyfs.core.ids import BlobId

RESERVE_BYTES = 64 * MIB
RESERVE_SHARE = 100
"""A disk keeps 64 MiB free, a small one 1/100 of its size: other programs, and our own bitmaps, need room to go on."""

BATCH_BYTES = 64 * MIB
BATCH_SHARE = 16
"""A batch is what one sync brings to the disk, or 1/16 of a small store."""

BLOB_INODES = 8
"""A blob's own directory and the one above, four files, and the successors of two."""

BIG = 4
"""A blob of more than so many times what is wished for loses pieces instead of going whole, unused as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What a file system has, as far as we may use it; ``free_inodes`` is None where it does not count them."""

    free_bytes: int
    whole_bytes: int
    free_inodes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What may be written now.

    Attributes:
        left_bytes: before the limit or the reserve would be broken; below zero where one is.
        batch_bytes: how much eviction frees at a time.
        capacity_bytes: what the store may hold in all.
        left_inodes: None for no limit.
    """

    left_bytes: int
    batch_bytes: int
    capacity_bytes: int
    left_inodes: int | None

    def fits(self, wanted_bytes: int, wanted_inodes: int) -> bool:
        """Whether so much can be promised."""
        return wanted_bytes <= self.left_bytes and (self.left_inodes is None or wanted_inodes <= self.left_inodes)

    @property
    def is_short(self) -> bool:
        """Whether the high watermark is passed: time to make room, before somebody has to wait for it."""
        return self.left_bytes < self.batch_bytes

    @property
    def wish_bytes(self) -> int:
        """What to free, down to the low watermark."""
        return max(0, 2 * self.batch_bytes - self.left_bytes)

    def missing_inodes(self, wanted_inodes: int) -> int:
        """How many have to be freed before so many can be promised."""
        return 0 if self.left_inodes is None else max(0, wanted_inodes - self.left_inodes)


def reserve_bytes(disk_bytes: int) -> int:
    """What has to stay free on a disk of ``disk_bytes``."""
    return min(RESERVE_BYTES, disk_bytes // RESERVE_SHARE)


def room_of(*, used_bytes: int, promised_bytes: int, limit_bytes: int | None, disk: Disk) -> Room:
    """The room of a store.

    Args:
        used_bytes: what held pieces take.
        promised_bytes: what writes under way will take.
        limit_bytes: what both together must not exceed, None for no limit.
        disk: its free bytes still include those that were promised.
    """
    usable = disk.free_bytes - reserve_bytes(disk.whole_bytes)
    capacity = max(0, used_bytes + usable if limit_bytes is None else min(limit_bytes, used_bytes + usable))
    return Room(
        left_bytes=min(usable, usable if limit_bytes is None else limit_bytes - used_bytes) - promised_bytes,
        batch_bytes=min(BATCH_BYTES, capacity // BATCH_SHARE),
        capacity_bytes=capacity,
        left_inodes=disk.free_inodes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A blob that might go, or shrink.

    Attributes:
        droppable_bytes: what of it may go: all where it is not in use, else the pieces that nobody is in or about to be in.
        in_use: it has readers, or is being sent, synced or written: it cannot go whole.
    """

    blob_id: BlobId
    droppable_bytes: int
    in_use: bool = False


@dataclass(frozen=True, slots=True)
class DropBlob:
    """The whole blob goes."""

    blob_id: BlobId


@dataclass(frozen=True, slots=True)
class DropPieces:
    """The blob's coldest pieces go, of at least ``size_bytes`` together."""

    blob_id: BlobId
    size_bytes: int


Eviction = DropBlob | DropPieces


def plan_eviction(
    by_age: Iterable[Candidate], *, must_bytes: int, wish_bytes: int, can_punch: bool, must_blobs: int = 0
) -> tuple[Eviction, ...]:
    """Who goes, in order; nobody where all together would not free what must be freed.

    Args:
        by_age: all blobs, the least recently used first; read no further than necessary.
        must_bytes: less than this is of no use to anybody.
        wish_bytes: how much is enough.
        can_punch: whether a file can lose pieces and keep the others.
        must_blobs: so many blobs have to go whole, whatever they hold, for the sake of their inodes.
    """
    victims: list[Eviction] = []
    in_use: list[Candidate] = []
    freed_bytes = whole_blobs = 0
    wish_bytes = max(must_bytes, wish_bytes)
    for candidate in by_age:
        missing_bytes = wish_bytes - freed_bytes
        if missing_bytes <= 0 and whole_blobs >= must_blobs:
            break
        held_bytes = candidate.droppable_bytes
        if candidate.in_use:
            in_use.append(candidate)
        elif can_punch and held_bytes > BIG * wish_bytes and whole_blobs >= must_blobs:
            victims.append(DropPieces(candidate.blob_id, missing_bytes))
            freed_bytes += missing_bytes
        elif held_bytes or whole_blobs < must_blobs:
            victims.append(DropBlob(candidate.blob_id))
            freed_bytes += held_bytes
            whole_blobs += 1
    if can_punch:
        for candidate in sorted(in_use, key=lambda one: -one.droppable_bytes):
            size_bytes = min(candidate.droppable_bytes, wish_bytes - freed_bytes)
            if size_bytes > 0:
                victims.append(DropPieces(candidate.blob_id, size_bytes))
                freed_bytes += size_bytes
    return tuple(victims) if freed_bytes >= must_bytes and whole_blobs >= must_blobs else ()
