import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flyfs.core.grid import MIB
from flyfs.core.ids import PieceIndex
from flyfs.limit.bucket import Priority
from supernode.cdn.fetch_plan import MAX_READ_BYTES, MAX_READS, PAUSE_S, FetchPlan, Read

PIECES = 40


class Plan:
    """A plan with what is held, asked in short."""

    def __init__(self, *, piece_size: int = MIB, pieces: int = PIECES) -> None:
        self.held: set[int] = set()
        self.plan = FetchPlan(pieces, piece_size, self.held.__contains__)
        self.now = 10.0
        self.reads: list[Read] = []

    def demand(self, *pieces: int, ahead: int = 0) -> None:
        for piece in pieces:
            self.plan.wanted(PieceIndex(piece), demand=True, ahead=ahead)

    def want(self, *pieces: int, ahead: int = 0) -> None:
        for piece in pieces:
            self.plan.wanted(PieceIndex(piece), demand=False, ahead=ahead)

    def warm(self, *pieces: int, ahead: int = 0) -> None:
        for piece in pieces:
            self.plan.wanted(PieceIndex(piece), demand=False, ahead=ahead, background=True)

    def begins(self) -> list[tuple[int, int]]:
        begun = self.plan.next_reads(self.now)
        self.reads += begun
        return [(read.first, read.stop) for read in begun]

    def brings(self, read: Read, count: int) -> None:
        for piece in range(read.at, read.at + count):
            self.held.add(piece)
            self.plan.piece_came(read, PieceIndex(piece), new=True)
        if read.at == read.stop:
            self.plan.read_ended(read)
            self.reads.remove(read)

    def fails(self, read: Read, retry_after_s: float | None = None) -> None:
        self.plan.read_failed(read, self.now, retry_after_s)
        self.reads.remove(read)


def test_nothing_is_read_where_nobody_wants_anything() -> None:
    plan = Plan()

    assert plan.begins() == []
    assert not plan.plan.reading


def test_one_piece_is_one_read() -> None:
    plan = Plan()
    plan.demand(5)

    assert plan.begins() == [(5, 6)]
    assert plan.plan.reading
    assert [plan.plan.covered(PieceIndex(piece)) for piece in (4, 5, 6)] == [False, True, False]
    assert plan.begins() == []


def test_what_lies_side_by_side_is_one_read_and_so_is_what_its_reader_will_want() -> None:
    plan = Plan()
    plan.want(6, 7)
    plan.demand(5, ahead=1)
    plan.want(20, ahead=4)
    plan.want(23, ahead=3)

    assert plan.begins() == [(5, 8), (20, 27)]


def test_a_read_ends_where_pieces_are_held_or_already_coming_or_the_file_ends() -> None:
    plan = Plan()
    plan.held.add(8)
    plan.demand(5, ahead=10)
    assert plan.begins() == [(5, 8)]
    plan.demand(2, ahead=10)
    assert plan.begins() == [(2, 5)]
    plan.demand(38, ahead=10)
    assert plan.begins() == [(38, 40)]


def test_what_is_held_is_not_read() -> None:
    plan = Plan()
    plan.held.update({3, 4})
    plan.demand(3)
    plan.want(4)

    assert plan.begins() == []


def test_a_read_has_a_bounded_length() -> None:
    plan = Plan(piece_size=16 * MIB)
    plan.demand(0, ahead=30)
    assert plan.begins() == [(0, 4)]

    huge = Plan(piece_size=2 * MAX_READ_BYTES)
    huge.demand(3, ahead=30)
    assert huge.begins() == [(3, 4)]


def test_prefetches_leave_half_of_the_reads_to_demands() -> None:
    plan = Plan()
    plan.want(0, 10, 20, 30)
    assert plan.begins() == [(0, 1), (10, 11)]
    plan.demand(22, 24, 26)
    assert plan.begins() == [(22, 23), (24, 25)]
    assert len(plan.reads) == MAX_READS

    plan.brings(plan.reads[0], 1)
    assert plan.begins() == [(26, 27)]


