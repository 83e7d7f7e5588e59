"""What is under way for one blob between its first written byte and its durable mark. Pure; ``write_order`` decides on it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from flyfs.core.ids import PieceIndex


@dataclass(slots=True)
class Runs:
    """Contiguous written pieces, joined as they come."""

    _ends: dict[int, tuple[int, int]] = field(default_factory=dict)  # first piece → (stop, bytes)
    _firsts: dict[int, int] = field(default_factory=dict)  # stop → first piece

    def add(self, piece: int, size: int) -> tuple[int, int, int]:
        """The run that ``piece`` is in now: (first, stop, bytes)."""
        first, stop = piece, piece + 1
        if stop in self._ends:
            after_stop, after_size = self._ends.pop(stop)
            del self._firsts[after_stop]
            stop, size = after_stop, size + after_size
        if first in self._firsts:
            before = self._firsts.pop(first)
            size += self._ends.pop(before)[1]
            first = before
        self._ends[first] = (stop, size)
        self._firsts[stop] = first
        return first, stop, size

    def forget(self, first: int) -> None:
        """The run that begins with ``first`` is of no interest any more."""
        stop, _ = self._ends.pop(first)
        del self._firsts[stop]

    def clear(self) -> None:
        """No run is of interest any more."""
        self._ends.clear()
        self._firsts.clear()


@dataclass(slots=True)
class BlobWrites:
    """A piece is in one of the collections at most.

    Attributes:
        writing: being written → whether no sync failed since.
        undigested: written, but nobody vouches for them yet → bytes.
        written: no sync began since → bytes.
        syncing: covered by the sync that runs → bytes.
        synced: on the disk, and not marked.
        doubted: written before a sync that failed, and provable → bytes. They are no *have*.
        proving: read back from the disk now → bytes. They are no *have* either.
        proved_again: those of ``written`` and ``syncing`` that were in doubt once. A second failure is their last.
        runs: contiguous pieces of ``written``.
        dropped: no *have* any more, but perhaps marked.
        unmarking: those whose mark is being taken back.
        unmarked: those whose room is to be given back, or just is.
    """

    writing: dict[PieceIndex, bool] = field(default_factory=dict)
    undigested: dict[PieceIndex, int] = field(default_factory=dict)
    written: dict[PieceIndex, int] = field(default_factory=dict)
    syncing: dict[PieceIndex, int] = field(default_factory=dict)
    synced: tuple[PieceIndex, ...] = ()
    doubted: dict[PieceIndex, int] = field(default_factory=dict)
    proving: dict[PieceIndex, int] = field(default_factory=dict)
    proved_again: set[PieceIndex] = field(default_factory=set)
    runs: Runs = field(default_factory=Runs)
    dropped: tuple[PieceIndex, ...] = ()
    unmarking: tuple[PieceIndex, ...] = ()
    unmarked: tuple[PieceIndex, ...] = ()
    digests_wait: bool = False
    written_bytes: int = 0
    due_by: float = math.inf  # the oldest event's age limit
    due_when_idle: float = math.inf
    mark_from: float = -math.inf  # not before: a mark that failed is tried again later

    @property
    def at_work(self) -> bool:
        """Whether something is left to sync, to mark, to prove or to let go."""
        waits = self.written or self.syncing or self.synced or self.digests_wait or self.doubted or self.proving
        return bool(waits) or self.shrinks

    @property
    def shrinks(self) -> bool:
        """Whether pieces are on their way out."""
        return bool(self.dropped or self.unmarking or self.unmarked)

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self.at_work or self.writing or self.undigested)

    @property
    def sync_due(self) -> float:
        """When the next sync should begin."""
        return min(self.due_by, self.due_when_idle) if self.written else math.inf

    @property
    def mark_due(self) -> float:
        """When the next mark should begin."""
        if self.synced:
            return self.mark_from
        if self.digests_wait and not self.written:
            return max(self.mark_from, min(self.due_by, self.due_when_idle))
        return math.inf

    def touch(self, due_by: float, due_when_idle: float) -> None:
        """Something happened: it is due when all was idle for a while, at the latest ``due_by``."""
        self.due_by = min(self.due_by, due_by)
        self.due_when_idle = due_when_idle

    def rest(self) -> None:
        """Nothing is due before something happens again."""
        self.due_by = self.due_when_idle = math.inf

    def begin_sync(self) -> int:
        """All that is written is covered by the sync that begins: its bytes."""
        self.syncing, self.written = self.written, {}
        size, self.written_bytes = self.written_bytes, 0
        self.runs.clear()
        self.rest()
        return size

    def end_sync(self) -> int:
        """What was covered is on the disk: its bytes."""
        self.synced += tuple(self.syncing)
        self.proved_again.difference_update(self.syncing)
        size = sum(self.syncing.values())
        self.syncing = {}
        return size

    def distrust(self) -> tuple[PieceIndex, ...]:
        """Nobody knows what is on the disk of all that no earlier sync covers; it is in doubt, or lost: the pieces."""
        lost = (*self.syncing, *self.written, *self.undigested)
        for piece, size in (*self.syncing.items(), *self.written.items()):
            if piece not in self.proved_again:
                self.doubted[piece] = size
        self.syncing = {}
        self.written_bytes = 0
        self.written.clear()
        self.undigested.clear()
        self.proved_again.clear()
        self.runs.clear()
        self.writing = dict.fromkeys(self.writing, False)
        self.due_by = -math.inf if self.digests_wait else math.inf
        return lost

    def begin_proof(self, most_bytes: int) -> tuple[PieceIndex, ...]:
        """Takes pieces in doubt, ``most_bytes`` of them or one, to be read back."""
        for piece in sorted(self.doubted):
            size = self.doubted[piece]
            if self.proving and size > most_bytes:
                break
            most_bytes -= size
            self.proving[piece] = self.doubted.pop(piece)
        return tuple(self.proving)

    def end_proof(self, proved: Iterable[PieceIndex]) -> dict[PieceIndex, int]:
        """Those of the pieces read back that are right, and were not begun anew meanwhile → bytes."""
        proving, self.proving = self.proving, {}
        right = {piece: proving[piece] for piece in proved if piece in proving}
        self.proved_again.update(right)
        return right

    def begin_write(self, piece: PieceIndex) -> None:
        """It is written anew, so what was in doubt of it does not matter."""
        self.doubted.pop(piece, None)
        self.proving.pop(piece, None)
        self.writing[piece] = True

    def drop(self, going: frozenset[PieceIndex]) -> tuple[int, int]:
        """They go, wherever they are: the bytes that no sync has to cover any more, of those written, and of those syncing."""
        self.undigested = {piece: size for piece, size in self.undigested.items() if piece not in going}
        written_bytes, syncing_bytes = self.written_bytes, sum(self.syncing.values())
        self.written = {piece: size for piece, size in self.written.items() if piece not in going}
        self.syncing = {piece: size for piece, size in self.syncing.items() if piece not in going}
        self.written_bytes = sum(self.written.values())
        self.synced = tuple(piece for piece in self.synced if piece not in going)
        self.proved_again -= going
        self.runs.clear()  # which may come again in other runs
        self.dropped += tuple(sorted(going))
        return written_bytes - self.written_bytes, syncing_bytes - sum(self.syncing.values())
