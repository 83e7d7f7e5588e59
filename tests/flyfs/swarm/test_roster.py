import pytest
import trio
import trio.testing

from flyfs.core.address import Address, SrvName
from flyfs.core.errors import Unavailable
from flyfs.core.rendezvous import Candidate
from flyfs.swarm import roster
from flyfs.swarm.roster import Roster
from flyfs.transport.srv import SrvAnswer

A, B, C = (Address(host, 7400) for host in "abc")
NAME = SrvName("swarm.test")


class Dns:
    """What the DNS says, second by second: each question is noted, the answer is whatever stands here then."""

    def __init__(self) -> None:
        self.answer: SrvAnswer | Unavailable = Unavailable("nothing yet")
        self.asked_at: list[float] = []

    async def ask(self, name: SrvName, resolver: Address | None) -> SrvAnswer:
        assert (name, resolver) == (NAME, C)
        self.asked_at.append(trio.current_time())
        if isinstance(self.answer, Unavailable):
            raise self.answer
        return self.answer


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    server = Dns()
    monkeypatch.setattr(roster, "ask_srv", server.ask)
    return server


def answer(*addresses: Address, ttl_s: float = 10.0) -> SrvAnswer:
    return SrvAnswer(candidates=tuple(map(Candidate, addresses)), ttl_s=ttl_s)


async def test_those_that_are_fixed_and_those_that_are_told_make_one_list_without_repetitions() -> None:
    known = Roster([A, B])
    known.tell("srv://x", [Candidate(B, priority=3), Candidate(C)])

    assert known.candidates == (Candidate(A), Candidate(B), Candidate(C))


async def test_a_change_is_told_and_its_repetition_is_none() -> None:
    known, told = Roster([A]), [Candidate(B), Candidate(C)]
    for candidates, changes in ((told, True), (told[::-1], False), (told[:1], True), ([], True), ([], False)):
        changed = known.changed
        known.tell("x", candidates)
        assert changed.is_set() is changes
        assert not known.changed.is_set()


async def test_a_changed_answer_is_followed_when_the_old_one_has_lived(dns: Dns, autojump_clock: trio.testing.MockClock) -> None:
    known = Roster([])
    dns.answer = answer(A)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(known.follow, NAME, C)
        await trio.sleep(1)
        assert known.candidates == (Candidate(A),)
        dns.answer = answer(B)
        await trio.sleep(8.9)
        assert known.candidates == (Candidate(A),)
        await trio.sleep(0.2)
        assert known.candidates == (Candidate(B),)
        nursery.cancel_scope.cancel()


async def test_a_name_that_cannot_be_resolved_keeps_what_it_stood_for(dns: Dns, autojump_clock: trio.testing.MockClock) -> None:
    known = Roster([])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(known.follow, NAME, C)
        await trio.sleep(0.5)
        assert known.candidates == ()
        assert known.troubles == {"srv://swarm.test": "nothing yet"}
        dns.answer = answer(A)
        await trio.sleep(1)
        assert (known.candidates, known.troubles) == ((Candidate(A),), {})
        dns.answer = Unavailable("the server is gone")
        await trio.sleep(30)
        assert known.candidates == (Candidate(A),)
        assert known.troubles == {"srv://swarm.test": "the server is gone"}
        dns.answer = answer(B)
        await trio.sleep(1)
        assert (known.candidates, known.troubles) == ((Candidate(B),), {})
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("ttl_s", "questions"), [(0.0, 600), (1e9, 2)])
async def test_no_time_to_live_is_taken_too_seriously(
    dns: Dns, autojump_clock: trio.testing.MockClock, ttl_s: float, questions: int
) -> None:
    dns.answer = answer(A, ttl_s=ttl_s)
    with trio.move_on_after(599.5):
        await Roster([]).follow(NAME, C)

    assert len(dns.asked_at) == questions
