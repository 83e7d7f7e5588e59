"""Which pieces somebody has: a fixed-length set of piece indexes. Pure.

On the wire and on disk: bit ``i`` is bit ``i & 7`` (least significant first) of byte ``i >> 3``; spare bits are zero.
"""

from collections.abc import Iterable, Iterator

from flyfs.core.ids import PieceIndex

_BITS_OF = [tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256)]


class Bitmap:
    """A mutable set of piece indexes below ``length``, with its count at hand."""

    __slots__ = ("_bytes", "count", "length")

    def __init__(self, length: int) -> None:
        self.length = length
        self.count = 0
        self._bytes = bytearray(-(-length // 8))

    @classmethod
    def from_bytes(cls, data: bytes, length: int) -> "Bitmap":
        """The bitmap that ``to_bytes`` gave.

        Raises:
            ValueError: ``data`` is not exactly as long as ``length`` bits need, or a spare bit is set.
        """
        if len(data) != -(-length // 8):
            raise ValueError(f"a bitmap of {length} pieces has {-(-length // 8)} bytes, not {len(data)}")
        if length & 7 and data[-1] >> (length & 7):
            raise ValueError("a bitmap's spare bits must be zero")
        bitmap = cls(length)
        bitmap._bytes[:] = data
        bitmap.count = int.from_bytes(data, "little").bit_count()
        return bitmap

    @classmethod
    def of(cls, length: int, pieces: Iterable[int]) -> "Bitmap":
        """A bitmap of ``length`` with ``pieces`` set."""
        bitmap = cls(length)
        for piece in pieces:
            bitmap.add(piece)
        return bitmap

    def to_bytes(self) -> bytes:
        """The wire and disk form."""
        return bytes(self._bytes)

    @property
    def mask(self) -> int:
        """The same set as an integer, for decisions about many pieces at once (``core.masks``)."""
        return int.from_bytes(self._bytes, "little")

    def copy(self) -> "Bitmap":
        """An independent bitmap with the same pieces."""
        twin = Bitmap(self.length)
        twin._bytes[:] = self._bytes
        twin.count = self.count
        return twin

    def without(self, other: "Bitmap") -> "Bitmap":
        """A new bitmap: the pieces that are here and not in ``other``, which has the same length."""
        left = int.from_bytes(self._bytes, "little") & ~int.from_bytes(other._bytes, "little")
        return Bitmap.from_bytes(left.to_bytes(len(self._bytes), "little"), self.length)

    def add(self, piece: int) -> bool:
        """Sets ``piece``; True where it was not set before. Raises IndexError outside the grid."""
        if not 0 <= piece < self.length:
            raise IndexError(f"no piece {piece} in {self.length}")
        mask = 1 << (piece & 7)
        if self._bytes[piece >> 3] & mask:
            return False
        self._bytes[piece >> 3] |= mask
        self.count += 1
        return True

    def discard(self, piece: int) -> bool:
        """Clears ``piece``; True where it was set before. Raises IndexError outside the grid."""
        if piece not in self:
            return False
        self._bytes[piece >> 3] &= ~(1 << (piece & 7)) & 0xFF
        self.count -= 1
        return True

    def __contains__(self, piece: int) -> bool:
        if not 0 <= piece < self.length:
            raise IndexError(f"no piece {piece} in {self.length}")
        return bool(self._bytes[piece >> 3] >> (piece & 7) & 1)

    def __iter__(self) -> Iterator[PieceIndex]:
        for position, byte in enumerate(self._bytes):
            if byte:
                for bit in _BITS_OF[byte]:
                    yield PieceIndex(position * 8 + bit)

    def __len__(self) -> int:
        return self.count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bitmap) and self.length == other.length and self._bytes == other._bytes

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        drawn = "".join("#" if piece in self else "." for piece in range(min(self.length, 64)))
        return f"<Bitmap {drawn}{'…' if self.length > 64 else ''} {self.count}/{self.length}>"

    @property
    def complete(self) -> bool:
        """Whether every piece is set."""
        return self.count == self.length

    def first_missing(self, start: int = 0) -> int:
        """The first piece from ``start`` on that is not set; ``length`` where all are."""
        piece = start
        while piece < self.length:
            if not piece & 7 and self._bytes[piece >> 3] == 0xFF:
                piece += 8
            elif piece in self:
                piece += 1
            else:
                return piece
        return self.length

    def has_all(self, pieces: range) -> bool:
        """Whether every piece of a contiguous range is set."""
        if self.count == self.length:
            return True
        return all(piece in self for piece in pieces)


def runs_of(pieces: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Ascending piece indexes as (first, count) runs, the compact form of *have* messages; a repeated one counts once."""
    runs: list[tuple[int, int]] = []
    stop = -1
    for piece in pieces:
        if piece == stop:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        elif piece > stop:
            runs.append((piece, 1))
        stop = piece + 1
    return tuple(runs)


def pieces_of(runs: Iterable[tuple[int, int]], length: int) -> Iterator[PieceIndex]:
    """The pieces of (first, count) runs, each piece once: runs that repeat pieces would let a small message cost much.

    Raises:
        ValueError: a run is empty, leaves the grid of ``length`` pieces, or begins before the end of the one before.
    """
    stop = 0
    for first, count in runs:
        if first < stop or count < 1 or first + count > length:
            raise ValueError(f"the run {first}+{count} after {stop} does not fit a grid of {length}")
        stop = first + count
        yield from map(PieceIndex, range(first, stop))
