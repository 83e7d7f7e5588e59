"""The order of writes: tables for its rules."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.grid import KIB, MIB
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.store.write_commands import FreePieces, MarkDurable, ProveAgain, StartWriteback, SyncBlob, UnmarkPieces
from flyfs.store.write_order import WRITEBACK_BYTES, WriteOrder

A, B = BlobId("a" * 64), BlobId("b" * 64)


def write(order: WriteOrder, piece: int, now: float, *, blob_id: BlobId = A, size: int = KIB, provable: bool = True) -> bool:
    order.piece_started(blob_id, PieceIndex(piece))
    return order.piece_written(blob_id, PieceIndex(piece), size, now, provable=provable)


def sync(*pieces: int, blob_id: BlobId = A) -> SyncBlob:
    return SyncBlob(blob_id=blob_id, pieces=tuple(map(PieceIndex, pieces)))


def mark(*pieces: int, blob_id: BlobId = A) -> MarkDurable:
    return MarkDurable(blob_id=blob_id, pieces=tuple(map(PieceIndex, pieces)))


def prove(*pieces: int, blob_id: BlobId = A) -> ProveAgain:
    return ProveAgain(blob_id=blob_id, pieces=tuple(map(PieceIndex, pieces)))


def writeback(first: int, stop: int, blob_id: BlobId = A) -> StartWriteback:
    return StartWriteback(blob_id=blob_id, first=first, stop=stop)


def drop(order: WriteOrder, *pieces: int, blob_id: BlobId = A) -> None:
    order.pieces_dropped(blob_id, map(PieceIndex, pieces))


def unmark(*pieces: int, blob_id: BlobId = A) -> UnmarkPieces:
    return UnmarkPieces(blob_id=blob_id, pieces=tuple(map(PieceIndex, pieces)))


def free(*pieces: int, blob_id: BlobId = A) -> FreePieces:
    return FreePieces(blob_id=blob_id, pieces=tuple(map(PieceIndex, pieces)))


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
    assert order.unsynced_bytes == KIB  # of the other blob
    assert not order.piece_written(A, PieceIndex(4), MIB, 2.0)  # its pages may be among the lost ones
    assert write(order, 4, now=2.0)
    assert order.next_commands(3.0) == [prove(1, 2)]  # nobody can prove piece 3, and piece 4 is written anew
    assert order.pieces_proved(A, (), 3.0) == ()
    assert order.next_commands(3.0) == [sync(4)]


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
    assert order.next_commands(2.0) == [prove(1)]
    order.pieces_proved(A, (), 2.0)
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

    assert order.unsynced_bytes == KIB
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

    assert order.next_commands(1.0) == [prove(0)]
    order.pieces_proved(A, (), 1.0)
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


def a_failed_sync(order: WriteOrder, *pieces: int, now: float = 0.0) -> None:
    for piece in pieces:
        write(order, piece, now)
    assert order.next_commands(now + 1.0) == [sync(*pieces)]
    assert order.sync_failed(A) == pieces


def test_what_the_disk_holds_after_a_failed_sync_counts_again_and_waits_for_the_next_sync() -> None:
    order = WriteOrder()
    a_failed_sync(order, 0, 1, 2)
    assert (order.unsynced_bytes, order.at_work(A), order.next_deadline()) == (0, True, -math.inf)
    assert order.next_commands(1.0) == [prove(0, 1, 2)]
    assert (order.next_commands(1.0), order.next_deadline()) == ([], math.inf)

    assert order.pieces_proved(A, (PieceIndex(0), PieceIndex(2), PieceIndex(9)), 1.5) == (0, 2)
    assert order.unsynced_bytes == 2 * KIB
    assert order.next_commands(2.4) == []
    assert order.next_commands(2.5) == [sync(0, 2)]
    order.sync_finished(A)
    assert order.next_commands(2.5) == [mark(0, 2)]


def test_a_piece_that_was_proved_again_is_given_up_when_the_next_sync_fails_too() -> None:
    order = WriteOrder()
    a_failed_sync(order, 0)
    assert order.next_commands(1.0) == [prove(0)]
    order.pieces_proved(A, (PieceIndex(0),), 1.0)
    write(order, 1, now=1.0)
    assert order.next_commands(2.0) == [sync(0, 1)]
    assert order.sync_failed(A) == (0, 1)

    assert order.next_commands(2.0) == [prove(1)]
    order.pieces_proved(A, (PieceIndex(1),), 2.0)
    write(order, 0, now=2.0)
    assert order.next_commands(3.0) == [sync(1, 0)]
    order.sync_finished(A)
    order.next_commands(3.0)
    order.mark_finished(A)
    assert not order.at_work(A)
    write(order, 2, now=3.0)
    write(order, 1, now=3.0)  # a good sync has cleared its name
    assert order.next_commands(4.0) == [sync(2, 1)]
    order.sync_failed(A)
    assert order.next_commands(4.0) == [prove(1, 2)]


def test_a_piece_that_is_written_anew_is_not_proved_from_the_disk() -> None:
    order = WriteOrder()
    a_failed_sync(order, 0, 1, 2)
    order.piece_started(A, PieceIndex(0))
    assert order.next_commands(1.0) == [prove(1, 2)]
    order.piece_started(A, PieceIndex(1))

    assert order.pieces_proved(A, (PieceIndex(1), PieceIndex(2)), 1.0) == (2,)
    assert order.piece_written(A, PieceIndex(0), KIB, 1.0)
    assert order.piece_written(A, PieceIndex(1), KIB, 1.0)
    assert order.unsynced_bytes == 3 * KIB


def test_much_in_doubt_is_proved_in_batches_and_does_not_hold_syncs_up() -> None:
    order = WriteOrder(batch_bytes=3 * KIB)
    a_failed_sync(order, *range(8))
    write(order, 0, now=1.0, blob_id=B)

    assert order.next_commands(2.0) == [sync(0, blob_id=B)]
    order.sync_finished(B)
    assert order.next_commands(2.0) == [prove(0, 1, 2)]
    order.pieces_proved(A, (), 2.0)
    assert order.next_commands(2.0) == [mark(0, blob_id=B)]
    order.mark_finished(B)
    assert order.next_commands(2.0) == [prove(3, 4, 5)]
    order.pieces_proved(A, (), 2.0)
    assert order.next_commands(2.0) == [prove(6, 7)]


def test_a_flush_gives_up_what_is_in_doubt() -> None:
    order = WriteOrder()
    a_failed_sync(order, 0, 1)
    order.flush_requested()
    assert order.flushed

    order = WriteOrder()
    write(order, 0, now=0.0)
    order.flush_requested()
    assert order.next_commands(0.0) == [sync(0)]
    order.sync_failed(A)
    assert order.flushed


def test_a_flush_waits_for_the_proof_that_runs_and_syncs_what_it_brings() -> None:
    order = WriteOrder()
    a_failed_sync(order, 0, 1)
    assert order.next_commands(1.0) == [prove(0, 1)]
    order.flush_requested()
    assert not order.flushed
    order.pieces_proved(A, (PieceIndex(1),), 1.0)

    assert order.next_commands(1.0) == [sync(1)]


def test_the_disk_begins_to_write_when_long_runs_lie_side_by_side() -> None:
    order = WriteOrder()
    assert WRITEBACK_BYTES == 8 * MIB
    for piece in (0, 2, 4, 6, 1, 3, 9):
        write(order, piece, now=0.0, size=MIB)
    assert (order.next_commands(0.0), order.next_deadline()) == ([], 1.0)
    write(order, 5, now=0.0, size=MIB)
    assert order.next_commands(0.0) == []
    write(order, 7, now=0.0, size=MIB)

    assert order.next_deadline() == -math.inf
    assert order.next_commands(0.0) == [writeback(0, 8)]
    assert (order.next_commands(9.0), order.next_deadline()) == ([], math.inf)
    order.writeback_started(A)
    assert order.unsynced_bytes == 9 * MIB  # it proves nothing
    assert order.next_commands(0.0) == []
    assert order.next_commands(1.0) == [sync(0, 2, 4, 6, 1, 3, 9, 5, 7)]


def test_a_run_that_the_disk_was_told_of_is_not_told_again() -> None:
    order = WriteOrder(writeback_bytes=2 * KIB)
    for piece in range(5):
        write(order, piece, now=0.0)

    assert order.next_commands(0.0) == [writeback(0, 2)]
    order.writeback_started(A)
    assert order.next_commands(0.0) == [writeback(2, 4)]
    order.writeback_started(A)
    assert order.next_commands(0.0) == []


@pytest.mark.parametrize("reason", ["sync", "failed sync", "drop", "flush"])
def test_write_back_is_not_started_of_what_a_sync_takes_or_nobody_wants(reason: str) -> None:
    order = WriteOrder(writeback_bytes=2 * KIB, batch_bytes=6 * KIB)
    for piece in range(6):
        write(order, piece, now=0.0)
    match reason:
        case "sync":
            assert order.next_commands(1.0) == [sync(*range(6))]
            order.sync_finished(A)
            assert order.next_commands(1.0) == [mark(*range(6))]
            order.mark_finished(A)
        case "failed sync":
            order.next_commands(1.0)
            write(order, 8, now=1.0)
            write(order, 9, now=1.0)
            order.sync_failed(A)
            assert order.next_commands(1.0) == [prove(*range(6))]
            order.pieces_proved(A, (), 1.0)
            assert order.next_commands(1.0) == [prove(8, 9)]
            order.pieces_proved(A, (), 1.0)
        case "drop":
            order.blob_dropped(A)
        case _:
            order.flush_requested()
            assert order.next_commands(0.0) == [sync(*range(6))]
            write(order, 8, now=0.0)
            write(order, 9, now=0.0)
            order.sync_finished(A)
            assert order.next_commands(0.0) == [mark(*range(6))]
            order.mark_finished(A)
            assert order.next_commands(0.0) == [sync(8, 9)]
            return
    assert order.next_commands(1.0) == []


def test_write_back_does_not_hold_syncs_up() -> None:
    order = WriteOrder(writeback_bytes=KIB, idle_s=0.0)
    write(order, 0, now=0.0)
    write(order, 0, now=0.0, blob_id=B)

    commands = [*order.next_commands(0.0)]
    order.sync_finished(A)
    commands += order.next_commands(0.0)
    order.writeback_started(B)
    commands += order.next_commands(0.0)
    assert commands == [sync(0), writeback(0, 1, blob_id=B), mark(0)]


def test_a_blob_that_is_dropped_while_its_pieces_are_read_back_stays_away() -> None:
    order = WriteOrder()
    a_failed_sync(order, 0)
    assert order.next_commands(1.0) == [prove(0)]
    order.blob_dropped(A)
    write(order, 0, now=1.0)

    assert order.pieces_proved(A, (PieceIndex(0),), 1.0) == ()
    assert order.unsynced_bytes == KIB
    order.blob_dropped(A)
    for piece in range(8):
        write(order, piece, now=1.0, size=MIB)
    assert order.next_commands(1.0) == [writeback(0, 8)]
    order.blob_dropped(A)
    order.writeback_started(A)
    assert (order.unsynced_bytes, order.next_commands(9.0)) == (0, [])


def test_a_dropped_piece_loses_its_mark_before_its_room_is_given_back() -> None:
    order = WriteOrder()
    drop(order, 5, 3)
    assert (order.next_deadline(), order.at_work(A)) == (-math.inf, True)

    assert order.next_commands(0.0) == [unmark(3, 5)]
    assert (order.next_commands(0.0), order.next_deadline()) == ([], math.inf)
    order.unmark_finished(A)
    assert order.next_commands(0.0) == [free(3, 5)]
    order.free_ended(A)
    assert (order.at_work(A), order.next_commands(99.0), order.next_deadline()) == (False, [], math.inf)


def test_room_is_made_before_anything_is_synced_or_marked() -> None:
    order = WriteOrder(batch_bytes=1)
    write(order, 0, now=0.0)
    drop(order, 7, blob_id=B)

    assert order.next_commands(0.0) == [unmark(7, blob_id=B)]
    order.unmark_finished(B)
    assert order.next_commands(0.0) == [free(7, blob_id=B)]
    order.free_ended(B)
    assert order.next_commands(0.0) == [sync(0)]


def test_a_mark_that_cannot_be_taken_back_leaves_the_bytes_in_their_place() -> None:
    order = WriteOrder()
    drop(order, 3)
    order.next_commands(0.0)
    order.unmark_failed(A)

    assert (order.next_commands(99.0), order.at_work(A)) == ([], False)


def test_what_is_dropped_during_a_drop_has_its_own_turn() -> None:
    order = WriteOrder()
    drop(order, 3)
    assert order.next_commands(0.0) == [unmark(3)]
    drop(order, 4)
    order.piece_started(A, PieceIndex(9))
    order.piece_abandoned(A, PieceIndex(9))
    order.unmark_finished(A)

    assert order.next_commands(0.0) == [free(3)]
    order.free_ended(A)
    assert order.next_commands(0.0) == [unmark(4)]
    drop(order, 5)
    order.unmark_failed(A)
    assert order.next_commands(0.0) == [unmark(5)]


def test_a_dropped_piece_that_waits_for_its_sync_is_not_synced() -> None:
    order = WriteOrder()
    write(order, 0, now=0.0)
    write(order, 1, now=0.0)
    write(order, 2, now=0.0, provable=False)
    drop(order, 0, 2)
    assert order.unsynced_bytes == KIB
    finish_drop(order)

    order.digests_added(A, range(3), now=0.0)
    assert order.next_commands(1.0) == [sync(1)]


def test_a_piece_that_is_dropped_while_it_is_synced_or_marked_is_not_marked_again() -> None:
    order = WriteOrder()
    write(order, 0, now=0.0)
    write(order, 1, now=0.0)
    order.next_commands(1.0)
    drop(order, 0)
    assert order.unsynced_bytes == KIB
    order.sync_finished(A)
    assert order.unsynced_bytes == 0
    finish_drop(order)
    assert order.next_commands(1.0) == [mark(1)]
    drop(order, 1)
    order.mark_failed(A, 1.0)  # its bitmap may be on the disk all the same

    assert order.next_commands(1.0) == [unmark(1)]
    order.unmark_finished(A)
    assert order.next_commands(1.0) == [free(1)]
    order.free_ended(A)
    assert order.next_commands(99.0) == []


def test_a_blob_that_goes_takes_its_drops_along() -> None:
    order = WriteOrder()
    drop(order, 3)
    order.next_commands(0.0)
    order.blob_dropped(A)
    order.unmark_finished(A)
    drop(order, 4)
    order.next_commands(0.0)
    order.blob_dropped(A)
    order.unmark_failed(A)
    drop(order, 5)
    order.next_commands(0.0)
    order.unmark_finished(A)
    order.next_commands(0.0)
    order.blob_dropped(A)
    order.free_ended(A)

    assert (order.next_commands(99.0), order.at_work(A)) == ([], False)


def test_no_write_back_is_begun_for_pieces_that_go_and_others_keep_theirs() -> None:
    order = WriteOrder(writeback_bytes=2 * KIB)
    for piece in (0, 1, 5, 6):
        write(order, piece, now=0.0)
    drop(order, 1)
    finish_drop(order)
    assert order.next_commands(0.0) == [writeback(5, 7)]
    order.writeback_started(A)
    for piece in (1, 2):
        write(order, piece, now=0.0)
    assert order.next_commands(0.0) == [writeback(1, 3)]


def test_a_flush_waits_for_drops() -> None:
    order = WriteOrder()
    drop(order, 3)
    order.flush_requested()
    assert not order.flushed
    finish_drop(order)
    assert order.flushed


def finish_drop(order: WriteOrder, blob_id: BlobId = A) -> None:
    (first,) = order.next_commands(0.0)
    assert isinstance(first, UnmarkPieces)
    order.unmark_finished(blob_id)
    (second,) = order.next_commands(0.0)
    assert isinstance(second, FreePieces)
    order.free_ended(blob_id)


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
