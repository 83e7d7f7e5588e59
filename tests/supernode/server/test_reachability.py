from ipaddress import ip_address
from itertools import pairwise
from math import inf

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from supernode.server import reachability
from supernode.server.reachability import AGAIN_S, AT_ONCE, LASTS_S, Claim, Reachability, refusal
from tests.support.builders import a_peer_id

ANNE = Claim(a_peer_id("anne"), "10.0.0.1:7402")
BERT = Claim(a_peer_id("bert"), "10.0.0.2:7402")


def test_an_address_is_tried_once_however_many_sessions_its_peer_has() -> None:
    record = Reachability()
    record.peer_came(ANNE, 5.0)
    record.peer_came(ANNE, 5.0)
    assert not record.reaches(ANNE), "not before it was tried"

    assert record.next_claims(5.0) == [ANNE]
    assert record.next_claims(5.0) == []
    record.tried(ANNE, None, 6.0)
    assert record.reaches(ANNE)
    assert record.next_claims(1e6) == []
    assert record.next_deadline() == inf


def test_what_was_reached_counts_for_a_while_when_the_peer_comes_again() -> None:
    record = Reachability()
    record.peer_came(ANNE, 0.0)
    record.next_claims(0.0)
    record.tried(ANNE, None, 0.0)
    record.peer_left(ANNE)
    record.peer_came(ANNE, LASTS_S - 1)
    assert record.next_claims(LASTS_S - 1) == []
    record.peer_left(ANNE)

    record.peer_came(ANNE, LASTS_S)
    assert record.reaches(ANNE), "until something else is known"
    assert record.next_claims(LASTS_S) == [ANNE]
    record.tried(ANNE, "refused", LASTS_S)
    assert not record.reaches(ANNE)


def test_failures_are_tried_again_with_growing_pauses_that_coming_again_does_not_shorten() -> None:
    record, now, pauses = Reachability(), 0.0, []
    record.peer_came(ANNE, now)
    for _ in range(8):
        assert record.next_claims(now) == [ANNE]
        record.tried(ANNE, "refused", now)
        record.peer_left(ANNE)
        record.peer_came(ANNE, now)
        assert record.next_claims(now) == []
        pauses.append(record.next_deadline() - now)
        now = record.next_deadline()

    assert pauses[:3] == [AGAIN_S[0], 2 * AGAIN_S[0], 4 * AGAIN_S[0]]
    assert pauses[-1] == AGAIN_S[1]
    assert record.unreachable() == [(ANNE, "refused")]


def test_nobody_is_tried_for_a_peer_that_is_gone() -> None:
    record = Reachability()
    record.peer_came(ANNE, 0.0)
    record.next_claims(0.0)
    record.peer_left(ANNE)
    record.tried(ANNE, "refused", 1.0)

    assert record.next_claims(1e6) == []
    assert record.unreachable() == []
    record.peer_came(ANNE, 1e6)
    assert record.next_claims(1e6) == [ANNE]


def test_a_crowd_waits_its_turn() -> None:
    record = Reachability()
    crowd = [Claim(a_peer_id(str(number)), f"10.0.0.9:{number}") for number in range(AT_ONCE + 2)]
    for claim in crowd:
        record.peer_came(claim, 0.0)

    assert record.next_claims(0.0) == crowd[:AT_ONCE]
    assert (record.next_claims(0.0), record.next_deadline()) == ([], inf)
    record.tried(crowd[0], None, 1.0)
    assert record.next_claims(1.0) == [crowd[AT_ONCE]]


def test_the_longest_gone_are_forgotten_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "_MOST", 2)
    record = Reachability()
    for claim in (ANNE, BERT):
        record.peer_came(claim, 0.0)
    record.next_claims(0.0)
    for claim in (ANNE, BERT):
        record.tried(claim, None, 0.0)
    record.peer_left(BERT)
    record.peer_came(Claim(a_peer_id("carl"), "10.0.0.3:1"), 1.0)

    assert (record.reaches(ANNE), record.reaches(BERT)) == (True, False)
    record.peer_came(Claim(a_peer_id("dora"), "10.0.0.4:1"), 1.0)
    assert record.reaches(ANNE), "who is there is never forgotten"


@pytest.mark.parametrize(("address", "came_from", "why"), [
    ("10.0.0.9", "10.0.0.7", None),
    ("192.0.2.1", "10.0.0.7", None),
    ("127.0.0.1", "127.0.0.1", None),
    ("::1", "127.0.0.1", None),
    ("127.0.0.1", "10.0.0.7", "loopback"),
    ("169.254.169.254", "10.0.0.7", "metadata"),
    ("fe80::1", "fe80::2%eth0", "link-local"),
    ("0.0.0.0", "10.0.0.7", "unspecified"),
    ("224.0.0.1", "10.0.0.7", "multicast"),
])  # fmt: skip
def test_no_peer_makes_the_supernode_knock_at_doors_that_cannot_be_its_own(address: str, came_from: str, why: str | None) -> None:
    refused = refusal(ip_address(address), came_from)

    assert refused is None if why is None else why in str(refused)


class ReachabilityMachine(RuleBasedStateMachine):
    """Claims in every order of events, against a model."""

    claims = (ANNE, BERT, Claim(ANNE.peer_id, "10.0.0.3:1"))

    def __init__(self) -> None:
        super().__init__()
        self.record = Reachability()
        self.now = 0.0
        self.sessions = dict.fromkeys(self.claims, 0)
        self.trying: list[Claim] = []
        self.tried_at: dict[Claim, list[float]] = {claim: [] for claim in self.claims}
        self.last: dict[Claim, bool] = {}

    one = st.sampled_from(claims)

    @rule(claim=one)
    def comes(self, claim: Claim) -> None:
        self.record.peer_came(claim, self.now)
        self.sessions[claim] += 1

    @rule(claim=one)
    def leaves(self, claim: Claim) -> None:
        if self.sessions[claim]:
            self.record.peer_left(claim)
            self.sessions[claim] -= 1

    @rule(seconds=st.floats(0.0, 1000.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def tries(self) -> None:
        for claim in self.record.next_claims(self.now):
            assert self.sessions[claim]
            assert claim not in self.trying
            self.trying.append(claim)
            self.tried_at[claim].append(self.now)

    @precondition(lambda self: self.trying)
    @rule(reached=st.booleans())
    def ends(self, reached: bool) -> None:
        claim = self.trying.pop(0)
        self.record.tried(claim, None if reached else "no", self.now)
        self.last[claim] = reached

    @invariant()
    def what_counts_is_what_was_found_last(self) -> None:
        for claim in self.claims:
            assert self.record.reaches(claim) == self.last.get(claim, False)

    @invariant()
    def who_is_there_and_was_never_tried_is_tried_now(self) -> None:
        for claim in self.claims:
            if self.sessions[claim] and claim not in self.last and claim not in self.trying:
                assert self.record.next_deadline() <= self.now

    @invariant()
    def nobody_is_tried_again_too_soon(self) -> None:
        for times in self.tried_at.values():
            assert all(later - earlier >= AGAIN_S[0] for earlier, later in pairwise(times))


TestReachability = ReachabilityMachine.TestCase
