"""Pieces that wait to be written, and which of them are written next, in one go. Pure.

It splits the network from the disk: who received a piece hands it over, the writers take batches. It promises:

- what a blocked reader demands goes first, and one lane is free of anything else, so a demand waits for other demands only;
- the rest starts with the piece that waits longest, so that none starves, and takes along what lies side by side with it;
- a batch has bounded bytes and at least one piece; its pieces are ordered by file and place, and contiguous ones make one run;
- nothing but demands is written while too much is written and not synced; demands may go beyond that by an allowance.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from flyfs.core.grid import MIB
from flyfs.core.ids import PieceIndex

BATCH_BYTES = 4 * MIB
"""Copied in some milliseconds; a thread hop is small beside it."""

LANES = 2
"""Batches under way at once. More would only queue at the disk (a file has one writer at a time), and hold buffers meanwhile."""

DEMANDS_IN_A_ROW = 4
"""So many batches of demands may pass over what nobody waits for."""

MAX_UNSYNCED_BYTES = 1024 * MIB
MEMORY_SHARE = 10
"""At most 1 GiB, and a tenth of the memory, is written and not synced: beyond about 15 % of what is free the kernel would stall
writers in the middle of a write, demands too (Documentation/admin-guide/sysctl/vm.rst), and a crash would lose more."""

DEMAND_SHARE = 4
"""Demands may exceed the bound by a quarter of it."""


def unsynced_limit_bytes(memory_bytes: int) -> int:
    """How much may be written and not synced on a machine with ``memory_bytes``."""
    return min(MAX_UNSYNCED_BYTES, memory_bytes // MEMORY_SHARE)


@dataclass(slots=True, eq=False, kw_only=True)
class Waiting:
    """A proved piece that waits for its write.

    Attributes:
        file: what it belongs to; neighbours in one file can be written in one run.
        size: its bytes.
        demand: whether a reader is blocked on it.
    """

    file: object
    piece: PieceIndex
    size: int
    demand: bool = False


PieceT = TypeVar("PieceT", bound=Waiting)


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Generic[PieceT]):
    """What is written in one go; answered by ``batch_ended``.

    Attributes:
        runs: contiguous pieces of one file each, in the order of their places.
        size: bytes of all.
        bulk: whether no reader is blocked on any of it.
    """

    runs: tuple[tuple[PieceT, ...], ...]
    size: int
    bulk: bool

    @property
    def pieces(self) -> Iterator[PieceT]:
        """All pieces, in the order in which they are written."""
        return (piece for run in self.runs for piece in run)


class WriteQueue(Generic[PieceT]):
    """Events in, batches out; a piece is in it once."""

    def __init__(
        self,
        *,
        max_unsynced_bytes: int,
        batch_bytes: int = BATCH_BYTES,
        lanes: int = LANES,
    ) -> None:
        """``max_unsynced_bytes`` bounds what is written and not synced, but for demands."""
        assert lanes > 1, "one lane is kept for demands"
        self._max_unsynced_bytes = max_unsynced_bytes
        self._batch_bytes = batch_bytes
        self._lanes = lanes
        self._demands: dict[PieceT, None] = {}  # in order of arrival, as is the next
        self._bulk: dict[PieceT, None] = {}
        self._places: dict[tuple[object, int], PieceT] = {}
        self._under_way = 0
        self._bulk_under_way = False
        self._writing_bytes = 0
        self._demands_in_a_row = 0  # since bulk was passed over

    def __len__(self) -> int:
        return len(self._places)

    @property
    def under_way(self) -> int:
        """Batches that began and have not ended."""
        return self._under_way

    # -- events ---------------------------------------------------------------------------------------------------

    def piece_came(self, piece: PieceT) -> None:
        """It waits from now on."""
        self._places[piece.file, piece.piece] = piece
        (self._demands if piece.demand else self._bulk)[piece] = None

    def piece_demanded(self, file: object, piece: PieceIndex) -> None:
        """A reader is blocked on it now; that it does not wait here is no mistake."""
        found = self._places.get((file, piece))
        if found is not None and not found.demand:
            del self._bulk[found]
            found.demand = True
            self._demands[found] = None

    def piece_left(self, piece: PieceT) -> bool:
        """Whoever brought it takes it back; False where its batch has begun."""
        if self._places.get((piece.file, piece.piece)) is not piece:
            return False
        self._take(piece)
        return True

    def all_left(self) -> list[PieceT]:
        """Nothing more will be written: all that waits is taken back."""
        left = list(self._places.values())
        for piece in left:
            self._take(piece)
        return left

    def batch_ended(self, batch: Batch[PieceT]) -> None:
        """It was written, or could not be; what was written of it is told as unsynced from now on."""
        self._under_way -= 1
        self._writing_bytes -= batch.size
        if batch.bulk:
            self._bulk_under_way = False

    # -- what to do -----------------------------------------------------------------------------------------------

    def has_batch(self, unsynced_bytes: int) -> bool:
        """Whether ``next_batch`` would give one."""
        return self._may_demand(unsynced_bytes) or self._may_bulk(unsynced_bytes)

    def next_batch(self, unsynced_bytes: int) -> Batch[PieceT] | None:
        """What to write now; it counts as begun.

        Args:
            unsynced_bytes: written, but no sync that covers it has finished.
        """
        may_bulk = self._may_bulk(unsynced_bytes)
        bulk_turn = may_bulk and self._demands_in_a_row >= DEMANDS_IN_A_ROW
        if self._may_demand(unsynced_bytes) and not bulk_turn:
            if not self._bulk:
                self._demands_in_a_row = 0
            elif not self._bulk_under_way:
                self._demands_in_a_row += 1
            return self._begin(self._demands, self._demand_room(unsynced_bytes), bulk=False)
        if may_bulk:
            self._demands_in_a_row = 0
            self._bulk_under_way = True
            return self._begin(self._bulk, self._bulk_room(unsynced_bytes), bulk=True)
        return None

    def _may_demand(self, unsynced_bytes: int) -> bool:
        return bool(self._demands) and self._under_way < self._lanes and self._demand_room(unsynced_bytes) > 0

    def _may_bulk(self, unsynced_bytes: int) -> bool:
        lane = not self._bulk_under_way and self._under_way < self._lanes
        return bool(self._bulk) and lane and self._bulk_room(unsynced_bytes) > 0

    def _bulk_room(self, unsynced_bytes: int) -> int:
        return self._max_unsynced_bytes - unsynced_bytes - self._writing_bytes

    def _demand_room(self, unsynced_bytes: int) -> int:
        return self._bulk_room(unsynced_bytes) + self._max_unsynced_bytes // DEMAND_SHARE

    def _begin(self, waiting: dict[PieceT, None], room_bytes: int, *, bulk: bool) -> Batch[PieceT]:
        if len(waiting) == 1:  # as long as the disk keeps up with the network
            (piece,) = waiting
            self._take(piece)
            batch = Batch(((piece,),), piece.size, bulk)
        else:
            runs = self._take_runs(waiting, min(self._batch_bytes, room_bytes))
            batch = Batch(runs, sum(piece.size for run in runs for piece in run), bulk)
        self._under_way += 1
        self._writing_bytes += batch.size
        return batch

    def _take_runs(self, waiting: dict[PieceT, None], left: int) -> tuple[tuple[PieceT, ...], ...]:
        """Runs of ``left`` bytes at most, or of one piece, in the order of files and places."""
        runs: list[tuple[PieceT, ...]] = []
        while waiting and left > 0:
            run = self._run_around(next(iter(waiting)), waiting, left)
            size = sum(piece.size for piece in run)
            if runs and size > left:
                break
            for piece in run:
                self._take(piece)
            left -= size
            runs.append(run)
        files: dict[object, int] = {}
        for run in runs:
            files.setdefault(run[0].file, len(files))
        return tuple(sorted(runs, key=lambda run: (files[run[0].file], run[0].piece)))

    def _run_around(self, oldest: PieceT, waiting: dict[PieceT, None], left: int) -> tuple[PieceT, ...]:
        """The contiguous pieces of which ``oldest`` is one, those before it first, in at most ``left`` bytes (or it alone)."""
        run = [oldest]
        left -= oldest.size
        for step in (-1, 1):
            at = oldest.piece + step
            while (beside := self._places.get((oldest.file, at))) is not None and beside in waiting and beside.size <= left:
                run.append(beside)
                left -= beside.size
                at += step
        return tuple(sorted(run, key=lambda piece: piece.piece))

    def _take(self, piece: PieceT) -> None:
        del self._places[piece.file, piece.piece]
        del (self._demands if piece.demand else self._bulk)[piece]
