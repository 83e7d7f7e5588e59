from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from flyfs.core.ids import PeerId
from supernode import isolation as rules
from supernode.isolation import (
    AVOID_S,
    GOOD_PIECES,
    HEALTHY,
    MOST_PEERS,
    OPEN_S,
    STRIKES_WITHIN_S,
    TRIAL_S,
    Isolation,
    Measured,
    PeerIsolated,
    PeerRestored,
)
from tests.support.builders import a_peer_id

ANNE, BERT, CARL, DORA = (a_peer_id(name) for name in ("anne", "bert", "carl", "dora"))
BAD, ADDRESS = a_peer_id("bad"), "10.0.0.9:7402"


def isolated_by_two(isolation: Isolation, now: float = 0.0) -> float:
    """BAD was isolated; until when."""
    isolation.reported(ANNE, BAD, "corrupt", now, ADDRESS)
    (verdict,) = isolation.reported(BERT, BAD, "corrupt", now, ADDRESS)
    assert isinstance(verdict, PeerIsolated)
    return verdict.standing.until


def measured(*rates: tuple[PeerId, float], pieces: int = 1) -> list[Measured]:
    return [Measured(peer, int(rate), 1.0, pieces) for peer, rate in rates]


def test_three_strikes_by_two_reporters_within_a_minute_isolate_a_peer() -> None:
    isolation = Isolation()
    assert isolation.reported(ANNE, BAD, "unreachable", 0.0, ADDRESS) == []
    assert isolation.reported(ANNE, BAD, "slow", 20.0, ADDRESS) == []
    (verdict,) = isolation.reported(BERT, BAD, "unreachable", 40.0, ADDRESS)

    assert isinstance(verdict, PeerIsolated)
    assert verdict.peer == BAD
    standing = isolation.standing(BAD, 40.0)
    assert verdict.standing == standing
    assert (standing.state, standing.reason, standing.since, standing.reporters) == ("isolated", "cannot be reached", 40.0, 2)
    assert 0.75 * OPEN_S[0] <= standing.until - 40.0 <= 1.25 * OPEN_S[0]
    assert isolation.isolated(40.0) == [(BAD, ADDRESS, standing)]
    assert not isolation.may_meet(CARL, BAD, 40.0)
    assert isolation.isolations == 1
    assert isolation.reported(CARL, BAD, "unreachable", 40.0, ADDRESS) == []


def test_strikes_of_more_than_a_minute_ago_do_not_count() -> None:
    isolation = Isolation()
    isolation.reported(ANNE, BAD, "slow", 0.0)
    isolation.reported(ANNE, BAD, "slow", 0.0)

    assert isolation.reported(BERT, BAD, "slow", STRIKES_WITHIN_S) == []
    assert isolation.standing(BAD, STRIKES_WITHIN_S) == HEALTHY


def test_one_reporter_isolates_nobody_however_often_it_complains() -> None:
    isolation = Isolation()
    for fault in ("corrupt", "slow", "unreachable", "protocol", "corrupt") * 5:
        assert isolation.reported(ANNE, BAD, fault, 1.0, ADDRESS) == []
        assert isolation.speeds_reported(ANNE, measured((BAD, 1), (BERT, 1e9), (CARL, 1e9)), 1.0) == []

    assert isolation.standing(BAD, 1.0) == HEALTHY
    assert isolation.isolated(1.0) == []


def test_wrong_bytes_keep_the_pair_apart_and_by_two_reporters_isolate_at_once() -> None:
    isolation = Isolation()
    isolation.reported(ANNE, BAD, "corrupt", 0.0, ADDRESS)
    assert [isolation.may_meet(reader, BAD, 1.0) for reader in (ANNE, BERT)] == [False, True]
    assert isolation.may_meet(ANNE, BAD, AVOID_S)

    (verdict,) = isolation.reported(BERT, BAD, "corrupt", 1.0, ADDRESS)
    assert isinstance(verdict, PeerIsolated)
    assert verdict.standing.reason == "sends wrong bytes"


def test_a_proof_isolates_at_once_and_nobody_twice() -> None:
    isolation = Isolation()
    (verdict,) = isolation.proved(BAD, "sent us wrong bytes", 3.0, ADDRESS)

    assert isinstance(verdict, PeerIsolated)
    assert (verdict.standing.reason, verdict.standing.reporters) == ("sent us wrong bytes", 0)
    assert isolation.proved(BAD, "sent us wrong bytes", 3.0, ADDRESS) == []


@pytest.mark.parametrize("fault", ["", "ugly"])
def test_what_is_no_fault_and_what_a_peer_says_of_itself_is_nothing(fault: str) -> None:
    isolation = Isolation()
    isolation.reported(ANNE, BAD, fault, 0.0)
    isolation.reported(BAD, BAD, "corrupt", 0.0)
    isolation.speeds_reported(BAD, measured((BAD, 1), (ANNE, 100)), 0.0)

    assert len(isolation) == 0


