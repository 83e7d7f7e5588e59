"""Byte ranges and the piece grid of a blob: pure index arithmetic."""

from collections.abc import Iterator
from dataclasses import dataclass

from flyfs.core.ids import PieceIndex

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Half-open range of bytes ``[start, stop)``; may be empty."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"not a byte range: {self.start}..{self.stop}")

    def __len__(self) -> int:
        return self.stop - self.start


MAX_PIECES = 1 << 18
"""Two bitmaps of a blob fit into one frame (64 KiB of 128), whatever its URL."""
MAX_PIECE_BYTES = 64 * MIB
"""A piece is received whole into one buffer."""


def piece_size_for(size: int) -> int:
    """Bytes per piece for a blob of ``size`` bytes.

    256 KiB below 100 MiB keeps random reads cheap; 1 MiB up to 64 GiB keeps the ramp of a flash crowd within a few
    per cent of the bound; 4 MiB above keeps the grid at 262,144 pieces for 1 TiB, and doubles with the size from there.
    """
    if size < 100 * MIB:
        return 256 * KIB
    if size <= 64 * GIB:
        return MIB
    return max(4 * MIB, 1 << (-(-size // MAX_PIECES) - 1).bit_length())


@dataclass(frozen=True, slots=True)
class PieceGrid:
    """How a blob of ``size`` bytes is cut into pieces of ``piece_size`` bytes; only the last one may be shorter."""

    size: int
    piece_size: int

    def __post_init__(self) -> None:
        if self.size < 0 or self.piece_size <= 0:
            raise ValueError(f"not a grid: {self.size} bytes in pieces of {self.piece_size}")

    def __len__(self) -> int:
        return -(-self.size // self.piece_size)

    def __iter__(self) -> Iterator[PieceIndex]:
        return map(PieceIndex, range(len(self)))

    def range_of(self, piece: PieceIndex) -> ByteRange:
        """Where ``piece`` lies in the blob.

        Raises:
            ValueError: the grid has no such piece.
        """
        start = piece * self.piece_size
        if not 0 <= start < self.size:
            raise ValueError(f"no piece {piece} in {len(self)}")
        return ByteRange(start, min(start + self.piece_size, self.size))

    def length_of(self, piece: PieceIndex) -> int:
        """Bytes in ``piece``; raises ValueError where the grid has no such piece."""
        left = self.size - piece * self.piece_size
        if piece < 0 or left <= 0:
            raise ValueError(f"no piece {piece} in {len(self)}")
        return min(self.piece_size, left)

    def covering(self, start: int, stop: int) -> range:
        """The indexes of the pieces that hold any byte of ``[start, stop)``, clipped to the blob."""
        stop = min(stop, self.size)
        if start >= stop:
            return range(0)
        return range(start // self.piece_size, -(-stop // self.piece_size))
