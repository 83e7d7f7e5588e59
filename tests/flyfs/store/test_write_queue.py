"""Which pieces are written next: tables for the rules, and a model in which pieces come, leave and become urgent."""

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flyfs.core.grid import GIB, MIB
from flyfs.core.ids import PieceIndex
from flyfs.store.write_queue import DEMANDS_IN_A_ROW, Batch, Waiting, WriteQueue, unsynced_limit_bytes

FREE = 1 << 40


def a_queue(*, batch_bytes: int = 4, max_unsynced_bytes: int = FREE) -> WriteQueue[Waiting]:
    return WriteQueue(max_unsynced_bytes=max_unsynced_bytes, batch_bytes=batch_bytes)


def came(queue: WriteQueue[Waiting], *pieces: int, file: str = "a", demand: bool = False, size: int = 1) -> list[Waiting]:
    waiting = [Waiting(file=file, piece=PieceIndex(piece), size=size, demand=demand) for piece in pieces]
    for one in waiting:
        queue.piece_came(one)
    return waiting


def runs_of(batch: Batch[Waiting] | None) -> list[tuple[object, ...]] | None:
    """The runs as (file, piece, piece, …); None for no batch."""
    return None if batch is None else [(run[0].file, *(piece.piece for piece in run)) for run in batch.runs]


def taken(queue: WriteQueue[Waiting], unsynced_bytes: int = 0) -> list[tuple[object, ...]] | None:
    """The next batch, written at once."""
    batch = queue.next_batch(unsynced_bytes)
    if batch is not None:
        queue.batch_ended(batch)
    return runs_of(batch)


def test_pieces_side_by_side_are_one_run_in_the_order_of_their_places() -> None:
    queue = a_queue(batch_bytes=9)
    came(queue, 5, 3, 9, 4)
    came(queue, 4, 6, file="b")

    assert taken(queue) == [("a", 3, 4, 5), ("a", 9), ("b", 4), ("b", 6)]
    assert (taken(queue), len(queue)) == (None, 0)


def test_a_batch_starts_with_the_piece_that_waits_longest_and_has_bounded_bytes() -> None:
    queue = a_queue(batch_bytes=4)
    came(queue, 7, 0, 1, 2, 3, 6, 5, 4, 8, 9)

    assert taken(queue) == [("a", 4, 5, 6, 7)]
    assert taken(queue) == [("a", 0, 1, 2, 3)]
    assert taken(queue) == [("a", 8, 9)]


def test_a_run_that_no_longer_fits_waits_for_the_next_batch() -> None:
    queue = a_queue(batch_bytes=4)
    came(queue, 0, 1, 2)
    came(queue, 5, 6, file="b", size=2)

    assert taken(queue) == [("a", 0, 1, 2)]
    assert taken(queue) == [("b", 5, 6)]


def test_a_piece_larger_than_a_batch_goes_alone() -> None:
    queue = a_queue(batch_bytes=4)
    came(queue, 0, 1, size=9)

    assert taken(queue) == [("a", 0)]
    assert taken(queue) == [("a", 1)]


def test_demands_go_first_and_take_nothing_along_that_nobody_waits_for() -> None:
    queue = a_queue()
    came(queue, 0, 1, 3)
    came(queue, 2, demand=True)

    assert taken(queue) == [("a", 2)]
    assert taken(queue) == [("a", 0, 1), ("a", 3)]


def test_a_piece_that_becomes_demanded_while_it_waits_goes_first() -> None:
    queue = a_queue(batch_bytes=1)
    came(queue, 0, 1, 2)
    queue.piece_demanded("a", PieceIndex(2))
    queue.piece_demanded("a", PieceIndex(2))
    queue.piece_demanded("a", PieceIndex(7))
    queue.piece_demanded("b", PieceIndex(0))

    assert [taken(queue) for _ in range(3)] == [[("a", 2)], [("a", 0)], [("a", 1)]]


def test_one_lane_is_always_free_of_bulk() -> None:
    queue = a_queue(batch_bytes=1)
    came(queue, 0, 1)
    bulk = queue.next_batch(0)
    assert bulk is not None
    assert bulk.bulk
    assert (queue.has_batch(0), queue.next_batch(0)) == (False, None)
    came(queue, 8, 9, demand=True)

    assert queue.has_batch(0)
    assert runs_of(queue.next_batch(0)) == [("a", 8)]
    assert queue.next_batch(0) is None  # both lanes are busy
    queue.batch_ended(bulk)
    assert runs_of(queue.next_batch(0)) == [("a", 9)]


def test_demands_without_end_do_not_starve_the_rest() -> None:
    queue = a_queue(batch_bytes=1)
    came(queue, 0)
    came(queue, *range(1, 20), demand=True)

    first = [taken(queue) for _ in range(DEMANDS_IN_A_ROW + 1)]
    assert [("a", 0)] not in first[:-1]
    assert first[-1] == [("a", 0)]


def test_nothing_but_demands_is_written_while_too_much_is_unsynced() -> None:
    queue = a_queue(max_unsynced_bytes=8)
    came(queue, 0, 1, 2, 3)
    assert not queue.has_batch(8)
    assert queue.next_batch(8) is None
    came(queue, 5, 6, 7, demand=True)

    assert runs_of(queue.next_batch(8)) == [("a", 5, 6)]  # a quarter more than 8
    assert queue.next_batch(8) is None
    assert runs_of(queue.next_batch(5)) == [("a", 7)]  # a sync has finished; what is being written counts


