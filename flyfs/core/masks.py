"""Sets of pieces as plain integers, bit ``i`` for piece ``i``: unions and differences of thousands of pieces at once. Pure.

Python's integers do 64 bits per machine instruction: ``and not`` over 200 pieces takes 0.1 us, over 12,800 about 1 us. A
``core.bitmap.Bitmap`` is the mutable form with a count, a mask the form that decisions are made with.
"""

from collections.abc import Iterable, Iterator

from flyfs.core.ids import PieceIndex


def mask_of(pieces: Iterable[int]) -> int:
    """The set of ``pieces``."""
    mask = 0
    for piece in pieces:
        mask |= 1 << piece
    return mask


def mask_of_range(pieces: range) -> int:
    """The set of a contiguous range."""
    return (1 << pieces.stop) - (1 << pieces.start) if pieces.stop > pieces.start else 0


def lowest_in(mask: int, at_or_after: int = 0) -> PieceIndex:
    """The first piece of a set that is not empty, searched from ``at_or_after`` on and then from the start."""
    after = mask >> at_or_after
    if after:
        return PieceIndex(at_or_after + (after & -after).bit_length() - 1)
    return PieceIndex((mask & -mask).bit_length() - 1)


def pieces_in(mask: int) -> Iterator[PieceIndex]:
    """The pieces of a set, ascending."""
    while mask:
        lowest = mask & -mask
        yield PieceIndex(lowest.bit_length() - 1)
        mask ^= lowest
