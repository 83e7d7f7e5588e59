"""What the disk itself has: read past the page cache, which goes on showing what the disk has lost. Shell; for a thread.

After a failed fsync the kernel keeps pages that it could not write, and calls them clean. Reading with ``O_DIRECT`` is the only
way to tell what a restart would find.
"""

import mmap
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from flyfs.core.blob import Blob
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import Manifest, piece_digest

_ALIGNMENT = 4096
"""Of memory, offset and length; enough for every disk whose blocks are no larger than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A piece that may be on the disk, at ``[start, stop)`` of its file."""

    piece: PieceIndex
    start: int
    stop: int
    digest: bytes


def expected_of(blob: Blob, manifest: Manifest, pieces: Iterable[PieceIndex]) -> list[Expected]:
    """Where these pieces lie, and how to tell that they are right; without those whose digest is not known."""
    found: list[Expected] = []
    for piece in pieces:
        digest = manifest.digest_of(piece)
        if digest is not None:
            place = blob.grid.range_of(piece)
            found.append(Expected(piece=piece, start=place.start, stop=place.stop, digest=digest))
    return found


def pieces_on_disk(direct: int, expected: Sequence[Expected]) -> list[PieceIndex]:
    """The pieces that the disk has, right to the last byte. What cannot be read is not there.

    The pages in memory stay: they are right, and somebody may just be sending them.

    Args:
        direct: a file opened with ``O_DIRECT``.
        expected: what should be there.
    """
    found: list[PieceIndex] = []
    for one in expected:
        with suppress(OSError):
            if piece_digest(read_past_cache(direct, one.start, one.stop)) == one.digest:
                found.append(one.piece)
    return found


def read_past_cache(direct: int, start: int, stop: int) -> bytes:
    """Bytes ``[start, stop)`` of a file opened with ``O_DIRECT``; fewer where it ends, or cannot be read on. Raises OSError."""
    first = start - start % _ALIGNMENT
    size = stop - first
    with mmap.mmap(-1, size + -size % _ALIGNMENT) as memory:  # O_DIRECT wants memory that begins with a page
        got = 0
        while got < size and not got % _ALIGNMENT:  # a read ends off the grid only where the file does
            with memoryview(memory) as view, view[got:] as rest:
                count = os.preadv(direct, (rest,), first + got)
            if not count:
                break
            got += count
        return memory[start - first : min(got, size)]
