from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyfs.core.grid import KIB, MIB
from flyfs.limit.bucket import BURST_NS, HORIZON_NS, SECOND_NS, Bucket, Priority, slice_bytes
from tests.flyfs.limit.flows import ENDLESS, RATE, Flow, run, seconds

DEMAND, PREFETCH, BACKGROUND = Priority

NOW = 1_000 * SECOND_NS


def lasts_ns(count: int) -> int:
    return count * SECOND_NS // RATE


def test_an_idle_bucket_grants_a_burst_at_once_and_then_paces() -> None:
    bucket = Bucket(RATE)

    starts = [bucket.grant(BACKGROUND, 100_000, NOW).start_ns - NOW for _ in range(8)]

    assert starts == [-BURST_NS + number * lasts_ns(100_000) for number in range(8)]


def test_time_that_nobody_used_is_made_up_for_up_to_the_burst() -> None:
    bucket = Bucket(RATE)
    for _ in range(10):
        bucket.grant(PREFETCH, 100_000, NOW)
    free_ns = bucket.free_at[BACKGROUND]

    assert bucket.grant(PREFETCH, 100_000, free_ns + BURST_NS // 2).start_ns == free_ns
    assert bucket.grant(PREFETCH, 100_000, free_ns + SECOND_NS).start_ns == free_ns + SECOND_NS - BURST_NS


def test_a_demand_does_not_see_the_queue_of_what_matters_less() -> None:
    bucket = Bucket(RATE)
    queued = [bucket.grant(BACKGROUND, 200_000, NOW) for _ in range(50)]

    demand = bucket.grant(DEMAND, 200_000, NOW)

    assert demand.start_ns == NOW
    assert bucket.start_of(queued[-1]) == queued[-1].start_ns + lasts_ns(200_000), "and pushes that queue back"
    assert bucket.grant(BACKGROUND, 1, NOW).start_ns == queued[-1].start_ns + 2 * lasts_ns(200_000)


def test_a_prefetch_goes_before_the_background_and_behind_demands() -> None:
    bucket = Bucket(RATE)
    bucket.grant(DEMAND, 200_000, NOW)
    background = bucket.grant(BACKGROUND, 200_000, NOW)

    prefetch = bucket.grant(PREFETCH, 200_000, NOW)
    second = bucket.grant(DEMAND, 200_000, NOW)

    assert prefetch.start_ns == bucket.free_at[DEMAND] - lasts_ns(200_000)
    assert second.start_ns == prefetch.start_ns
    assert bucket.start_of(prefetch) == prefetch.start_ns + lasts_ns(200_000)
    assert bucket.start_of(background) == background.start_ns + 2 * lasts_ns(200_000)


def test_what_was_not_moved_is_there_for_others() -> None:
    bucket = Bucket(RATE)
    bucket.grant(DEMAND, 400_000, NOW)
    before = (list(bucket.free_at), list(bucket.granted))
    waiting = bucket.grant(BACKGROUND, 100, NOW)
    bucket.give_back(BACKGROUND, 100)
    assert (bucket.free_at, bucket.granted) == before

    bucket.give_back(DEMAND, 300_000)
    assert bucket.granted[DEMAND] == 100_000
    assert bucket.free_at[BACKGROUND] == before[0][BACKGROUND] - lasts_ns(300_000)
    assert bucket.start_of(waiting) == waiting.start_ns, "given back from before it came: nothing pushes it"


def test_more_given_back_than_there_was_is_no_time_before_the_clock() -> None:
    bucket = Bucket(RATE)
    bucket.give_back(DEMAND, 10 * RATE)
    assert bucket.free_at == [0, 0, 0]


def test_sums_wrap_like_the_words_they_are_kept_in() -> None:
    bucket = Bucket(RATE, granted=[(1 << 64) - 50, 3, 0])
    waiting = bucket.grant(BACKGROUND, 100, NOW)
    bucket.grant(DEMAND, 100, NOW)

    assert bucket.granted[DEMAND] == 50
    assert bucket.start_of(waiting) == waiting.start_ns + lasts_ns(100)


def test_times_of_another_clock_are_forgotten() -> None:
    bucket = Bucket(RATE, free_at=[NOW + HORIZON_NS + 1, 5, NOW + HORIZON_NS])
    grant = bucket.grant(DEMAND, 100_000, NOW)
    assert grant.start_ns == NOW
    assert bucket.free_at == [NOW + lasts_ns(100_000), NOW + lasts_ns(100_000), NOW + HORIZON_NS + lasts_ns(100_000)]


@pytest.mark.parametrize(
    ("rate", "size"),
    [(1, 32 * KIB), (5_000_000, 50_000), (RATE, 200_000), (10**9, MIB), (10**12, MIB)],
)
def test_a_slice_lasts_ten_milliseconds_and_is_at_most_a_piece(rate: int, size: int) -> None:
    assert slice_bytes(rate) == size


# -- whole hosts, in virtual time ----------------------------------------------------------------------------------


def test_three_processes_share_evenly_and_fill_the_budget_exactly() -> None:
    flows = [Flow(name, PREFETCH, ENDLESS) for name in "abc"]
    wire = run(Bucket(RATE), flows, until_ns=seconds(5))

    assert wire.most_in_any(SECOND_NS) <= 1.03 * RATE
    assert wire.bytes_in(seconds(1), seconds(5)) == pytest.approx(4 * RATE, rel=0.005)
    for name in "abc":
        assert wire.bytes_in(0, seconds(5), name) == pytest.approx(5 * RATE / 3, rel=0.02)


def test_an_idle_share_is_taken_at_once_and_given_back_at_once() -> None:
    flows = [Flow("steady", PREFETCH, ENDLESS), Flow("guest", PREFETCH, RATE, begins_ns=seconds(2))]
    wire = run(Bucket(RATE), flows, until_ns=seconds(6))

    assert wire.bytes_in(seconds(1), seconds(2), "steady") == pytest.approx(RATE, rel=0.02)
    assert wire.bytes_in(seconds(2.1), seconds(3.1), "steady") == pytest.approx(RATE / 2, rel=0.05)
    assert flows[1].ended_ns == pytest.approx(seconds(4), rel=0.02)
    after = flows[1].ended_ns + seconds(0.05)
    assert wire.bytes_in(after, after + SECOND_NS) == pytest.approx(RATE, rel=0.02)


@pytest.mark.parametrize("others", [1, 3, 12])
def test_a_demanded_piece_comes_in_its_own_time_whatever_is_queued(others: int) -> None:
    flows = [Flow(f"bulk{number}", BACKGROUND, ENDLESS) for number in range(others)]
    demand = Flow("demand", DEMAND, MIB, begins_ns=seconds(1.2345))
    wire = run(Bucket(RATE), [*flows, demand], until_ns=seconds(3))

    assert demand.ended_ns - demand.begins_ns <= lasts_ns(MIB)
    assert wire.most_in_any(SECOND_NS) <= 1.04 * RATE


def test_late_wakers_lose_no_budget_and_win_none() -> None:
    chance = Random(7)
    flows = [Flow(name, PREFETCH, ENDLESS, late_ns=lambda: chance.randrange(8_000_000)) for name in "abc"]
    wire = run(Bucket(RATE), flows, until_ns=seconds(5))

    assert wire.bytes_in(seconds(1), seconds(5)) == pytest.approx(4 * RATE, rel=0.01)
    assert wire.most_in_any(SECOND_NS) <= 1.05 * RATE


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    rate=st.integers(100_000, 200_000_000),
    kinds=st.lists(st.tuples(st.sampled_from(Priority), st.integers(1, 3_000_000), st.integers(0, 900)), min_size=1, max_size=12),
)
def test_no_second_holds_more_than_the_budget_and_no_process_is_left_out(
    seed: int, rate: int, kinds: list[tuple[Priority, int, int]]
) -> None:
    chance = Random(seed)
    flows = [
        Flow(str(number), priority, wants, begins_ns=begins_ms * 1_000_000, late_ns=lambda: chance.randrange(2_000_000))
        for number, (priority, wants, begins_ms) in enumerate(kinds)
    ]
    total = sum(flow.wants for flow in flows)
    wire = run(Bucket(rate), flows, until_ns=seconds(2 + 1.05 * total / rate))

    assert all(flow.moved == flow.wants for flow in flows)
    # A burst, one slice of each priority that was under way, and what each had been granted when it woke late.
    slack = rate * BURST_NS // SECOND_NS + (3 + len(flows)) * slice_bytes(rate)
    assert wire.most_in_any(SECOND_NS) <= rate + slack
