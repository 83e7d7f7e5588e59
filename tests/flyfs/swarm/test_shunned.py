from flyfs.swarm.shunned import MOST_PEERS, Shunned, ShunnedPeer
from tests.support.builders import a_peer_id

BAD = a_peer_id("bad")


def test_a_peer_is_left_alone_for_its_time_and_never_for_a_shorter_one() -> None:
    shunned = Shunned()
    shunned.shun(BAD, "h:1", "lies", 1.0, 10.0)
    shunned.shun(BAD, "h:1", "unreachable", 2.0, 5.0)

    assert shunned.peers(3.0) == [ShunnedPeer(peer_id=BAD, address="h:1", reason="lies", since=1.0, until=11.0)]
    assert [shunned.has(BAD, now) for now in (10.9, 11.0)] == [True, False]
    assert shunned.peers(11.0) == []


def test_a_pardon_ends_it() -> None:
    shunned = Shunned()
    shunned.shun(BAD, "h:1", "lies", 1.0, 10.0)
    shunned.pardon(BAD)
    shunned.pardon(BAD)

    assert not shunned.has(BAD, 2.0)


def test_the_first_are_forgotten_where_there_are_too_many() -> None:
    shunned = Shunned()
    for number in range(MOST_PEERS + 3):
        shunned.shun(a_peer_id(str(number)), "h:1", "lies", 0.0, 10.0)

    assert len(shunned.peers(1.0)) == MOST_PEERS
    assert not shunned.has(a_peer_id("2"), 1.0)
    assert shunned.has(a_peer_id("3"), 1.0)
