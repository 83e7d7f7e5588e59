"""The shelf of pieces that pass by: bounded, and right where it answers."""

from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.ids import PieceIndex
from flyfs.swarm.passing import Passing
from tests.support.builders import PIECE_BYTES, a_blob, bytes_of, content_of

BLOB = a_blob(4.5)


def a_shelf(*pieces: int, budget_pieces: int = 3) -> Passing:
    passing = Passing(budget_pieces * PIECE_BYTES)
    for piece in pieces:
        passing.put(BLOB.id, PieceIndex(piece), memoryview(bytes_of(BLOB, piece)))
    return passing


def held(passing: Passing) -> set[int]:
    return {piece for piece in range(5) if (BLOB.id, PieceIndex(piece)) in passing._pieces}


def test_the_least_recently_used_piece_goes_first() -> None:
    passing = a_shelf(0, 1, 2)
    assert passing.find(BLOB.id, PieceIndex(0)) == bytes_of(BLOB, 0)
    passing.put(BLOB.id, PieceIndex(3), memoryview(bytes_of(BLOB, 3)))

    assert (held(passing), passing.held_bytes) == ({0, 2, 3}, 3 * PIECE_BYTES)
    assert passing.find(BLOB.id, PieceIndex(1)) is None


def test_the_newest_piece_is_kept_however_small_the_budget_is() -> None:
    passing = a_shelf(0, 1, budget_pieces=0)

    assert (held(passing), passing.held_bytes) == ({1}, PIECE_BYTES)


def test_a_piece_that_comes_again_counts_once() -> None:
    assert a_shelf(0, 0, 0).held_bytes == PIECE_BYTES


def test_reads_are_answered_where_all_of_their_pieces_are_here() -> None:
    passing = a_shelf(1, 2, 4)
    content = content_of(BLOB)

    assert passing.read(BLOB, PIECE_BYTES + 5, 10) == content[PIECE_BYTES + 5 : PIECE_BYTES + 15]
    assert passing.read(BLOB, PIECE_BYTES + 5, 2 * PIECE_BYTES - 5) == content[PIECE_BYTES + 5 : 3 * PIECE_BYTES]
    assert passing.read(BLOB, 4 * PIECE_BYTES, 99 * PIECE_BYTES) == content[4 * PIECE_BYTES :]
    assert passing.read(BLOB, 0, PIECE_BYTES + 1) is None
    assert passing.read(BLOB, 3 * PIECE_BYTES - 1, 2) is None
    assert passing.read(BLOB, BLOB.size + 7, 10) is None
    assert passing.read(a_blob(4.5, name="other"), PIECE_BYTES, 1) is None
    assert Passing().read(BLOB, 0, 1) is None


def test_what_nobody_reads_any_more_is_forgotten() -> None:
    passing = a_shelf(0, 1)
    other = a_blob(name="other")
    passing.put(other.id, PieceIndex(0), memoryview(bytes_of(other, 0)))
    passing.forget(BLOB.id)

    assert (held(passing), passing.held_bytes) == (set(), PIECE_BYTES)
    assert passing.find(other.id, PieceIndex(0)) == bytes_of(other, 0)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=40), st.integers(0, 4))
def test_it_is_within_its_budget_and_never_gives_wrong_bytes(steps: list[tuple[int, bool]], budget_pieces: int) -> None:
    passing = a_shelf(budget_pieces=budget_pieces)
    for piece, comes in steps:
        if comes:
            passing.put(BLOB.id, PieceIndex(piece), memoryview(bytes_of(BLOB, piece)))
            assert passing.find(BLOB.id, PieceIndex(piece)) is not None
        else:
            assert passing.find(BLOB.id, PieceIndex(piece)) in (None, bytes_of(BLOB, piece))
        assert passing.held_bytes == sum(len(data) for data in passing._pieces.values())
        assert passing.held_bytes <= max(budget_pieces, 1) * PIECE_BYTES
