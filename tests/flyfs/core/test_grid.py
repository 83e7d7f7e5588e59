import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.grid import GIB, KIB, MAX_PIECE_BYTES, MAX_PIECES, MIB, ByteRange, PieceGrid, piece_size_for
from flyfs.core.ids import PieceIndex

TIB = 1024 * GIB


@pytest.mark.parametrize(("size", "piece_size"), [
    (0, 256 * KIB),
    (100 * MIB - 1, 256 * KIB),
    (100 * MIB, MIB),
    (64 * GIB, MIB),
    (64 * GIB + 1, 4 * MIB),
    (TIB, 4 * MIB),
    (TIB + 1, 8 * MIB),
    (2 * TIB, 8 * MIB),
    (2 * TIB + 1, 16 * MIB),
    (16 * TIB, 64 * MIB),
])  # fmt: skip
def test_the_piece_size_follows_from_the_size(size: int, piece_size: int) -> None:
    assert piece_size_for(size) == piece_size


@given(st.integers(0, 16 * TIB))
def test_no_blob_has_more_pieces_than_fit_into_a_message(size: int) -> None:
    piece_size = piece_size_for(size)
    assert len(PieceGrid(size, piece_size)) <= MAX_PIECES
    assert piece_size <= MAX_PIECE_BYTES
    assert piece_size & (piece_size - 1) == 0


@given(st.integers(0, 200), st.integers(1, 50))
def test_pieces_tile_the_blob(size: int, piece_size: int) -> None:
    grid = PieceGrid(size, piece_size)
    ranges = [grid.range_of(piece) for piece in grid]
    assert sum(map(len, ranges)) == size
    assert [one.start for one in ranges] == [0, *(one.stop for one in ranges)][: len(ranges)]
    assert all(len(one) == piece_size for one in ranges[:-1])
    assert all(0 < grid.length_of(piece) <= piece_size for piece in grid)


@given(st.integers(0, 200), st.integers(1, 50), st.integers(0, 250), st.integers(0, 250))
def test_covering_names_exactly_the_pieces_that_hold_a_byte_of_the_range(
    size: int, piece_size: int, start: int, stop: int
) -> None:
    grid = PieceGrid(size, piece_size)
    wanted = set(range(start, min(stop, size)))
    expected = [piece for piece in grid if wanted & set(range(grid.range_of(piece).start, grid.range_of(piece).stop))]
    assert list(grid.covering(start, stop)) == expected


@pytest.mark.parametrize("piece", [-1, 3, 10**9])
def test_a_piece_outside_the_grid_is_an_error(piece: int) -> None:
    with pytest.raises(ValueError, match="no piece"):
        PieceGrid(9, 4).range_of(PieceIndex(piece))


def test_the_last_piece_may_be_one_byte() -> None:
    grid = PieceGrid(9, 4)
    assert [grid.length_of(piece) for piece in grid] == [4, 4, 1]
    assert len(PieceGrid(0, 4)) == 0


@pytest.mark.parametrize(("size", "piece_size"), [(-1, 4), (4, 0), (4, -4)])
def test_a_grid_of_nonsense_is_refused(size: int, piece_size: int) -> None:
    with pytest.raises(ValueError, match="not a grid"):
        PieceGrid(size, piece_size)


@pytest.mark.parametrize(("start", "stop"), [(-1, 0), (2, 1)])
def test_a_byte_range_goes_forward_from_zero(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="not a byte range"):
        ByteRange(start, stop)
    assert len(ByteRange(3, 3)) == 0
