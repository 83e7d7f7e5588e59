"""Whether a piece on the disk is what its digest says. Shell; waits for the disk.

Hashes as it reads, so that a piece of any size takes one small buffer. Read past the page cache (``O_DIRECT``), it tells what a
restart would find: after a failed fsync the kernel keeps pages that it could not write, and calls them clean.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from flyfs.core.blob import Blob
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import Manifest, piece_hasher
from flyfs.store.page_cache import scratch

ALIGNMENT_BYTES = 4096
"""What reads past the page cache (O_DIRECT) ask for: a multiple of any disk's sector."""

ENDS_EARLY = "the data file ends before it"
WRONG_BYTES = "its bytes do not match its digest"
UNKNOWN = "nobody vouches for it any more"


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


def fault_of(fd: int, start: int, stop: int, digest: bytes) -> str | None:
    """Why the bytes ``[start, stop)`` of a file are not a piece with ``digest``; None where they are.

    Reads whole pages around them, so ``fd`` may be one that reads past the page cache.

    Raises:
        OSError: the disk cannot read them.
    """
    hasher, buffer = piece_hasher(), scratch()
    at = start - start % ALIGNMENT_BYTES
    while at < stop:
        wanted = min(len(buffer), -(-(stop - at) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES)
        got = os.preadv(fd, (buffer[:wanted],), at)
        if at + got < stop and (not got or got % ALIGNMENT_BYTES):
            return ENDS_EARLY
        hasher.update(buffer[max(0, start - at) : min(got, stop - at)])
        at += got
    return None if hasher.digest() == digest else WRONG_BYTES


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
            if fault_of(direct, one.start, one.stop, one.digest) is None:
                found.append(one.piece)
    return found


def unreadable(error: OSError) -> str:
    """Why a piece is damaged where the disk failed on it."""
    return f"the disk cannot read it: {error.strerror}"