def test_a_prefetch_right_behind_a_read_that_has_far_to_go_is_collected_first() -> None:
    plan = Plan()
    plan.want(0, ahead=7)
    assert plan.begins() == [(0, 8)]
    plan.want(8)
    assert plan.begins() == []
    plan.brings(plan.reads[0], 5)
    plan.want(9)
    plan.want(11)
    assert plan.begins() == [(11, 12)], "only what lies side by side is one read"
    plan.brings(plan.reads[1], 1)

    plan.brings(plan.reads[0], 1)
    assert plan.begins() == [(8, 10)]


def test_a_demand_waits_for_no_collecting() -> None:
    plan = Plan()
    plan.want(0, ahead=7)
    plan.begins()
    plan.demand(8)

    assert plan.begins() == [(8, 9)]


def test_what_nobody_will_read_soon_gets_one_read_and_only_where_there_is_no_other() -> None:
    plan = Plan()
    plan.want(20)
    plan.warm(0, 10)
    assert plan.begins() == [(20, 21)]
    plan.brings(plan.reads[0], 1)
    assert plan.begins() == [(0, 1)]
    plan.want(30)
    assert plan.begins() == [(30, 31)], "others go on beside it"
    plan.demand(35)
    assert plan.begins() == [(35, 36)]


def test_a_read_is_as_urgent_as_the_most_urgent_piece_that_it_still_brings() -> None:
    plan = Plan()
    plan.warm(0, ahead=9)
    plan.begins()
    (read,) = plan.reads
    assert plan.plan.priority_of(read) is Priority.BACKGROUND
    plan.want(3)
    assert plan.plan.priority_of(read) is Priority.PREFETCH
    plan.demand(5)
    assert plan.plan.priority_of(read) is Priority.DEMAND
    assert plan.begins() == [], "all of them come with it"
    plan.brings(read, 6)
    assert plan.plan.priority_of(read) is Priority.BACKGROUND, "both have come"

    plan.want(20)
    plan.begins()
    assert plan.plan.priority_of(plan.reads[-1]) is Priority.PREFETCH


def test_one_who_asks_twice_in_the_background_may_give_up_once() -> None:
    plan = Plan()
    plan.warm(4, 4, ahead=2)
    plan.plan.unwanted(PieceIndex(4), demand=False, background=True)
    assert plan.begins() == [(4, 7)]
    plan.brings(plan.reads[0], 3)
    plan.warm(30)
    plan.plan.unwanted(PieceIndex(30), demand=False, background=True)
    assert plan.begins() == []


def test_who_gave_up_is_read_for_no_more() -> None:
    plan = Plan()
    plan.demand(3, 3, ahead=2)
    plan.want(3)
    for demand in (True, True, False):
        plan.plan.unwanted(PieceIndex(3), demand=demand)
    plan.plan.unwanted(PieceIndex(9), demand=True)
    assert plan.begins() == []

    plan.demand(3)
    assert plan.begins() == [(3, 4)], "and what it would have wanted next is forgotten"


def test_one_of_two_who_gave_up_leaves_the_other() -> None:
    plan = Plan()
    plan.demand(3, 3)
    plan.plan.unwanted(PieceIndex(3), demand=True)

    assert plan.begins() == [(3, 4)]


def test_after_a_failure_the_origin_is_left_alone_for_longer_each_time_and_a_piece_forgives() -> None:
    plan = Plan()
    plan.demand(3)
    pauses = []
    for _ in range(8):
        plan.begins()
        plan.fails(plan.reads[0])
        pauses.append(plan.plan.pause_left_s(plan.now))
        plan.now += pauses[-1] - 1e-6
        assert plan.begins() == []
        plan.now += 2e-6
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])
    assert plan.plan.pause_left_s(plan.now) == 0

    plan.demand(4)
    plan.begins()
    plan.brings(plan.reads[0], 1)
    plan.fails(plan.reads[0])
    assert plan.plan.pause_left_s(plan.now) == pytest.approx(PAUSE_S[0])


def test_the_origin_says_itself_how_long_it_wants_to_be_left_alone_and_a_shorter_word_does_not_count() -> None:
    plan = Plan()
    plan.demand(3, 9)
    plan.begins()
    plan.fails(plan.reads[0], 60.0)
    plan.fails(plan.reads[0], 1.0)

    assert plan.plan.pause_left_s(plan.now) == 60