def test_a_peer_that_three_readers_find_slow_is_isolated_and_told_how_slow() -> None:
    isolation = Isolation()
    verdicts = []
    for at in (0.0, 5.0):
        for reader in (ANNE, BERT, CARL):
            verdicts += isolation.speeds_reported(reader, measured((BAD, 10), (DORA, 100), (a_peer_id("ok"), 120)), at)

    (verdict,) = verdicts
    assert isinstance(verdict, PeerIsolated)
    assert (verdict.peer, verdict.standing.reporters) == (BAD, 3)
    assert verdict.standing.reason == "gives 9% of what its readers get elsewhere"
    assert verdict.standing.since == 5.0


def test_a_reader_with_one_neighbour_or_no_time_measured_compares_nothing() -> None:
    isolation = Isolation()
    for reader in (ANNE, BERT, CARL):
        for _ in range(3):
            isolation.speeds_reported(reader, measured((BAD, 1)), 0.0)
            isolation.speeds_reported(reader, [Measured(BAD, 0, 0.0, 0), Measured(DORA, 10, 1.0, 1)], 0.0)
            isolation.speeds_reported(reader, measured((BAD, 0), (DORA, 0)), 0.0)

    assert len(isolation) == 0


def test_two_readers_cannot_call_a_peer_slow_and_who_is_not_slow_any_more_is_not() -> None:
    isolation = Isolation()
    for reader in (ANNE, BERT):
        for _ in range(9):
            assert isolation.speeds_reported(reader, measured((BAD, 1), (DORA, 100)), 0.0) == []
    for reader in (CARL, DORA, a_peer_id("eve")):
        for _ in range(2):
            assert isolation.speeds_reported(reader, measured((BAD, 100), (a_peer_id("ok"), 100)), STRIKES_WITHIN_S) == []


@given(st.lists(st.lists(st.floats(0.5, 2.0), min_size=4, max_size=4), min_size=3, max_size=12))
def test_no_healthy_peer_is_isolated_by_noise_of_two_nor_by_a_liar_among_its_readers(noise: Sequence[Sequence[float]]) -> None:
    peers = [a_peer_id(f"p{number}") for number in range(4)]
    isolation = Isolation()
    for now, rates in enumerate(noise):
        isolation.speeds_reported(a_peer_id("liar"), measured(*((peer, 1 if peer == BAD else 1e6) for peer in peers)), now)
        isolation.speeds_reported(a_peer_id("liar"), measured((peers[0], 1), (peers[1], 1e6)), now)
        for reader in range(3):
            told = [Measured(peer, 1 << 20, 1 / rate, 4) for peer, rate in zip(peers, rates, strict=True)]
            assert isolation.speeds_reported(a_peer_id(f"r{reader}"), told, now) == []

    assert [isolation.standing(peer, len(noise)) for peer in peers] == [HEALTHY] * 4


def test_after_its_time_one_reader_at_a_time_tries_it_and_three_pieces_restore_it() -> None:
    isolation = Isolation()
    until = isolated_by_two(isolation)
    assert isolation.standing(BAD, until).state == "probation"
    assert isolation.isolated(until) == []
    assert isolation.may_meet(CARL, BAD, until)
    isolation.named(CARL, BAD, until)
    assert [isolation.may_meet(reader, BAD, until + 1) for reader in (CARL, DORA)] == [True, False]
    isolation.named(DORA, BAD, until + 1)  # not that it may
    assert isolation.speeds_reported(DORA, measured((BAD, 5), pieces=9), until + 1) == []

    assert isolation.speeds_reported(CARL, measured((BAD, 5), pieces=GOOD_PIECES - 1), until + 2) == []
    assert isolation.speeds_reported(CARL, measured((BAD, 5)), until + 3) == [PeerRestored(BAD)]
    assert isolation.standing(BAD, until + 3) == HEALTHY
    assert isolation.may_meet(DORA, BAD, until + 3)


def test_a_trial_that_comes_to_nothing_passes_to_the_next_reader() -> None:
    isolation = Isolation()
    until = isolated_by_two(isolation)
    isolation.named(CARL, BAD, until)

    assert isolation.may_meet(DORA, BAD, until + TRIAL_S)
    isolation.named(DORA, BAD, until + TRIAL_S)
    assert not isolation.may_meet(CARL, BAD, until + TRIAL_S)


