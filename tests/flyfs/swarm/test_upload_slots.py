"""The places of a sender, with connections as letters and tickets as numbers."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flyfs.swarm.upload_slots import DEMAND_SLOTS, SLOTS, WAITING_DEMANDS, UploadSlots, Verdict

BEGIN, WAIT, REFUSE = Verdict.BEGIN, Verdict.WAIT, Verdict.REFUSE


def busy(slots: int = 2, *, queued: int = 0) -> UploadSlots[str, int]:
    """All usual places are taken, by "a", "b", ... with tickets 0, 1, ...; each has ``queued`` more in its line."""
    uploads: UploadSlots[str, int] = UploadSlots(slots=slots, demand_slots=1)
    for at in range(slots):
        assert uploads.ask("abcd"[at], at, demand=False) is BEGIN
        for more in range(queued):
            assert uploads.ask("abcd"[at], 10 * (at + 1) + more, demand=False) is WAIT
    return uploads


def test_who_finds_no_place_is_refused_at_once() -> None:
    uploads = busy()

    assert uploads.ask("x", 9, demand=False) is REFUSE
    assert uploads.ended("a") == []
    assert uploads.ask("x", 9, demand=False) is BEGIN


def test_who_is_served_keeps_its_place_while_it_wants_more() -> None:
    uploads = busy(queued=2)

    assert uploads.ended("a") == [10]
    assert uploads.ended("a") == [11]
    assert uploads.ask("x", 9, demand=False) is REFUSE
    assert uploads.ended("a") == []


def test_a_reader_that_waits_gets_a_place_beyond_the_usual_ones_and_then_waits_for_the_next() -> None:
    uploads = busy()

    assert uploads.ask("x", 7, demand=True) is BEGIN
    assert uploads.ask("y", 8, demand=True) is WAIT
    assert uploads.ended("a") == [8]


def test_the_line_of_waiting_readers_is_short() -> None:
    uploads = busy()
    uploads.ask("x", 7, demand=True)

    verdicts = [uploads.ask(f"reader {at}", 20 + at, demand=True) for at in range(WAITING_DEMANDS + 1)]
    assert verdicts == [WAIT] * WAITING_DEMANDS + [REFUSE]


def test_a_readers_piece_goes_before_what_else_its_connection_wants() -> None:
    uploads = busy(slots=1, queued=2)
    assert uploads.ask("a", 99, demand=True) is WAIT

    assert uploads.ended("a") == [99]
    assert uploads.ended("a") == [10]


def test_a_place_for_readers_serves_nothing_else() -> None:
    uploads = busy()
    uploads.ask("x", 7, demand=True)

    assert uploads.ask("x", 8, demand=False) is REFUSE
    assert uploads.ask("x", 9, demand=True) is WAIT
    uploads.ended("a")
    assert uploads.ask("x", 8, demand=False) is WAIT, "it has the usual place now"


def test_readers_beyond_the_usual_places_take_turns() -> None:
    uploads = busy(slots=1)
    assert uploads.ask("x", 5, demand=True) is BEGIN
    assert uploads.ask("x", 6, demand=True) is WAIT
    assert uploads.ask("y", 7, demand=True) is WAIT
    assert uploads.ask("y", 8, demand=True) is WAIT

    assert uploads.ended("x") == [8]
    assert uploads.ended("y") == [6]


def test_what_was_withdrawn_is_not_sent() -> None:
    uploads = busy(slots=1, queued=2)
    uploads.ask("x", 7, demand=True)
    uploads.ask("y", 8, demand=True)
    uploads.ask("z", 9, demand=True)

    assert uploads.withdrawn("a", 10) == []
    assert uploads.withdrawn("y", 8) == []
    assert uploads.ended("x") == [9]
    assert uploads.ended("a") == [11]


class UploadsMachine(RuleBasedStateMachine):
    """Every order of events, with a model of what was asked and what is being sent."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads: UploadSlots[str, int] = UploadSlots()
        self.tickets = 0
        self.sending: dict[str, int] = {}
        self.waiting: dict[int, str] = {}

    def begin(self, tickets: list[int]) -> None:
        for ticket in tickets:
            who = self.waiting.pop(ticket)
            assert who not in self.sending
            self.sending[who] = ticket

    @rule(who=st.sampled_from("abcdefghijkl"), demand=st.booleans())
    def ask(self, who: str, demand: bool) -> None:
        self.tickets += 1
        match self.uploads.ask(who, self.tickets, demand=demand):
            case Verdict.BEGIN:
                self.waiting[self.tickets] = who
                self.begin([self.tickets])
            case Verdict.WAIT:
                self.waiting[self.tickets] = who
            case Verdict.REFUSE:
                assert len(self.sending) >= SLOTS

    @precondition(lambda self: self.sending)
    @rule(at=st.integers(0, 99))
    def end(self, at: int) -> None:
        who = sorted(self.sending)[at % len(self.sending)]
        del self.sending[who]
        self.begin(self.uploads.ended(who))

    @precondition(lambda self: self.waiting)
    @rule(at=st.integers(0, 99))
    def withdraw(self, at: int) -> None:
        ticket = sorted(self.waiting)[at % len(self.waiting)]
        self.begin(self.uploads.withdrawn(self.waiting.pop(ticket), ticket))

    @invariant()
    def few_are_served_and_nobody_waits_beside_a_free_place(self) -> None:
        assert len(self.sending) <= SLOTS + DEMAND_SLOTS
        if set(self.waiting.values()) - set(self.sending):
            assert len(self.sending) >= SLOTS

    def teardown(self) -> None:
        """Whoever waits is served in the end."""
        while self.sending:
            self.end(0)
        assert not self.waiting
        assert not self.uploads._lines


TestUploadsMachine = UploadsMachine.TestCase
TestUploadsMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