def test_an_origin_may_fail_for_days_without_any_number_overflowing() -> None:
    plan = Plan()
    plan.demand(3)
    for _ in range(1100):
        plan.begins()
        plan.fails(plan.reads[0])
        plan.now += PAUSE_S[1]


def test_what_a_broken_read_brought_is_not_read_again() -> None:
    plan = Plan()
    plan.demand(0, ahead=9)
    plan.begins()
    plan.brings(plan.reads[0], 4)
    plan.fails(plan.reads[0], 0.0)

    plan.demand(2, 6)
    assert plan.begins() == [(6, 7)]


def test_an_origin_that_gives_its_bytes_from_the_start_only_is_read_from_the_start_and_once_at_a_time() -> None:
    plan = Plan()
    plan.plan.sequential = True
    plan.demand(30, 5)
    assert plan.begins() == [(0, PIECES)]
    plan.demand(39)
    assert plan.begins() == []

    plan.brings(plan.reads[0], PIECES)
    assert plan.begins() == []


def test_an_origin_that_turns_out_to_ignore_ranges_sends_the_whole_file_in_one_of_its_answers() -> None:
    plan = Plan()
    plan.demand(30, 5)
    assert plan.begins() == [(5, 6), (30, 31)]

    assert plan.plan.whole_file_comes(plan.reads[0])
    assert not plan.plan.whole_file_comes(plan.reads[1])
    assert (plan.reads[0].first, plan.reads[0].at, plan.reads[0].stop) == (0, 0, PIECES)
    del plan.reads[1]
    assert plan.plan.covered(PieceIndex(30))
    assert plan.begins() == []
    plan.brings(plan.reads[0], PIECES)
    assert not plan.plan.reading


def test_a_read_that_the_question_for_the_version_began_counts_as_any_other() -> None:
    plan = Plan()
    read = plan.plan.begin(0, 2)
    plan.reads.append(read)
    plan.demand(0, 1, 2)

    assert plan.begins() == [(2, 3)]
    plan.brings(read, 2)
    assert plan.held == {0, 1}


