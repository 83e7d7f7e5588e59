"""Anything may be reported in any order: what must hold all the same (research: p2p bounds, 4)."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flyfs.core.ids import PeerId
from supernode.isolation import FAULTS, OPEN_S, Isolation, Measured, PeerIsolated, PeerRestored, Verdict
from tests.support.builders import a_peer_id

PEERS = [a_peer_id(name) for name in ("anne", "bert", "carl", "dora", "eve")]
LIAR, QUIET = a_peer_id("liar"), a_peer_id("quiet")
"""The liar says what it likes of QUIET, of whom nobody else says anything bad."""

peers = st.sampled_from(PEERS)


class IsolationMachine(RuleBasedStateMachine):
    """Two objects get the same events; one is checked, the other must always agree."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.one, self.other = Isolation(), Isolation()
        self.accused_by: dict[PeerId, set[PeerId]] = {}
        self.proved: set[PeerId] = set()
        self.broken: set[PeerId] = set()

    def _hear(self, verdicts: list[Verdict], others: list[Verdict]) -> None:
        assert verdicts == others
        for verdict in verdicts:
            if isinstance(verdict, PeerRestored):
                assert verdict.peer in self.broken
                self.broken.discard(verdict.peer)
                continue
            assert isinstance(verdict, PeerIsolated)
            if verdict.peer not in self.broken:
                assert verdict.peer in self.proved or len(self.accused_by.get(verdict.peer, ())) >= 2
            self.broken.add(verdict.peer)
            assert 0 < verdict.standing.until - self.now <= OPEN_S[1]
            assert verdict.standing.reason

    def _report(self, reporter: PeerId, peer: PeerId, fault: str) -> None:
        if reporter != peer:
            self.accused_by.setdefault(peer, set()).add(reporter)
        self._hear(*(each.reported(reporter, peer, fault, self.now, f"at {peer}") for each in (self.one, self.other)))

    @rule(seconds=st.sampled_from([0.0, 0.5, 7.0, 61.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(reporter=peers, peer=peers, fault=st.sampled_from([*FAULTS, "nonsense"]))
    def a_reader_reports(self, reporter: PeerId, peer: PeerId, fault: str) -> None:
        self._report(reporter, peer, fault)

    @rule(victim=st.sampled_from([QUIET, *PEERS[:1]]), fault=st.sampled_from(sorted(FAULTS)))
    def the_liar_reports(self, victim: PeerId, fault: str) -> None:
        self._report(LIAR, victim, fault)

    @rule(share=st.floats(0.5, 2.0), lie=st.floats(0.0, 1e3), often=st.integers(1, 9))
    def everybody_measures_and_the_liar_lies(self, share: float, lie: float, often: int) -> None:
        for _ in range(often):
            told = [Measured(QUIET, int(lie), 1.0, 0), Measured(PEERS[0], 1000, 1.0, 1)]
            self._hear(*(each.speeds_reported(LIAR, told, self.now) for each in (self.one, self.other)))
        for reader in PEERS:
            told = [Measured(QUIET, 1 << 20, share, 1), *(Measured(peer, 1 << 20, 1.0, 1) for peer in PEERS if peer != reader)]
            self._hear(*(each.speeds_reported(reader, told, self.now) for each in (self.one, self.other)))

    @rule(peer=peers, readers=st.sets(peers, min_size=1))
    def some_find_a_peer_slow(self, peer: PeerId, readers: set[PeerId]) -> None:
        for reader in sorted(readers - {peer}):
            self.accused_by.setdefault(peer, set()).add(reader)
            told = [Measured(peer, 1, 1.0, 1), Measured(QUIET, 1000, 1.0, 1), Measured(LIAR, 1000, 1.0, 1)]
            self._hear(*(each.speeds_reported(reader, told, self.now) for each in (self.one, self.other)))

    @rule(peer=peers)
    def a_peer_is_proved(self, peer: PeerId) -> None:
        self.proved.add(peer)
        self._hear(*(each.proved(peer, "lies", self.now, f"at {peer}") for each in (self.one, self.other)))

    @rule(reader=peers, peer=peers)
    def a_reader_is_sent_there(self, reader: PeerId, peer: PeerId) -> None:
        for each in (self.one, self.other):
            each.named(reader, peer, self.now)

    @invariant()
    def a_lone_liar_isolates_nobody(self) -> None:
        assert self.one.standing(QUIET, self.now).state == "healthy"

    @invariant()
    def nobody_is_isolated_for_ever(self) -> None:
        later = self.now + OPEN_S[1]
        assert self.one.isolated(later) == []
        for peer in PEERS:
            readers = [one for one in (LIAR, QUIET, *PEERS) if one != peer]
            assert any(self.one.may_meet(reader, peer, later) for reader in readers)

    @invariant()
    def both_agree_and_stay_small(self) -> None:
        assert self.one.isolated(self.now) == self.other.isolated(self.now)
        assert len(self.one) <= len(PEERS) + 2
        assert {peer for peer, _, _ in self.one.isolated(self.now)} <= self.broken


IsolationMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestIsolation = IsolationMachine.TestCase
