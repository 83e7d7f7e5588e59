"""What to read of one blob from its origin, and when. Pure.

Every byte is asked for at most once: a read covers pieces that nobody has and no other read covers, and is always read to its
end. Wanted pieces that lie side by side make one read, and so does what their reader will want next, as far as the peer can
tell: the origin sees few, long ranges.
"""

from collections.abc import Callable
from dataclasses import dataclass

from flyfs.core.grid import MIB
from flyfs.core.ids import PieceIndex
from flyfs.limit.bucket import Priority

MAX_READS = 4
"""Reads of one blob at a time; a prefetch leaves half of them to demands."""

MAX_READ_BYTES = 64 * MIB
"""A read that nobody needs any more costs at most this."""

PAUSE_S = (0.2, 5.0)
"""After a failed read: the first and the longest pause before the origin is asked again."""
_MOST_DOUBLINGS = 10
"""Beyond it the pause has reached its bound, and the number only grows."""


@dataclass(slots=True)
class Read:
    """Pieces ``[at, stop)`` are still to come in this read of the origin; ``first`` is where it began."""

    first: int
    stop: int
    at: int
    background: bool = False
    """Whether it was begun for nobody's reading."""


class FetchPlan:
    """The reads of one blob."""

    def __init__(
        self,
        pieces: int,
        piece_size: int,
        holds: Callable[[PieceIndex], bool],
        was_read: Callable[[PieceIndex], bool] = lambda _: False,
    ) -> None:
        """``holds`` tells which pieces need no read, ``was_read`` which were handed out before: only who asks gets them again."""
        self._pieces = pieces
        self._holds = holds
        self._was_read = was_read
        self._longest = max(1, MAX_READ_BYTES // piece_size)
        self._demanded: dict[PieceIndex, int] = {}
        self._wanted: dict[PieceIndex, int] = {}
        self._hurried: set[PieceIndex] = set()  # wanted ahead of a reader once, who waits by now
        self._background: dict[PieceIndex, int] = {}
        self._ahead: dict[PieceIndex, int] = {}
        self._reads: list[Read] = []
        self._failures = 0
        self._not_before = 0.0
        self.sequential = False
        """The origin gives its bytes from the start only, or only a single answer is surely one version."""

    @property
    def reading(self) -> bool:
        """Whether a read is under way."""
        return bool(self._reads)

    def wanted(self, piece: PieceIndex, *, demand: bool, ahead: int, background: bool = False) -> None:
        """Somebody waits for a piece, and will probably want the ``ahead`` next ones."""
        table = self._table(demand, background)
        table[piece] = table.get(piece, 0) + 1
        self._ahead[piece] = max(ahead, self._ahead.get(piece, 0))

    def _table(self, demand: bool, background: bool) -> dict[PieceIndex, int]:
        return self._demanded if demand else self._background if background else self._wanted

    def unwanted(self, piece: PieceIndex, *, demand: bool, background: bool = False) -> None:
        """It came, or whoever waited gave up."""
        table = self._table(demand, background)
        if table.get(piece, 0) > 1:
            table[piece] -= 1
        else:
            table.pop(piece, None)
        if piece not in self._wanted:
            self._hurried.discard(piece)
        if not any(piece in table for table in (self._demanded, self._wanted, self._background)):
            self._ahead.pop(piece, None)

    def demanded(self, piece: PieceIndex) -> bool:
        """Whether a reader is blocked on it."""
        return piece in self._demanded or piece in self._hurried

    def hurried(self, piece: PieceIndex) -> None:
        """A reader waits by now for a piece that was only wanted ahead of it."""
        if piece in self._wanted:
            self._hurried.add(piece)

    def begin(self, first: int, stop: int) -> Read:
        """A read that was begun for another reason (the question for the version brought the first pieces along)."""
        read = Read(first, stop, first)
        self._reads.append(read)
        return read

    def whole_file_comes(self, read: Read) -> bool:
        """The origin ignores ranges: ``read`` brings all, from the start; False where another one does, then it has ended."""
        self.sequential = True
        if any(other is not read and (other.first, other.stop) == (0, self._pieces) for other in self._reads):
            self._reads.remove(read)
            return False
        read.first = read.at = 0
        read.stop = self._pieces
        return True

    def piece_came(self, read: Read, piece: PieceIndex, *, new: bool) -> None:
        """The read brought a piece; one that was here before (``new`` is False) says nothing about how well the origin is."""
        read.at = piece + 1
        if new:
            self._failures = 0

    def read_ended(self, read: Read) -> None:
        """All of it came."""
        self._reads.remove(read)

    def read_failed(self, read: Read, now: float, retry_after_s: float | None) -> None:
        """It broke; the origin is left alone for a while."""
        self._reads.remove(read)
        first_s, longest_s = PAUSE_S
        doubled_s = min(longest_s, first_s * 2 ** min(self._failures, _MOST_DOUBLINGS))
        pause_s = doubled_s if retry_after_s is None else retry_after_s
        self._failures += 1
        self._not_before = max(self._not_before, now + pause_s)

    def pause_left_s(self, now: float) -> float:
        """For how long the origin is still left alone."""
        return max(0.0, self._not_before - now)

    def covered(self, piece: PieceIndex) -> bool:
        """Whether a read under way will bring the piece."""
        return any(read.at <= piece < read.stop for read in self._reads)

    def priority_of(self, read: Read) -> Priority:
        """How urgent the bytes are that a read still has to bring: as the most urgent piece among them."""
        if any(read.at <= piece < read.stop for piece in self._demanded.keys() | self._hurried):
            return Priority.DEMAND
        if read.background and not any(read.at <= piece < read.stop for piece in self._wanted):
            return Priority.BACKGROUND
        return Priority.PREFETCH

    def next_reads(self, now: float) -> list[Read]:
        """The reads to begin now; they count as begun."""
        begun: list[Read] = []
        if now < self._not_before:
            return begun
        urgent = self._demanded.keys() | self._hurried
        tables = (
            (urgent, MAX_READS),
            (self._wanted.keys() - self._hurried, MAX_READS // 2),
            (self._background.keys() - urgent, 1),
        )
        for table, most in tables:
            collected = -2  # next to no piece
            for piece in sorted(table):
                if len(self._reads) >= (1 if self.sequential else most):
                    break
                if self._holds(piece) or self.covered(piece):
                    continue
                if table is not urgent and (collected == piece - 1 or self._collects_at(piece)):
                    collected = piece
                else:
                    begun.append(self.begin(*self._run_from(piece)))
                    begun[-1].background = most == 1
        return begun

    def _collects_at(self, piece: PieceIndex) -> bool:
        """Whether a prefetch has to wait, and all that follow on it: behind a read with far to go, more is collected first."""
        return any(read.stop == piece and 4 * (read.stop - read.at) > read.stop - read.first for read in self._reads)

    def _run_from(self, piece: PieceIndex) -> tuple[int, int]:
        if self.sequential:
            return 0, self._pieces
        last = min(piece + self._longest, self._pieces)
        stop = piece + 1
        ahead_to = stop + self._ahead.get(piece, 0)
        while stop < last and self._goes_on(PieceIndex(stop), stop < ahead_to):
            ahead_to = max(ahead_to, stop + 1 + self._ahead.get(PieceIndex(stop), 0))
            stop += 1
        return piece, stop

    def _goes_on(self, piece: PieceIndex, expected: bool) -> bool:
        waited_for = piece in self._wanted or piece in self._demanded or piece in self._background
        wanted = (expected and not self._was_read(piece)) or waited_for
        return wanted and not self._holds(piece) and not self.covered(piece)
