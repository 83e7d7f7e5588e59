from math import inf

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flyfs.swarm.standing import ISOLATED_S, PENDING_S, RETRY_S, SETTLES_S, STRIKES_WITHIN_S, Standing, choose


def a_standing(seed: str = "peer supernode", *, up_since: float | None = None) -> Standing:
    standing = Standing(seed)
    if up_since is not None:
        standing.needed(up_since)
        standing.came(up_since)
    return standing


# -- one supernode -----------------------------------------------------------------------------------------------------


def test_one_that_nobody_needs_is_not_tried() -> None:
    standing = a_standing()
    assert (standing.state(0.0), standing.next_try, standing.pending_until(5.0)) == ("unknown", inf, 5.0)

    assert standing.needed(5.0)
    assert not standing.needed(6.0)
    assert standing.next_try <= 5.0
    assert standing.pending_until(5.0) == 5.0 + PENDING_S


def test_the_first_time_it_is_preferred_at_once() -> None:
    standing = a_standing(up_since=5.0)

    assert (standing.state(5.0), standing.usable(5.0), standing.settled(5.0)) == ("up", True, True)
    assert standing.next_try == inf


def test_attempts_become_rarer_and_never_stop() -> None:
    standing, now = a_standing(), 0.0
    standing.needed(now)
    pauses = []
    for _ in range(30):
        standing.refused(now, "refused")
        pauses.append(standing.next_try - now)
        now = standing.next_try

    assert 0.75 * RETRY_S[0] <= pauses[0] <= 1.25 * RETRY_S[0]
    assert all(0.75 * RETRY_S[1] <= pause <= 1.25 * RETRY_S[1] for pause in pauses[6:])
    assert (standing.state(now), standing.reason) == ("down", "refused")
    assert not standing.usable(now)


def test_one_that_is_lost_is_tried_at_once_and_used_again_but_not_preferred_for_a_while() -> None:
    standing = a_standing(up_since=0.0)
    standing.lost(10.0, "the connection was lost")
    assert (standing.state(10.0), standing.reason, standing.next_try) == ("down", "the connection was lost", 10.0)

    standing.came(12.0)
    assert (standing.state(12.0), standing.reason, standing.usable(12.0), standing.settled(12.0)) == ("up", None, True, False)
    assert 12.0 + SETTLES_S[0] <= standing.settles_at <= 12.0 + SETTLES_S[1]
    assert standing.settled(standing.settles_at)


def test_peers_return_home_at_different_moments() -> None:
    moments = []
    for peer in range(200):
        standing = a_standing(f"peer {peer}", up_since=0.0)
        standing.lost(1.0, "")
        standing.came(2.0)
        moments.append(standing.settles_at - 2.0)

    assert min(moments) < SETTLES_S[0] + 1
    assert max(moments) > SETTLES_S[1] - 1
    assert len(set(moments)) == 200


def test_wrong_bytes_twice_within_a_minute_isolate_it_and_once_in_a_while_do_not() -> None:
    standing = a_standing(up_since=0.0)
    assert not standing.misbehaved(1.0, "a wrong piece")
    assert not standing.misbehaved(1.0 + STRIKES_WITHIN_S, "a wrong piece")
    assert standing.state(62.0) == "up"

    assert standing.misbehaved(62.0, "a wrong piece")
    assert (standing.state(62.0), standing.reason, standing.usable(62.0)) == ("isolated", "a wrong piece", False)
    standing.lost(62.0, "we hung up")
    assert standing.reason == "a wrong piece"
    assert standing.next_try == 62.0 + ISOLATED_S[0]


def test_one_that_breaks_the_protocol_is_isolated_at_once() -> None:
    assert a_standing(up_since=0.0).misbehaved(1.0, "rubbish", gravely=True)


def test_each_isolation_is_twice_as_long_and_a_quarter_of_an_hour_at_most() -> None:
    standing, now = a_standing(up_since=0.0), 0.0
    times = []
    for _ in range(12):
        standing.misbehaved(now, "rubbish", gravely=True)
        standing.lost(now, "")
        times.append(standing.next_try - now)
        now = standing.next_try
        standing.came(now)
        assert standing.usable(now)
        assert not standing.settled(now)

    assert times[:4] == [5, 10, 20, 40]
    assert times[-1] == ISOLATED_S[1]
    standing.misbehaved(now + ISOLATED_S[1] + 1, "rubbish", gravely=True)
    standing.lost(now + ISOLATED_S[1] + 1, "")
    assert standing.next_try - (now + ISOLATED_S[1] + 1) == ISOLATED_S[0], "it was well for long enough"


