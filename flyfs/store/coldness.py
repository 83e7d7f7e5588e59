"""Which pieces of a blob were not read for long: a clock with second chances. Pure.

One byte per piece, so that a read pays one store into it and the hand moves at the speed of memchr(3): a blob may have
262,144 pieces. A piece is warm when it is written or read; the hand cools what it passes and takes what it finds cold.
(Corbató, "A Paging Experiment with the Multics System", 1968.)
"""

from collections.abc import Iterator, Sequence

from flyfs.core.bitmap import Bitmap
from flyfs.core.ids import PieceIndex

_ABSENT, _COLD, _WARM = 0, 1, 2
_COOLED = bytes.maketrans(bytes([_WARM]), bytes([_COLD]))
_MARKS_OF = [bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256)]  # a bitmap's byte → eight marks


class Coldness:
    """The held pieces of one blob, and which of them were used since the hand passed."""

    __slots__ = ("_hand", "_marks")

    def __init__(self, have: Bitmap) -> None:
        """All of ``have`` is cold."""
        marks = bytearray().join(map(_MARKS_OF.__getitem__, have.to_bytes()))
        self._marks = marks[: have.length]
        self._hand = 0

    def used(self, first: int, last: int) -> None:
        """The held pieces ``first … last`` were read or written just now."""
        marks = self._marks
        marks[first] = marks[last] = _WARM
        if last - first > 1:
            marks[first + 1 : last] = bytes([_WARM]) * (last - first - 1)

    def gone(self, piece: int) -> None:
        """The piece is not held any more."""
        self._marks[piece] = _ABSENT

    def take_coldest(self, count: int, spared: Sequence[range] = ()) -> list[PieceIndex]:
        """At most ``count`` held pieces outside of ``spared``, the coldest first; they count as gone."""
        marks, taken = self._marks, list[PieceIndex]()
        for start, stop in self._two_rounds(spared):
            at = start
            while len(taken) < count and at < stop:
                found = marks.find(_COLD, at, stop)
                end = stop if found < 0 else found
                marks[at:end] = marks[at:end].translate(_COOLED)
                at = end
                if found >= 0:
                    marks[found] = _ABSENT
                    taken.append(PieceIndex(found))
                    at += 1
            self._hand = at
            if len(taken) >= count:
                break
        return taken

    def _two_rounds(self, spared: Sequence[range]) -> Iterator[tuple[int, int]]:
        """From the hand round to the hand, twice, without what is spared: the second time finds what the first cooled."""
        free = list(_outside(spared, len(self._marks)))
        hand = self._hand
        ahead = [(max(start, hand), stop) for start, stop in free if stop > hand]
        behind = [(start, min(stop, hand)) for start, stop in free if start < hand]
        yield from ahead + behind + ahead + behind


def _outside(spared: Sequence[range], length: int) -> Iterator[tuple[int, int]]:
    """The runs of ``[0, length)`` that no range touches."""
    at = 0
    for one in sorted(spared, key=lambda one: one.start):
        if one.start > at:
            yield at, min(one.start, length)
        at = max(at, one.stop)
        if at >= length:
            return
    if at < length:
        yield at, length