def test_one_strike_on_probation_isolates_again_for_twice_as_long_and_only_by_who_was_sent_there() -> None:
    isolation = Isolation()
    until = isolated_by_two(isolation)
    assert isolation.reported(CARL, BAD, "unreachable", until, ADDRESS) == []
    isolation.named(CARL, BAD, until)
    assert isolation.reported(DORA, BAD, "slow", until, ADDRESS) == []

    (verdict,) = isolation.reported(CARL, BAD, "slow", until, ADDRESS)

    assert isinstance(verdict, PeerIsolated)
    again = verdict.standing
    assert 1.5 * OPEN_S[0] <= again.until - until <= 2.5 * OPEN_S[0]
    assert (again.reason, again.reporters) == ("leaves requests unanswered that others answer", 2)
    assert [isolation.may_meet(reader, BAD, again.until) for reader in (CARL, DORA)] == [False, True]


def test_isolation_grows_to_its_bound_and_starts_anew_for_one_that_did_well_for_long() -> None:
    isolation = Isolation()
    now, lasted = 0.0, []
    for number in range(12):
        (verdict,) = isolation.proved(BAD, "lies", now, ADDRESS)
        assert isinstance(verdict, PeerIsolated)
        lasted.append(verdict.standing.until - now)
        now = verdict.standing.until
        reader = a_peer_id(str(number))
        isolation.named(reader, BAD, now)
        assert isolation.speeds_reported(reader, measured((BAD, 1), pieces=3), now) == [PeerRestored(BAD)]

    assert lasted == sorted(lasted)
    assert lasted[-1] == OPEN_S[1]
    now += OPEN_S[1] + 1
    (verdict,) = isolation.proved(BAD, "lies", now, ADDRESS)
    assert isinstance(verdict, PeerIsolated)
    assert verdict.standing.until - now < 2 * OPEN_S[0]


def test_another_id_at_the_same_address_is_isolated_too_and_one_elsewhere_is_not() -> None:
    isolation = Isolation()
    isolated_by_two(isolation)
    isolation.peer_came(DORA, ADDRESS, 1.0)
    isolation.peer_came(CARL, "10.0.0.8:7402", 1.0)
    isolation.peer_came(DORA, ADDRESS, 1.0)
    isolation.peer_came(BAD, ADDRESS, 1.0)

    assert isolation.standing(DORA, 1.0).state == "isolated"
    assert [peer for peer, _, _ in isolation.isolated(1.0)] == [DORA]
    assert isolation.standing(CARL, 1.0) == HEALTHY
    assert isolation.standing(BAD, 1.0).state == "isolated"
    assert isolation.reported(ANNE, BAD, "slow", 1.0, "10.0.0.7:1") == []
    assert {peer for peer, _, _ in isolation.isolated(1.0)} == {DORA, BAD}


def test_who_complains_of_those_with_whom_others_fare_well_is_believed_no_more() -> None:
    isolation = Isolation()
    liar = a_peer_id("liar")
    good = [a_peer_id(f"good {number}") for number in range(4)]
    for peer in good:
        isolation.reported(liar, peer, "slow", 0.0)
        for reader in (ANNE, BERT, CARL):
            isolation.speeds_reported(reader, measured((peer, 100)), 1.0)

    isolation.reported(liar, BAD, "corrupt", 2.0)
    assert isolation.reported(ANNE, BAD, "corrupt", 2.0) == []
    (verdict,) = isolation.reported(BERT, BAD, "corrupt", 2.0)
    assert isinstance(verdict, PeerIsolated)
    assert verdict.standing.reporters == 2


def test_memory_is_bounded_whatever_peers_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MOST_PEERS", 100)
    isolation = Isolation()
    isolated_by_two(isolation)
    for number in range(300):
        isolation.reported(a_peer_id(f"r{number}"), CARL, "corrupt" if number % 2 else "slow", float(number) * 61)
        isolation.speeds_reported(a_peer_id(f"r{number}"), measured((DORA, 1), (ANNE, 100)), float(number))
    for number in range(300):
        isolation.proved(a_peer_id(str(number)), "lies", 1e6, f"10.0.0.1:{number}")

    assert MOST_PEERS == 10_000
    assert len(isolation) == 100
    assert len(isolation.isolated(1e6)) == 100
    for record in isolation._records.values():
        assert max(len(record.accusers), len(record.rates), len(record.avoided_by)) <= 32


def test_what_was_heard_long_ago_is_forgotten() -> None:
    isolation = Isolation()
    isolation.reported(ANNE, BAD, "slow", 0.0)
    isolation.reported(ANNE, CARL, "slow", 3 * OPEN_S[1])

    assert list(isolation._records) == [CARL]


def test_who_was_never_complained_of_may_be_met_and_a_healthy_peer_may_move() -> None:
    isolation = Isolation()
    assert isolation.may_meet(ANNE, BAD, 0.0)
    isolation.reported(ANNE, BAD, "slow", 0.0, ADDRESS)
    isolation.reported(ANNE, BAD, "slow", 1.0, "10.0.0.7:7402")
    isolated_by_two(isolation, 2.0)

    assert [address for _, address, _ in isolation.isolated(2.0)] == [ADDRESS]