# -- several -----------------------------------------------------------------------------------------------------------


def test_the_first_in_order_is_used_and_the_others_stay_alone() -> None:
    first, second = a_standing(up_since=0.0), a_standing()

    assert choose([first, second], 1.0) == (first, inf)
    assert second.next_try == inf


def test_one_that_was_never_tried_is_waited_for_a_moment_then_the_next_is() -> None:
    first, second = a_standing(), a_standing("other", up_since=0.0)
    assert choose([first, second], 10.0) == (None, 10.0 + PENDING_S)
    assert first.next_try <= 10.0

    assert choose([first, second], 10.0 + PENDING_S) == (second, inf)
    first.came(11.0)
    assert choose([first, second], 11.0) == (first, inf)


def test_one_that_is_refused_is_waited_for_no_longer() -> None:
    first, second = a_standing(), a_standing("other", up_since=0.0)
    choose([first, second], 10.0)
    first.refused(10.1, "refused")

    assert choose([first, second], 10.1) == (second, inf)


def test_one_that_came_back_stands_in_where_nobody_else_is_and_is_preferred_when_it_has_settled() -> None:
    first, second = a_standing(up_since=0.0), a_standing("other", up_since=0.0)
    first.lost(1.0, "")
    assert choose([first, second], 1.0) == (second, inf)
    first.came(2.0)
    assert choose([first, second], 2.0) == (second, first.settles_at)

    second.lost(3.0, "")
    assert choose([first, second], 3.0) == (first, first.settles_at)
    second.came(4.0)
    assert choose([first, second], 4.0)[0] is first
    assert choose([first, second], first.settles_at) == (first, inf)


def test_where_nobody_is_there_nobody_is_chosen() -> None:
    first, second = a_standing(), a_standing("other")
    for standing in (first, second):
        choose([first, second], 0.0)
        standing.refused(0.1, "refused")

    assert choose([first, second], 0.2) == (None, inf)
    assert choose([], 0.0) == (None, inf)


class StandingMachine(RuleBasedStateMachine):
    """Two supernodes in every order of events."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.order = [Standing("a"), Standing("b")]
        self.up = [False, False]

    one = st.sampled_from([0, 1])

    @rule(seconds=st.floats(0.0, 100.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(index=one)
    def it_is_tried(self, index: int) -> None:
        if self.order[index].next_try <= self.now:
            self.order[index].came(self.now)
            self.up[index] = True

    @rule(index=one)
    def it_cannot_be_reached(self, index: int) -> None:
        if self.order[index].next_try <= self.now:
            self.order[index].refused(self.now, "refused")

    @rule(index=one)
    def it_goes(self, index: int) -> None:
        if self.up[index]:
            self.order[index].lost(self.now, "lost")
            self.up[index] = False

    @rule(index=one, gravely=st.booleans())
    def it_misbehaves(self, index: int, gravely: bool) -> None:
        if self.up[index] and self.order[index].misbehaved(self.now, "bad", gravely=gravely):
            self.it_goes(index)

    @invariant()
    def one_that_is_there_and_well_is_used_unless_a_better_one_is_waited_for(self) -> None:
        chosen, again = choose(self.order, self.now)
        there = [one for one, up in zip(self.order, self.up, strict=True) if up and one.state(self.now) == "up"]
        assert again > self.now
        if chosen is not None:
            assert chosen in there
        elif there:
            assert self.now < again <= self.now + PENDING_S

    @invariant()
    def one_that_is_needed_and_not_there_is_tried_in_bounded_time(self) -> None:
        for standing, up in zip(self.order, self.up, strict=True):
            if not up and standing.next_try < inf:
                assert standing.next_try <= self.now + ISOLATED_S[1]

    @invariant()
    def a_reason_is_told_wherever_it_is_not_up(self) -> None:
        for standing in self.order:
            assert (standing.reason is not None) == (standing.state(self.now) in ("down", "isolated")) or standing._isolations


TestStanding = StandingMachine.TestCase
