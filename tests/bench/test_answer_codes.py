"""What the load generator counts is what was sent."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.wire.codec import encode
from flyfs.wire.messages import Busy, Done, NotHeld, Piece
from tests.bench.answer_codes import AnswerCodes
from tests.bench.simulated_peers import host_of, number_of

BODY = b"\x00\x00\x00\x01" * 25
STREAM = b"".join(
    [
        encode(Done(), 1),
        encode(Piece(piece=0, length=len(BODY), proof=None), 1) + BODY,
        encode(Piece(piece=0, length=len(BODY), proof=None), 1) + BODY,
        encode(NotHeld(), 1),
        encode(Busy(retry_after_s=1.0), 1),
    ]
)


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_codes_are_found_wherever_the_stream_was_cut_and_bodies_are_passed_over(cuts: list[int]) -> None:
    codes = AnswerCodes(len(BODY))
    places = [0, *sorted(cuts), len(STREAM)]

    found = [code for start, stop in itertools.pairwise(places) for code in codes.feed(STREAM[start:stop])]

    assert found == [Done.code, Piece.code, Piece.code, NotHeld.code, Busy.code]


@pytest.mark.parametrize("number", [0, 1, 255, 256, 65_535, 65_536, 70_000])
def test_an_address_tells_whose_it_is(number: int) -> None:
    assert number_of(host_of(number)) == number


def test_no_peer_has_the_address_that_programs_listen_at() -> None:
    assert host_of(0) == "127.1.0.0"
