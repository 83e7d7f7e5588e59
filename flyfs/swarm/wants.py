"""What the readers of one blob want: pieces they are blocked on, windows ahead of them, perhaps the whole. Pure."""

from collections.abc import Iterator, Sequence

from flyfs.core.ids import PieceIndex
from flyfs.core.masks import mask_of, mask_of_range, pieces_in

URGENT_SHARE = 4
"""The first quarter of each window is wanted before the rest of it."""

REACH_PIECES = 32
REACH_WINDOWS = 4
"""In a crowd all want the same pieces next. How far beyond its window a reader fetches, so that there is enough to exchange:
simulated with 100 readers in lock-step, 16 pieces take 5 % longer than 32; with 64 the near ones come late."""


class Wants:
    """Demands count their readers; sets of pieces are masks (``core.masks``)."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        """How many the blob has."""
        self.demands: dict[PieceIndex, int] = {}
        self.windows: Sequence[range] = ()
        self.whole = False
        """Every piece is wanted, in whatever order."""
        self.urgent = 0
        self._reaches: list[int] = []
        self._passed: set[PieceIndex] = set()  # of the windows: came, and could not be stored

    def demand_added(self, piece: PieceIndex) -> None:
        """A reader is blocked on ``piece``."""
        self.demands[piece] = self.demands.get(piece, 0) + 1

    def demand_removed(self, piece: PieceIndex) -> None:
        """A reader got it, or gave up."""
        left = self.demands.get(piece, 0) - 1
        if left > 0:
            self.demands[piece] = left
        else:
            self.demands.pop(piece, None)

    def windows_moved(self, windows: Sequence[range]) -> None:
        """The pieces wanted soon, each range in order, the most urgent first."""
        self.windows = windows
        self.urgent = 0
        self._reaches = []
        for window in windows:
            self.urgent |= mask_of_range(window[: max(1, len(window) // URGENT_SHARE)])
            reach = max(REACH_PIECES, REACH_WINDOWS * len(window))
            self._reaches.append(mask_of_range(range(window.start, min(window.start + reach, self.pieces))))
        if self._passed:
            self._passed = {piece for piece in self._passed if any(piece in window for window in windows)}

    def piece_passed(self, piece: PieceIndex) -> None:
        """A piece that arrived could not be stored: it is not wanted before a reader is blocked on it."""
        self._passed.add(piece)

    def wants(self, piece: PieceIndex) -> bool:
        """Whether some reader gets to the piece soon, or the whole is wanted."""
        return self.whole or piece in self.demands or any(reach >> piece & 1 for reach in self._reaches)

    def in_order(self, lacking: int) -> Iterator[PieceIndex]:
        """What is wanted of ``lacking`` (a mask), the first of each window first, the rest of the whole last."""
        lacking &= mask_of_range(range(self.pieces)) & ~mask_of(self._passed)
        for window in self.windows:
            wanted = lacking & mask_of_range(window)
            lacking &= ~wanted
            yield from pieces_in(wanted)
        if self.whole:
            yield from pieces_in(lacking)

    def in_a_crowd(self) -> list[int]:
        """The sets to fetch from, one after the other; the last is the whole, where that is wanted."""
        passed = mask_of(self._passed)
        sets = [reach & ~passed for reach in self._reaches]
        if self.whole:
            sets.append(mask_of_range(range(self.pieces)) & ~passed)
        return sets

    def ahead(self, piece: PieceIndex) -> int:
        """How many pieces behind ``piece`` will be wanted soon: a stream that goes on moves its window along."""
        last = self.pieces - piece - 1
        if self.whole:
            return last
        for window in self.windows:
            if window.start - len(window) <= piece < window.stop:
                return min(len(window), last)
        return 0
