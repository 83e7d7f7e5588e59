import trio
from trio.testing import MockClock

from flyfs.swarm.repute import OwnIsolation, Repute
from flyfs.wire.messages import Reached, Shun
from tests.support.builders import a_peer_id

ME = a_peer_id("me")


async def test_a_peer_knows_whether_it_is_reached_and_why_not() -> None:
    repute = Repute()
    assert (repute.reached, repute.unreached) == (None, None)
    repute.told(Reached(address="h:1", reason="refused"))
    assert (repute.reached, repute.unreached) == (False, "refused")
    repute.told(Reached(address="h:1"))
    assert (repute.reached, repute.unreached) == (True, None)


async def test_a_peer_knows_that_nobody_is_sent_to_it_until_that_is_over(autojump_clock: MockClock) -> None:
    repute = Repute()
    repute.told(Shun(peer_id=ME, reason="lies", for_s=5.0))
    assert repute.isolation == OwnIsolation("lies", trio.current_time() + 5)
    await trio.sleep(5)
    assert repute.isolation is None

    repute.told(Shun(peer_id=ME, reason="lies", for_s=5.0))
    repute.told(Shun(peer_id=ME, reason="", for_s=0.0))
    assert repute.isolation is None
