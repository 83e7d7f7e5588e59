"""The clock over a blob's pieces, beside a model that goes piece by piece."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flyfs.core.bitmap import Bitmap
from flyfs.store.coldness import Coldness
from tests.support.builders import drawn


def test_what_a_restart_found_is_cold_and_goes_in_order() -> None:
    coldness = Coldness(drawn("##.####.#"))

    assert coldness.take_coldest(3) == [0, 1, 3]
    assert coldness.take_coldest(9) == [4, 5, 6, 8]
    assert coldness.take_coldest(1) == []


def test_a_piece_that_was_used_gets_a_second_chance() -> None:
    coldness = Coldness(drawn("#####"))
    coldness.used(0, 0)
    coldness.used(2, 3)

    assert coldness.take_coldest(2) == [1, 4]
    coldness.used(2, 2)
    assert coldness.take_coldest(2) == [0, 3]
    assert coldness.take_coldest(2) == [2]


def test_one_reader_from_start_to_end_loses_what_lies_furthest_behind() -> None:
    coldness = Coldness(Bitmap(100))
    for piece in range(20):
        coldness.used(piece, piece)

    for piece in range(20, 100):
        assert coldness.take_coldest(1, [range(piece - 2, piece)]) == [piece - 20]
        coldness.used(piece, piece)


def test_what_is_spared_is_neither_taken_nor_cooled() -> None:
    coldness = Coldness(drawn("########"))
    coldness.used(0, 7)

    assert coldness.take_coldest(9, [range(2, 4), range(3, 5), range(7, 99)]) == [0, 1, 5, 6]
    coldness.used(2, 2)
    assert coldness.take_coldest(1, [range(3, 5)]) == [7]
    assert coldness.take_coldest(9, [range(8)]) == []
    assert coldness.take_coldest(9) == [2, 3, 4]


def test_a_piece_that_is_gone_is_not_taken_and_comes_again_warm() -> None:
    coldness = Coldness(drawn("###"))
    coldness.gone(0)
    assert coldness.take_coldest(1) == [1]
    coldness.used(0, 0)
    assert coldness.take_coldest(1) == [2]


def test_a_blob_without_pieces_has_nothing_to_take() -> None:
    assert Coldness(Bitmap(0)).take_coldest(5) == []


@given(st.sets(st.integers(0, 99)))
def test_at_birth_everything_held_is_cold(held: set[int]) -> None:
    assert Coldness(Bitmap.of(100, held)).take_coldest(100) == sorted(held)


PIECES = 12


class ClockMachine(RuleBasedStateMachine):
    """The same clock, one piece at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.coldness = Coldness(Bitmap(PIECES))
        self.warm: dict[int, bool] = {}

    @rule(first=st.integers(0, PIECES - 1), count=st.integers(1, 4))
    def use(self, first: int, count: int) -> None:
        last = min(first + count, PIECES) - 1
        self.coldness.used(first, last)
        self.warm.update(dict.fromkeys(range(first, last + 1), True))

    @rule(piece=st.integers(0, PIECES - 1))
    def lose(self, piece: int) -> None:
        self.coldness.gone(piece)
        self.warm.pop(piece, None)

    @rule(count=st.integers(0, 5), spared=st.lists(st.tuples(st.integers(0, PIECES), st.integers(0, 4)), max_size=3))
    def take(self, count: int, spared: list[tuple[int, int]]) -> None:
        ranges = [range(start, start + length) for start, length in spared]
        before = dict(self.warm)
        taken = self.coldness.take_coldest(count, ranges)
        free = {piece for piece in before if not any(piece in one for one in ranges)}
        assert len(set(taken)) == len(taken) == min(count, len(free))
        assert set(taken) <= free
        cold = {piece for piece in free if not before[piece]}
        assert set(taken[: len(cold)]) <= cold, "nothing warm goes before what is cold"
        for piece in taken:
            del self.warm[piece]
        self.sync_model(before, taken)

    def sync_model(self, before: dict[int, bool], taken: list[int]) -> None:
        """Which survivors were cooled is the clock's own affair; none may have warmed."""
        marks = self.coldness._marks
        for piece in self.warm:
            assert marks[piece] in (1, 2)
            assert before[piece] or marks[piece] == 1
            self.warm[piece] = marks[piece] == 2

    @invariant()
    def it_knows_what_is_held(self) -> None:
        assert {piece for piece, mark in enumerate(self.coldness._marks) if mark} == set(self.warm)


TestClockMachine = ClockMachine.TestCase
