import pytest

from flyfs.swarm.speeds import EVERY_S, MOST_TOLD, NEIGHBOURS_AT_THAT_PACE, STALL_PIECES, STALL_S, SpeedMeter
from flyfs.wire.messages import Speed
from tests.support.builders import a_blob_id, a_peer_id

BLOB, OTHER = a_blob_id(), a_blob_id("other")
ANNE, BERT = a_peer_id("anne"), a_peer_id("bert")


def a_speed(peer: str, size: int, busy_s: float, pieces: int) -> Speed:
    return Speed(peer_id=a_peer_id(peer), size=size, busy_s=busy_s, pieces=pieces)


def test_requests_side_by_side_do_not_count_twice_and_idle_time_not_at_all() -> None:
    meter = SpeedMeter("me")
    meter.asked(BLOB, ANNE, 0.0)
    meter.asked(BLOB, ANNE, 1.0)
    meter.ended(BLOB, ANNE, 100, 2.0)
    meter.ended(BLOB, ANNE, 0, 3.0)
    meter.asked(BLOB, ANNE, 10.0)
    meter.ended(BLOB, ANNE, 50, 11.0)

    assert meter.ended_all(BLOB, 11.0) == (a_speed("anne", 150, 4.0, 2),)
    assert meter.ended_all(BLOB, 11.0) == ()


def test_each_report_tells_what_happened_since_the_last_one_the_busiest_first() -> None:
    meter = SpeedMeter("me")
    meter.asked(BLOB, ANNE, 0.0)
    meter.asked(BLOB, BERT, 1.0)
    meter.ended(BLOB, BERT, 10, 2.0)
    due = meter.next_deadline()
    assert 0.75 * EVERY_S <= due <= 1.25 * EVERY_S
    assert meter.next_reports(due - 0.1) == []

    assert meter.next_reports(due) == [(BLOB, (a_speed("anne", 0, due, 0), a_speed("bert", 10, 1.0, 1)))]
    meter.ended(BLOB, ANNE, 30, due + 2)
    assert meter.next_reports(2 * due) == [(BLOB, (a_speed("anne", 30, 2.0, 1),))]
    assert meter.next_reports(4 * due) == []


def test_what_turned_out_wrong_does_not_count() -> None:
    meter = SpeedMeter("me")
    for size in (10, 10):
        meter.asked(BLOB, ANNE, 0.0)
        meter.ended(BLOB, ANNE, size, 1.0)
    meter.rejected(BLOB, ANNE)
    assert meter.ended_all(BLOB, 1.0) == (a_speed("anne", 10, 2.0, 1),)
    meter.rejected(BLOB, ANNE)
    meter.ended(BLOB, ANNE, 10, 2.0)
    meter.came_elsewhere(BLOB)
    assert not meter.stalls(BLOB, ANNE)
    assert meter.next_deadline() == float("inf")


@pytest.mark.parametrize(("waited_s", "pieces", "stalls"), [(STALL_S, STALL_PIECES, True), (1.9, 9, False), (9, 2, False)])
def test_who_brings_nothing_for_long_while_others_do_stalls_and_is_told_once(waited_s: float, pieces: int, stalls: bool) -> None:
    meter = SpeedMeter("me")
    meter.asked(BLOB, ANNE, 0.0)
    meter.asked(BLOB, BERT, 0.0)
    for _ in range(pieces - 1):
        meter.came_elsewhere(BLOB)
    meter.ended(BLOB, BERT, 10, 0.5)
    meter.ended(BLOB, ANNE, 0, waited_s)

    assert meter.stalls(BLOB, ANNE) is stalls
    assert not meter.stalls(BLOB, ANNE)


def test_more_neighbours_are_told_of_less_often_and_not_all_at_once() -> None:
    meter = SpeedMeter("me")
    for number in range(MOST_TOLD + 8):
        meter.asked(BLOB, a_peer_id(str(number)), 0.0)
    meter.asked(OTHER, ANNE, 0.0)
    due = meter.next_deadline()

    reports = dict(meter.next_reports(due))
    assert [len(reports[blob]) for blob in (BLOB, OTHER)] == [MOST_TOLD, 1]
    assert meter._downloads[BLOB].due - due == pytest.approx(due * (MOST_TOLD + 8) / NEIGHBOURS_AT_THAT_PACE)
    assert meter.next_deadline() == 2 * due