def test_a_batch_is_no_larger_than_the_room_that_is_left() -> None:
    queue = a_queue(max_unsynced_bytes=8)
    came(queue, 0, 1, 2, 3)

    assert taken(queue, unsynced_bytes=6) == [("a", 0, 1)]
    assert taken(queue, unsynced_bytes=7) == [("a", 2)]


def test_a_piece_can_be_taken_back_until_its_batch_begins() -> None:
    queue = a_queue(batch_bytes=2)
    waiting = came(queue, 0, 1, 2)
    assert queue.piece_left(waiting[1])
    assert not queue.piece_left(waiting[1])
    batch = queue.next_batch(0)
    assert runs_of(batch) == [("a", 0), ("a", 2)]
    (again,) = came(queue, 0)
    assert not queue.piece_left(waiting[0])

    assert queue.all_left() == [again]
    assert len(queue) == 0


def test_a_machine_with_little_memory_keeps_little_unsynced() -> None:
    assert unsynced_limit_bytes(64 * GIB) == GIB
    assert unsynced_limit_bytes(1000 * MIB) == 100 * MIB


class Traffic(RuleBasedStateMachine):
    """Pieces come, leave, become urgent; batches end; syncs make room."""

    LIMIT = 12

    def __init__(self) -> None:
        super().__init__()
        self.queue = a_queue(batch_bytes=3, max_unsynced_bytes=self.LIMIT)
        self.waiting: dict[Waiting, int] = {}  # → batches begun since it could have been in one
        self.under_way: list[Batch[Waiting]] = []
        self.unsynced = 0

    @rule(file=st.sampled_from("ab"), piece=st.integers(0, 9), size=st.sampled_from([1, 1, 1, 2, 5]), demand=st.booleans())
    def come(self, file: str, piece: int, size: int, demand: bool) -> None:
        if (file, piece) not in {(one.file, one.piece) for one in self.waiting}:
            (waiting,) = came(self.queue, piece, file=file, demand=demand, size=size)
            self.waiting[waiting] = 0

    @rule(file=st.sampled_from("ab"), piece=st.integers(0, 9))
    def demand(self, file: str, piece: int) -> None:
        self.queue.piece_demanded(file, PieceIndex(piece))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        waiting = data.draw(st.sampled_from(list(self.waiting)))
        assert self.queue.piece_left(waiting)
        del self.waiting[waiting]

    @rule()
    def begin(self) -> None:
        writing = sum(batch.size for batch in self.under_way)
        demands = [one for one in self.waiting if one.demand]
        bulk = [one for one in self.waiting if not one.demand]
        lane = len(self.under_way) < 2
        bulk_under_way = any(batch.bulk for batch in self.under_way)
        demand_may = bool(demands) and lane and self.unsynced + writing < self.LIMIT + self.LIMIT // 4
        bulk_may = bool(bulk) and lane and not bulk_under_way and self.unsynced + writing < self.LIMIT
        assert self.queue.has_batch(self.unsynced) == (demand_may or bulk_may)
        batch = self.queue.next_batch(self.unsynced)
        assert (batch is not None) == (demand_may or bulk_may)
        if batch is None:
            return
        self.check(batch)
        if demand_may and batch.bulk:
            assert self.demands_since_bulk >= DEMANDS_IN_A_ROW
        self.demands_since_bulk = 0 if batch.bulk or not bulk else self.demands_since_bulk + 1
        for one in batch.pieces:
            del self.waiting[one]
        for one in self.waiting:
            if one.demand != batch.bulk:
                self.waiting[one] += 1
                assert self.waiting[one] < 20, "each batch has the oldest, and no more than 20 can wait"
        assert not batch.bulk or bulk[0] in set(batch.pieces)
        self.under_way.append(batch)

    demands_since_bulk = 0

    def check(self, batch: Batch[Waiting]) -> None:
        pieces = list(batch.pieces)
        assert {one.demand for one in pieces} == {not batch.bulk}
        assert batch.size == sum(one.size for one in pieces)
        assert batch.size <= 3 or len(pieces) == 1
        files = [run[0].file for run in batch.runs]
        assert sorted(files, key=files.index) == files  # each file's runs together
        for run in batch.runs:
            assert {one.file for one in run} == {run[0].file}
            assert [one.piece for one in run] == list(range(run[0].piece, run[0].piece + len(run)))
        for before, after in pairwise(batch.runs):
            assert before[0].file != after[0].file or before[-1].piece + 1 < after[0].piece

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), fails=st.booleans())
    def end(self, data: st.DataObject, fails: bool) -> None:
        batch = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(batch)
        self.queue.batch_ended(batch)
        self.unsynced += 0 if fails else batch.size

    @rule()
    def sync(self) -> None:
        self.unsynced = 0

    @invariant()
    def all_wait_or_are_under_way(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert sum(batch.bulk for batch in self.under_way) <= 1
        assert len(self.under_way) <= 2

    def teardown(self) -> None:
        for _ in range(200):
            for batch in self.under_way:
                self.queue.batch_ended(batch)
            self.under_way = []
            batch = self.queue.next_batch(0)
            if batch is None:
                break
            self.under_way = [batch]
        assert len(self.queue) == 0


TestTraffic = pytest.mark.timeout(300)(Traffic.TestCase)
TestTraffic.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