class FetchPlanMachine(RuleBasedStateMachine):
    """A plan against every order of events, with a model that counts what the origin was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.held: set[int] = set()
        self.plan = FetchPlan(PIECES, 8 * MIB, self.held.__contains__)
        self.now = 0.0
        self.waiting: list[tuple[int, bool]] = []
        self.reads: list[Read] = []

    @rule(piece=st.integers(0, PIECES - 1), demand=st.booleans(), ahead=st.integers(0, 60))
    def somebody_wants(self, piece: int, demand: bool, ahead: int) -> None:
        self.waiting.append((piece, demand))
        self.plan.wanted(PieceIndex(piece), demand=demand, ahead=ahead)
        self.decide()

    @precondition(lambda self: self.waiting)
    @rule(at=st.integers(0, 99))
    def somebody_leaves(self, at: int) -> None:
        piece, demand = self.waiting.pop(at % len(self.waiting))
        self.plan.unwanted(PieceIndex(piece), demand=demand)
        self.decide()

    @precondition(lambda self: self.reads)
    @rule(at=st.integers(0, 99), count=st.integers(1, 10))
    def pieces_come(self, at: int, count: int) -> None:
        self.bring(self.reads[at % len(self.reads)], count)

    @precondition(lambda self: self.reads)
    @rule(at=st.integers(0, 99), retry_after_s=st.sampled_from([None, 0.0, 3.0]))
    def a_read_breaks(self, at: int, retry_after_s: float | None) -> None:
        read = self.reads.pop(at % len(self.reads))
        self.plan.read_failed(read, self.now, retry_after_s)
        self.decide()

    @precondition(lambda self: not self.plan.covered(PieceIndex(0)) and 0 not in self.held)
    @rule()
    def a_question_brings_the_first_piece(self) -> None:
        self.reads.append(self.plan.begin(0, 1))
        self.decide()

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.decide()

    @precondition(lambda self: self.reads)
    @rule(at=st.integers(0, 99))
    def the_origin_ignores_ranges(self, at: int) -> None:
        read = self.reads[at % len(self.reads)]
        another = any(one is not read and (one.first, one.stop) == (0, PIECES) for one in self.reads)
        goes_on = self.plan.whole_file_comes(read)
        assert goes_on != another
        if goes_on:
            assert (read.first, read.at, read.stop) == (0, 0, PIECES)
        else:
            self.reads.remove(read)
        self.decide()

    @precondition(lambda self: self.held)
    @rule(at=st.integers(0, 99))
    def a_piece_was_handed_out_and_is_gone(self, at: int) -> None:
        self.held.discard(sorted(self.held)[at % len(self.held)])
        self.decide()

    @rule()
    def the_origin_answers_well(self) -> None:
        """Liveness: everything that is wanted comes."""
        for _ in range(3 * PIECES):
            self.now += self.plan.pause_left_s(self.now)
            self.decide()
            if not self.reads:
                break
            self.bring(self.reads[0], 1)
        assert {piece for piece, _ in self.waiting} <= self.held

    def bring(self, read: Read, count: int) -> None:
        for piece in range(read.at, min(read.at + count, read.stop)):
            self.held.add(piece)
            self.plan.piece_came(read, PieceIndex(piece), new=True)
            for one in [one for one in self.waiting if one[0] == piece]:
                self.plan.unwanted(PieceIndex(piece), demand=one[1])
                self.waiting.remove(one)
        if read.at == read.stop:
            self.plan.read_ended(read)
            self.reads.remove(read)
        self.decide()

    def decide(self) -> None:
        paused = self.plan.pause_left_s(self.now) > 0
        before = len(self.reads)
        coming = {piece for read in self.reads for piece in range(read.at, read.stop)}
        for read in self.plan.next_reads(self.now):
            assert not paused
            pieces = set(range(read.first, read.stop))
            assert read.at == read.first
            if self.plan.sequential:
                assert (read.first, read.stop) == (0, PIECES)
                assert not self.reads, "one at a time"
            else:
                assert not pieces & (coming | self.held), "no byte is asked for twice"
                assert len(pieces) <= MAX_READ_BYTES // (8 * MIB)
                assert read.first in {piece for piece, _ in self.waiting}
            coming |= pieces
            self.reads.append(read)
        assert len(self.reads) <= max(MAX_READS, before)

    @invariant()
    def every_wanted_piece_is_covered_or_has_to_wait_its_turn(self) -> None:
        if self.plan.pause_left_s(self.now):
            return
        full = 1 if self.plan.sequential else MAX_READS
        for piece, demand in self.waiting:
            covered = any(read.at <= piece < read.stop for read in self.reads)
            start = piece  # of the pieces side by side that end here
            while (
                (start - 1, False) in self.waiting and start - 1 not in self.held and not self.plan.covered(PieceIndex(start - 1))
            ):
                start -= 1
            far = [read.stop for read in self.reads if 4 * (read.stop - read.at) > read.stop - read.first]
            behind = any(stop in far for stop in range(start, piece + 1))
            in_turn = len(self.reads) >= (full if demand or full == 1 else MAX_READS // 2)
            assert covered or piece in self.held or in_turn or (behind and not demand)
            assert self.plan.covered(PieceIndex(piece)) == covered
        assert self.plan.reading == bool(self.reads)


TestFetchPlanMachine = FetchPlanMachine.TestCase
TestFetchPlanMachine.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


def test_a_piece_that_a_reader_has_come_to_is_read_before_what_is_only_wanted() -> None:
    plan = FetchPlan(100, MIB, lambda _: False)
    for piece in (0, 20, 40, 60, 80):
        plan.wanted(PieceIndex(piece), demand=False, ahead=0)
    first = plan.next_reads(0.0)
    assert 80 not in {read.first for read in first}
    plan.hurried(PieceIndex(80))
    plan.hurried(PieceIndex(99))

    assert [read.first for read in plan.next_reads(0.0)] == [80]
    assert plan.demanded(PieceIndex(80))
    assert not plan.demanded(PieceIndex(99)), "nobody asked for it"
    plan.unwanted(PieceIndex(80), demand=False)
    assert not plan.demanded(PieceIndex(80))
