"""One read of an open file, put together from what the store holds and from what only passes by. Pure.

What a piece brought stays with the read, whatever becomes of the piece: so each piece is waited for once, however little
memory there is and however many read at the same time.
"""

from flyfs.core.grid import ByteRange, PieceGrid
from flyfs.core.ids import PieceIndex


class Reading:
    """Bytes ``[offset, offset + size)`` of a blob, clipped to it.

    Attributes:
        pieces: those that it needs.
        left: those whose share it does not have yet, in order.
        passed_bytes: how much of it only passed by.
    """

    def __init__(self, grid: PieceGrid, offset: int, size: int) -> None:
        stop = max(offset, min(offset + size, grid.size))
        self.wanted = ByteRange(offset, stop)
        self.pieces = grid.covering(offset, stop)
        self.left: dict[PieceIndex, None] = dict.fromkeys(map(PieceIndex, self.pieces))
        self.passed_bytes = 0
        self._grid = grid
        self._memory: bytearray | None = None

    @property
    def begun(self) -> bool:
        """Whether it has a share of some piece."""
        return self._memory is not None

    @property
    def data(self) -> memoryview:
        """All of it; nothing may be left."""
        assert not self.left, "a read that is not whole"
        return memoryview(self._memory or b"")

    def piece_passed(self, piece: PieceIndex, data: memoryview | bytes) -> None:
        """Takes its share of a whole piece, unless it has it."""
        if piece not in self.left:
            return
        place = self._grid.range_of(piece)
        share = self._share(piece)
        self._put(share, memoryview(data)[share.start - place.start : share.stop - place.start])
        self.passed_bytes += len(share)
        del self.left[piece]

    def next_run(self) -> tuple[range, ByteRange]:
        """The first pieces that are left and lie side by side, and the bytes that are wanted of them."""
        first = last = next(iter(self.left))
        while PieceIndex(last + 1) in self.left:
            last = PieceIndex(last + 1)
        return range(first, last + 1), ByteRange(self._share(first).start, self._share(last).stop)

    def run_read(self, pieces: range, place: ByteRange, data: memoryview | bytes) -> None:
        """The bytes of a run, as ``next_run`` gave it."""
        self._put(place, data)
        for piece in pieces:
            del self.left[PieceIndex(piece)]

    def _share(self, piece: PieceIndex) -> ByteRange:
        place = self._grid.range_of(piece)
        return ByteRange(max(place.start, self.wanted.start), min(place.stop, self.wanted.stop))

    def _put(self, place: ByteRange, data: memoryview | bytes) -> None:
        if self._memory is None:
            self._memory = bytearray(len(self.wanted))
        self._memory[place.start - self.wanted.start : place.stop - self.wanted.start] = data
