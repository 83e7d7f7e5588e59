"""The order of writes: tables for its rules, and a model that cuts power at any moment."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flyfs.core.grid import MIB
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.store.write_order import MarkDurable, SyncBlob, WriteOrder

A, B = BlobId("a" * 64), BlobId("b" * 64)


def write(order: WriteOrder, piece: int, now: float, *, blob_id: BlobId = A, size: int = MIB, provable: bool = True) -> bool:
    order.piece_started(blob_id, PieceIndex(piece))
    return order.piece_written(blob_id, PieceIndex(piece), size, now, provable=provable)


def sync(*pieces: int, blob_id: BlobId = A) -> SyncBlob:
    return SyncBlob(blob_id=blob_id, pieces=tuple(map(PieceIndex, pieces)))


def mark(*pieces: int, blob_id: BlobId = A) -> MarkDurable:
    return MarkDurable(blob_id=blob_id, pieces=tuple(map(PieceIndex, pieces)))


def test_a_piece_is_synced_when_its_blob_was_idle_and_marked_right_after() -> None:
    order = WriteOrder()
    assert order.next_deadline() == math.inf
    assert write(order, 0, now=10.0)

    assert order.next_deadline() == 11.0
    assert order.next_commands(10.9) == []
    assert order.next_commands(11.0) == [sync(0)]
    assert (order.next_commands(99.0), order.next_deadline()) == ([], math.inf)  # one at a time
    order.sync_finished(A)
    assert order.unsynced_bytes == 0
    assert order.at_work(A)
    assert order.next_commands(11.1) == [mark(0)]
    order.mark_finished(A)
    assert (order.next_commands(99.0), order.next_deadline(), order.at_work(A)) == ([], math.inf, False)


def test_a_steadily_written_blob_is_synced_when_its_oldest_write_is_five_seconds_old() -> None:
    order = WriteOrder()
    for step in range(11):
        assert order.next_commands(step * 0.5 - 0.01) == []
        write(order, step, now=step * 0.5)

    assert order.next_commands(5.0) == [sync(*range(11))]


def test_a_deadline_moves_with_each_write_and_is_never_late() -> None:
    order = WriteOrder()
    write(order, 0, now=0.0)
    write(order, 1, now=0.5)

    assert order.next_deadline() <= 1.5
    assert order.next_commands(1.0) == []
    assert order.next_deadline() == 1.5


def test_much_unsynced_data_is_synced_at_once_the_largest_blob_first() -> None:
    order = WriteOrder(batch_bytes=4)
    write(order, 0, now=0.0, blob_id=B, size=1)
    write(order, 0, now=0.0, size=2)
    assert order.next_commands(0.0) == []
    write(order, 1, now=0.0, size=1)

    assert order.next_deadline() == -math.inf
    assert order.next_commands(0.0) == [sync(0, 1)]


def test_a_flood_in_one_blob_leaves_every_other_turn_to_those_that_are_due() -> None:
    order = WriteOrder(batch_bytes=4)
    write(order, 0, now=0.0, blob_id=B, size=1)
    write(order, 0, now=9.0, size=4)
    assert order.next_commands(9.0) == [sync(0)]
    order.sync_finished(A)
    write(order, 1, now=9.0, size=4)

    assert order.next_commands(9.0) == [sync(0, blob_id=B)]
    order.sync_finished(B)
    assert order.next_commands(9.0) == [mark(0)]


def test_a_flood_with_nothing_else_due_takes_every_turn() -> None:
    order = WriteOrder(batch_bytes=4, idle_s=99, batch_age_s=99)
    write(order, 0, now=0.0, size=4)
    assert order.next_commands(0.0) == [sync(0)]
    order.sync_failed(A)
    write(order, 0, now=0.0, size=4)

    assert order.next_commands(0.0) == [sync(0)]


def test_a_piece_written_while_a_sync_runs_waits_for_the_next_one() -> None:
    order = WriteOrder()
    write(order, 0, now=0.0)
    assert order.next_commands(1.0) == [sync(0)]
    write(order, 1, now=1.0)
    order.sync_finished(A)

    assert order.next_commands(1.0) == [mark(0)]
    order.mark_finished(A)
    assert order.next_commands(1.5) == []
    assert order.next_commands(2.0) == [sync(1)]


def test_a_failed_sync_distrusts_all_that_no_earlier_sync_covers() -> None:
    order = WriteOrder()
    write(order, 0, now=0.0)
    order.next_commands(1.0)
    order.sync_finished(A)
    order.next_commands(1.0)
    order.mark_finished(A)
    write(order, 1, now=1.0)
    assert order.next_commands(2.0) == [sync(1)]
    write(order, 2, now=2.0)
    write(order, 3, now=2.0, provable=False)
    order.piece_started(A, PieceIndex(4))
    write(order, 0, now=2.0, blob_id=B)

    assert order.sync_failed(A) == (1, 2, 3)
    assert order.unsynced_bytes == MIB  # of the other blob
    assert not order.piece_written(A, PieceIndex(4), MIB, 2.0)  # its pages may be among the lost ones
    assert write(order, 4, now=2.0)
    assert order.next_commands(3.0) == [sync(0, blob_id=B)]


def test_pieces_of_an_earlier_good_sync_survive_a_failed_one() -> None:
    order = WriteOrder()
    write(order, 0, now=0.0)
    order.next_commands(1.0)
    order.sync_finished(A)
    assert order.next_commands(1.0) == [mark(0)]
    order.mark_failed(A, 1.0)
    write(order, 1, now=1.0)
    assert order.next_commands(2.0) == [sync(1)]

    assert order.sync_failed(A) == (1,)
    assert order.next_commands(5.9) == []
    assert order.next_commands(6.0) == [mark(0)]


def test_a_mark_that_failed_is_tried_again_and_does_not_hold_syncs_up() -> None:
    order = WriteOrder(batch_bytes=2)
    write(order, 0, now=0.0, size=1)
    order.next_commands(1.0)
    order.sync_finished(A)
    order.next_commands(1.0)
    order.mark_failed(A, 1.0)
    write(order, 1, now=1.0, size=2)

    assert order.next_commands(1.0) == [sync(1)]
    order.sync_finished(A)
    assert order.unsynced_bytes == 0
    assert order.next_commands(5.0) == []
    assert order.next_commands(6.0) == [mark(0, 1)]


def test_a_piece_without_a_digest_is_not_durable_before_somebody_vouches_for_it() -> None:
    order = WriteOrder()
    assert write(order, 0, now=0.0, provable=False)
    assert (order.unsynced_bytes, order.next_deadline(), order.at_work(A)) == (0, math.inf, False)
    order.digests_added(A, range(3), now=5.0)

    assert order.unsynced_bytes == MIB
    assert order.next_commands(6.0) == [sync(0)]


def test_digests_without_pieces_are_saved_too() -> None:
    order = WriteOrder()
    order.digests_added(A, range(3), now=0.0)
    assert order.at_work(A)
    assert order.next_commands(0.9) == []

    assert order.next_commands(1.0) == [mark()]
    order.digests_added(A, range(3, 5), now=1.2)
    order.mark_finished(A, digests_wait=True)
    assert order.next_commands(2.1) == []
    assert order.next_commands(2.2) == [mark()]
    order.mark_failed(A, 2.2)
    assert order.next_commands(7.1) == []
    assert order.next_commands(7.2) == [mark()]
    order.mark_finished(A)
    assert not order.at_work(A)


def test_digests_are_saved_also_where_the_sync_of_their_pieces_failed() -> None:
    order = WriteOrder()
    order.digests_added(A, range(3), now=0.0)
    write(order, 0, now=0.0)
    assert order.next_commands(1.0) == [sync(0)]
    order.sync_failed(A)

    assert order.next_commands(1.0) == [mark()]


def test_an_abandoned_piece_leaves_nothing_behind() -> None:
    order = WriteOrder()
    order.piece_started(A, PieceIndex(0))
    order.piece_abandoned(A, PieceIndex(0))
    order.piece_abandoned(A, PieceIndex(0))

    assert not order.piece_written(A, PieceIndex(0), MIB, 0.0)
    assert order.next_commands(99.0) == []


def test_a_dropped_blob_is_forgotten_with_its_bytes_and_late_reports_do_not_touch_its_successor() -> None:
    order = WriteOrder()
    write(order, 0, now=0.0)
    order.piece_started(A, PieceIndex(1))
    order.next_commands(1.0)
    write(order, 2, now=1.0)
    order.blob_dropped(A)
    order.blob_dropped(B)

    assert order.unsynced_bytes == 0
    assert not order.piece_written(A, PieceIndex(1), MIB, 1.0)
    assert write(order, 5, now=1.0)
    assert order.sync_failed(A) == ()
    assert order.next_commands(2.0) == [sync(5)]
    order.sync_finished(A)
    order.next_commands(2.0)
    order.blob_dropped(A)
    order.mark_failed(A, 2.0)
    write(order, 6, now=2.0)
    assert order.next_commands(3.0) == [sync(6)]
    order.blob_dropped(A)
    order.sync_finished(A)
    write(order, 7, now=3.0)
    order.next_commands(4.0)
    order.sync_finished(A)
    order.next_commands(4.0)
    order.blob_dropped(A)
    order.mark_finished(A)
    assert order.next_commands(99.0) == []


def test_a_failed_sync_with_a_write_under_way_keeps_distrusting_until_it_ended() -> None:
    order = WriteOrder()
    write(order, 0, now=0.0)
    order.piece_started(A, PieceIndex(1))
    order.next_commands(1.0)
    order.sync_failed(A)
    order.piece_started(A, PieceIndex(2))

    assert not order.piece_written(A, PieceIndex(1), MIB, 1.0)
    assert order.piece_written(A, PieceIndex(2), MIB, 1.0)


def test_a_flush_takes_everything_at_once_and_gives_up_on_marks_that_fail() -> None:
    order = WriteOrder()
    write(order, 0, now=0.0)
    write(order, 0, now=0.0, blob_id=B)
    order.digests_added(B, range(1), now=0.0)
    order.piece_started(B, PieceIndex(1))
    assert not order.flushed
    order.flush_requested()
    assert order.next_deadline() == -math.inf

    assert order.next_commands(0.0) == [sync(0)]
    assert not order.flushed
    order.sync_finished(A)
    assert order.next_commands(0.0) == [mark(0)]
    order.mark_failed(A, 0.0)
    assert order.next_commands(0.0) == [sync(0, blob_id=B)]
    order.sync_finished(B)
    assert order.next_commands(0.0) == [mark(0, blob_id=B)]
    order.mark_failed(B, 0.0)
    assert order.next_commands(0.0) == []
    assert order.flushed


class PowerCut(RuleBasedStateMachine):
    """Drives the machine with a shell whose disk keeps only what was synced; pieces marked durable must be on it."""

    def __init__(self) -> None:
        super().__init__()
        self.order = WriteOrder(batch_bytes=4)
        self.now = 0.0
        self.writing: dict[tuple[BlobId, int], int] = {}  # → how many failed syncs it has seen start
        self.in_file: set[tuple[BlobId, int]] = set()
        self.have: set[tuple[BlobId, int]] = set()
        self.on_disk: set[tuple[BlobId, int]] = set()
        self.digests: set[tuple[BlobId, int]] = set()
        self.durable: set[tuple[BlobId, int]] = set()
        self.running: SyncBlob | MarkDurable | None = None
        self.at_sync_start: set[tuple[BlobId, int]] = set()

    @rule(blob_id=st.sampled_from([A, B]), piece=st.integers(0, 5))
    def start(self, blob_id: BlobId, piece: int) -> None:
        if (blob_id, piece) not in self.have and (blob_id, piece) not in self.writing:
            self.order.piece_started(blob_id, PieceIndex(piece))
            self.writing[blob_id, piece] = 0

    @precondition(lambda self: self.writing)
    @rule(data=st.data(), whole=st.booleans())
    def end(self, data: st.DataObject, whole: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.writing)))
        failures = self.writing.pop(key)
        if not whole:
            self.order.piece_abandoned(key[0], PieceIndex(key[1]))
            return
        counts = self.order.piece_written(key[0], PieceIndex(key[1]), 1, self.now, provable=key in self.digests)
        assert counts == (failures == 0)
        if counts:
            self.in_file.add(key)
            self.have.add(key)

    @rule(blob_id=st.sampled_from([A, B]), first=st.integers(0, 5))
    def vouch(self, blob_id: BlobId, first: int) -> None:
        self.digests |= {(blob_id, piece) for piece in range(first, 6)}
        self.order.digests_added(blob_id, range(first, 6), self.now)

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.running is None)
    @rule()
    def command(self) -> None:
        before = self.order.next_deadline()
        for command in self.order.next_commands(self.now):
            assert before <= self.now
            self.running = command
            self.at_sync_start = {key for key in self.in_file if key[0] == command.blob_id}
        if self.running is None:
            assert self.order.next_deadline() > self.now

    @precondition(lambda self: self.running is not None)
    @rule(fails=st.booleans())
    def finish(self, fails: bool) -> None:
        command, self.running = self.running, None
        assert command is not None
        keys = {(command.blob_id, int(piece)) for piece in command.pieces}
        match command:
            case SyncBlob() if fails:
                lost = {(command.blob_id, int(piece)) for piece in self.order.sync_failed(command.blob_id)}
                unsynced = {key for key in self.in_file if key[0] == command.blob_id} - self.on_disk
                assert lost == unsynced & self.have
                self.have -= lost
                self.in_file -= lost
                for key in self.writing:
                    if key[0] == command.blob_id:
                        self.writing[key] += 1
            case SyncBlob():
                assert keys <= self.at_sync_start
                # Only what the sync was asked for counts as on the disk: undigested pieces wait for a sync of their own.
                self.on_disk |= keys
                self.order.sync_finished(command.blob_id)
            case MarkDurable() if fails:
                self.order.mark_failed(command.blob_id, self.now)
            case MarkDurable():
                assert keys <= self.on_disk & self.digests
                self.durable |= keys
                self.order.mark_finished(command.blob_id)

    @precondition(lambda self: self.running is not None)
    @rule()
    def drop(self) -> None:
        """The blob of the running command goes; the shell still reports the command's end."""
        command, self.running = self.running, None
        assert command is not None
        self.order.blob_dropped(command.blob_id)
        for keys in (self.in_file, self.have, self.on_disk, self.digests, self.durable):
            keys -= {key for key in keys if key[0] == command.blob_id}
        self.writing = {key: seen for key, seen in self.writing.items() if key[0] != command.blob_id}
        if isinstance(command, SyncBlob):
            self.order.sync_finished(command.blob_id)
        else:
            self.order.mark_finished(command.blob_id)

    @invariant()
    def bytes_add_up(self) -> None:
        assert self.order.unsynced_bytes == len((self.have & self.digests) - self.on_disk)

    def teardown(self) -> None:
        if self.running is not None:
            self.finish(fails=False)
        self.order.flush_requested()
        for _ in range(20):
            for command in self.order.next_commands(self.now):
                self.running = command
                self.at_sync_start = {key for key in self.in_file if key[0] == command.blob_id}
                self.finish(fails=False)
        assert self.order.flushed
        assert self.durable == self.have & self.digests


TestPowerCut = pytest.mark.timeout(300)(PowerCut.TestCase)
TestPowerCut.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 100)), max_size=30))
def test_no_piece_waits_longer_than_the_age_limit_for_its_sync(writes: list[tuple[float, int]]) -> None:
    order = WriteOrder()
    now = 0.0
    oldest: float | None = None
    for piece, (pause, size) in enumerate(writes):
        while (deadline := order.next_deadline()) <= now + pause:
            now = max(now, deadline)
            for command in order.next_commands(now):
                if isinstance(command, SyncBlob):
                    assert oldest is not None
                    assert now - oldest <= 5.0
                    oldest = None
                    order.sync_finished(A)
                else:
                    order.mark_finished(A)
        now += pause
        write(order, piece, now, size=size)
        oldest = now if oldest is None else oldest
