from itertools import pairwise

from flyfs.core.ids import PeerId, PieceIndex
from supernode.crowd import CROWD, GRANT_LASTS_S, Participant
from supernode.members import Member, Members
from supernode.scheduler import (
    MOST_HOLDERS,
    MOST_REDIRECTS,
    NEIGHBOURS,
    READERS_PER_SENDING,
    SENDING_AT_ONCE,
    Redirect,
    Serve,
    choose_neighbours,
    decide_piece,
)
from supernode.seeding import Stock
from supernode.tasks import Task
from tests.support.builders import a_blob, a_peer_id, drawn

PIECE = PieceIndex(0)
READER = a_peer_id("reader")


class Swarm:
    """A task, its members, and READER among them, who has nothing."""

    def __init__(self, location: str = "") -> None:
        self.task, self.members = Task(a_blob(4)), Members()
        self.me = self.join(READER, "....", location=location)

    def join(self, peer: PeerId, picture: str, *, location: str = "", leech: bool = False, reading: bool = True) -> Participant:
        address = "" if leech else "10.0.0.1:7402"
        self.members.came(Member(peer_id=peer, session=0, address=address, location=location, version=""))
        return self.task.joined(peer, location.partition("|")[0], drawn(picture), reading=reading)

    def peers(self, *pictures: str, location: str = "", reading: bool = True) -> list[PeerId]:
        peers = [a_peer_id(f"peer {location} {at}") for at in range(len(pictures))]
        for peer, picture in zip(peers, pictures, strict=True):
            self.join(peer, picture, location=location, reading=reading)
        return peers

    def neighbours(
        self, count: int = NEIGHBOURS, *, turn: int = 0, me: Participant | None = None, most: int = 99
    ) -> list[PeerId]:
        found = choose_neighbours(self.task, me or self.me, self.members, turn=turn, count=count, most=most)
        return [one.peer_id for one in found]

    def decide(self, *, me: Participant | None = None, now: float = 0.0, held: bool = True) -> list[PeerId] | None:
        """Whom to ask; None where the supernode serves."""
        match decide_piece(self.task, me or self.me, PIECE, self.members, now, held=held):
            case Serve():
                return None
            case Redirect(holders):
                return [holder.peer_id for holder in holders]


# -- neighbours --------------------------------------------------------------------------------------------------------


def test_a_reader_meets_those_who_have_most_that_it_lacks() -> None:
    swarm = Swarm()
    peers = swarm.peers("#...", "####", "##..")

    assert swarm.neighbours(1) == [peers[1]]
    assert set(swarm.neighbours()) == set(peers)


def test_those_with_few_neighbours_come_first_and_those_with_too_many_not_at_all() -> None:
    swarm = Swarm()
    peers = swarm.peers("####", "####", "####")
    for peer, count in zip(peers, (5, 1, 9), strict=True):
        one = swarm.task.find(peer)
        assert one is not None
        one.neighbours |= {a_peer_id(f"other {at}") for at in range(count)}

    assert swarm.neighbours(1) == [peers[1]]
    assert set(swarm.neighbours(most=9)) == {peers[0], peers[1]}


def test_nobody_meets_itself_nor_a_neighbour_again_nor_the_absent() -> None:
    swarm = Swarm()
    known, other = swarm.peers("####", "####")
    swarm.me.neighbours.add(known)
    swarm.task.joined(a_peer_id("absent"), "", drawn("####"), reading=False)

    assert swarm.neighbours() == [other]
    assert swarm.neighbours(0) == []


def test_of_each_pair_somebody_can_be_dialled_by_one_who_reads() -> None:
    swarm = Swarm()
    leech = swarm.join(a_peer_id("leech"), "####", leech=True)
    seeding_leech = swarm.join(a_peer_id("seed"), "####", leech=True, reading=False)

    assert swarm.neighbours() == [leech.peer_id], "which reads, and can dial us"
    assert swarm.neighbours(me=leech) == [READER]
    assert swarm.neighbours(me=seeding_leech) == [READER]


def test_readers_meet_a_bounded_number_and_spread_over_equals() -> None:
    swarm = Swarm()
    peers = swarm.peers(*["####"] * 40)
    met = [tuple(swarm.neighbours(turn=turn)) for turn in range(30)]

    assert {len(one) for one in met} == {NEIGHBOURS}
    assert {peer for one in met for peer in one} == set(peers), "each of the equals is met by somebody"
    assert swarm.neighbours(turn=3) == list(met[3]), "the same each time"


