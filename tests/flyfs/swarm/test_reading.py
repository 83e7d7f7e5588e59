"""A read that is put together: from pieces as they pass, and runs as they are read."""

from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.grid import ByteRange
from flyfs.core.ids import PieceIndex
from flyfs.swarm.reading import Reading
from tests.support.builders import PIECE_BYTES, a_blob, bytes_of, content_of

BLOB = a_blob(5.5)
CONTENT = content_of(BLOB)


def pass_by(reading: Reading, piece: int) -> None:
    reading.piece_passed(PieceIndex(piece), bytes_of(BLOB, piece))


def read_run(reading: Reading) -> range:
    pieces, place = reading.next_run()
    reading.run_read(pieces, place, CONTENT[place.start : place.stop])
    return pieces


def test_a_read_of_nothing_is_whole_at_once() -> None:
    for offset, size in ((5, 0), (BLOB.size, 10), (BLOB.size + 99, 1)):
        reading = Reading(BLOB.grid, offset, size)
        assert (bytes(reading.data), list(reading.left), reading.begun) == (b"", [], False)


def test_a_read_that_nothing_passed_by_for_is_one_run() -> None:
    reading = Reading(BLOB.grid, PIECE_BYTES + 7, 2 * PIECE_BYTES)

    assert reading.next_run() == (range(1, 4), reading.wanted)
    assert reading.wanted == ByteRange(PIECE_BYTES + 7, 3 * PIECE_BYTES + 7)
    assert not reading.begun


def test_what_passed_by_stays_and_the_rest_is_read_around_it() -> None:
    reading = Reading(BLOB.grid, 9, BLOB.size)
    pass_by(reading, 2)
    pass_by(reading, 2)
    pass_by(reading, 5)
    assert (reading.begun, list(reading.left), reading.passed_bytes) == (True, [0, 1, 3, 4], PIECE_BYTES + PIECE_BYTES // 2)

    assert read_run(reading) == range(2)
    pass_by(reading, 4)
    assert read_run(reading) == range(3, 4)
    assert reading.data == CONTENT[9:]


def test_a_piece_of_which_nothing_is_wanted_is_let_by() -> None:
    reading = Reading(BLOB.grid, PIECE_BYTES, PIECE_BYTES)
    pass_by(reading, 2)

    assert (list(reading.left), reading.passed_bytes) == ([1], 0)


@given(st.integers(0, BLOB.size + 9), st.integers(0, BLOB.size + 9), st.lists(st.integers(0, 5)), st.randoms())
def test_in_whatever_order_its_pieces_come_it_is_the_blobs_bytes(offset: int, size: int, passing: list[int], chance) -> None:  # type: ignore[no-untyped-def]
    reading = Reading(BLOB.grid, offset, size)
    for piece in passing:
        pass_by(reading, piece)
        if reading.left and chance.random() < 0.3:
            read_run(reading)
    while reading.left:
        read_run(reading)

    assert reading.data == CONTENT[offset : offset + size]
    assert reading.passed_bytes <= len(reading.data)