def test_a_crowd_keeps_to_its_region_and_few_readers_meet_whom_they_can() -> None:
    swarm = Swarm("eu")
    here = swarm.peers("####", location="eu", reading=False)
    there = swarm.peers("####", "####", location="us")
    assert swarm.neighbours(1) == here
    assert set(swarm.neighbours()) == {*here, *there}

    crowd = swarm.peers(*["####"] * CROWD, location="eu")
    assert set(swarm.neighbours()) == set(crowd)


def test_two_thirds_of_the_places_are_for_those_in_the_same_zone() -> None:
    swarm = Swarm("eu|a|r1")
    for zone, count in (("b", 20), ("a", 5), ("a|r1", 5)):
        swarm.peers(*["####"] * count, location=f"eu|{zone}")

    def zones(count: int) -> list[str]:
        found = [swarm.members.find(peer) for peer in swarm.neighbours(count)]
        return [one.location.split("|")[1] for one in found if one is not None]

    assert zones(6)[:4] == ["a"] * 4
    assert zones(12).count("b") >= 2, "zones stay connected"


# -- pieces ------------------------------------------------------------------------------------------------------------


def test_the_first_copy_is_served() -> None:
    swarm = Swarm()
    swarm.peers("....")

    assert swarm.decide() is None


def test_who_has_the_piece_is_named_a_few_at_a_time_and_readers_spread() -> None:
    swarm = Swarm()
    peers = swarm.peers(*["#..."] * 20, reading=False)
    named = [swarm.decide(me=swarm.join(a_peer_id(f"reader {at}"), "....", reading=False)) or [] for at in range(50)]

    assert {len(one) for one in named} == {MOST_HOLDERS}
    assert len({one[0] for one in named} & set(peers)) > 10


def test_one_holder_among_many_is_found() -> None:
    swarm = Swarm()
    peers = swarm.peers(*["...."] * 200, "#...", reading=False)

    assert swarm.decide() == [peers[-1]]


def test_who_is_receiving_the_piece_is_named_where_nobody_has_it_yet() -> None:
    swarm = Swarm()
    (peer,) = swarm.peers("....")
    swarm.me.crowd.granted(PIECE, peer, 5.0)

    assert swarm.decide(now=6.0) == [peer]
    assert swarm.decide(me=swarm.task.find(peer), now=6.0) is None, "who asks twice has lost it"
    assert swarm.decide(now=5.1 + GRANT_LASTS_S + swarm.me.crowd.tell_every_s) is None


def test_leeches_and_the_absent_are_never_named() -> None:
    swarm = Swarm()
    swarm.join(a_peer_id("leech"), "#...", leech=True)
    swarm.task.joined(a_peer_id("absent"), "", drawn("#..."), reading=False)

    assert swarm.decide() is None


def test_whoever_comes_back_after_a_redirect_is_served() -> None:
    swarm = Swarm()
    peers = swarm.peers("#...")
    assert swarm.decide() == peers
    swarm.me.redirected[PIECE] = 1

    assert swarm.decide() is None


def test_what_was_offered_is_served() -> None:
    swarm = Swarm()
    swarm.me.crowd.asked(swarm.me, PIECE, 0)
    swarm.me.crowd.seeding.next_offers(0.0, 1, Stock(swarm.me.crowd.copies), [READER], lambda _: -1)
    swarm.peers("#...")

    assert swarm.decide() is None


def test_of_a_crowd_that_waits_for_one_piece_a_few_are_sent_it_at_a_time() -> None:
    swarm = Swarm()
    peers = swarm.peers("#...", *["...."] * READERS_PER_SENDING * SENDING_AT_ONCE)
    for peer in peers[1 : 1 + SENDING_AT_ONCE]:
        assert swarm.decide(me=swarm.task.find(peer)) is None
        swarm.me.crowd.sending_began(PIECE, peer)

    for times in range(MOST_REDIRECTS):
        swarm.me.redirected[PIECE] = times
        assert swarm.decide() == peers[:1]
    swarm.me.redirected[PIECE] = MOST_REDIRECTS
    assert swarm.decide() is None, "who comes back so often is sent it all the same"


def test_a_holder_in_another_region_is_named_only_where_the_piece_would_have_to_be_read_again() -> None:
    swarm = Swarm("eu")
    there = swarm.peers("#...", location="us", reading=False)

    assert swarm.decide(held=True) is None
    assert swarm.decide(held=False) == there
    here = swarm.peers("#...", location="eu", reading=False)
    assert swarm.decide(held=True) == here


def test_choices_differ_from_reader_to_reader() -> None:
    swarm = Swarm()
    swarm.peers(*["#..."] * 60, reading=False)
    named = [swarm.decide(me=swarm.join(a_peer_id(f"reader {at}"), "....", reading=False)) for at in range(10)]

    assert all(one != other for one, other in pairwise(named))
