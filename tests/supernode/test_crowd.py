import pytest

from flyfs.core.ids import PeerId, PieceIndex
from supernode.crowd import CROWD, GRANT_LASTS_S, REACH_AHEAD, REACH_PIECES, TELL_EVERY_S, Crowd, Participant
from supernode.seeding import Stock
from tests.support.builders import a_peer_id

PIECES = 8
FIRST = PieceIndex(0)


def a_crowd(readers: int, holders: int = 0) -> tuple[Crowd, list[Participant]]:
    """Readers that have nothing, then holders of everything."""
    crowd = Crowd("", PIECES)
    participants = [Participant(a_peer_id(f"peer {at}"), crowd) for at in range(readers + holders)]
    for at, one in enumerate(participants):
        crowd.joined(one)
        crowd.told(one, 0 if at < readers else (1 << PIECES) - 1, reading=at < readers)
    return crowd, participants


def test_so_many_readers_are_a_crowd_and_holders_are_none() -> None:
    crowd, (reader, *_) = a_crowd(CROWD - 1, holders=10)
    assert not crowd.crowded
    newcomer = Participant(a_peer_id("newcomer"), crowd)
    crowd.joined(newcomer)
    crowd.told(newcomer, 0, reading=True)
    assert crowd.crowded

    crowd.told(reader, 0b1, reading=False)
    assert not crowd.crowded


def test_what_is_held_is_counted_as_it_comes_and_goes() -> None:
    crowd, (anne, bert) = a_crowd(2)
    crowd.told(anne, 0b011, reading=True)
    crowd.gained(bert, 0b110)
    crowd.gained(bert, 0b010)
    assert [crowd.copies.count(piece) for piece in range(3)] == [1, 2, 1]

    crowd.left(anne)
    assert [crowd.copies.count(piece) for piece in range(3)] == [0, 1, 1]


def test_who_was_sent_a_piece_is_a_receiver_until_it_is_late_or_it_broke_off_or_it_left() -> None:
    crowd, (anne, bert, carl) = a_crowd(0, holders=3)
    for at, one in enumerate((anne, bert, carl)):
        crowd.granted(FIRST, one.peer_id, 10.0 + at)

    def receivers(now: float) -> list[PeerId]:
        return list(crowd.receivers(FIRST, anne.peer_id, now))

    assert receivers(12.0) == [bert.peer_id, carl.peer_id]
    assert receivers(11.0 + GRANT_LASTS_S) == [carl.peer_id]
    crowd.ungranted(FIRST, carl.peer_id)
    crowd.ungranted(PieceIndex(1), carl.peer_id)
    assert receivers(12.0) == [bert.peer_id]
    assert (crowd.granted_to(bert.peer_id), crowd.granted_to(carl.peer_id)) == (0b1, 0)
    crowd.left(bert)
    assert receivers(12.0) == []


def test_in_a_crowd_a_receiver_is_remembered_until_it_has_had_the_time_to_tell() -> None:
    crowd, participants = a_crowd(CROWD)
    crowd.granted(FIRST, participants[0].peer_id, 0.0)

    told_s = GRANT_LASTS_S + crowd.tell_every_s
    assert list(crowd.receivers(FIRST, participants[1].peer_id, told_s - 0.1)) == [participants[0].peer_id]
    assert list(crowd.receivers(FIRST, participants[1].peer_id, told_s)) == []


def test_receivers_of_one_piece_are_remembered_up_to_a_bound() -> None:
    crowd, participants = a_crowd(40)
    for one in participants:
        crowd.granted(FIRST, one.peer_id, 0.0)

    assert list(crowd.receivers(FIRST, a_peer_id("x"), 0.1)) == [one.peer_id for one in participants[-16:]]


def test_how_many_are_being_sent_a_piece_is_counted_and_who_leaves_is_not() -> None:
    crowd, (anne, bert) = a_crowd(2)
    crowd.sending_began(FIRST, anne.peer_id)
    crowd.sending_began(FIRST, bert.peer_id)
    crowd.sending_ended(FIRST, bert.peer_id)
    crowd.sending_ended(FIRST, bert.peer_id)
    assert crowd.sending(FIRST) == 1

    crowd.left(anne)
    assert crowd.sending(FIRST) == 0


@pytest.mark.parametrize(
    ("readers", "every_s"),
    [(1, 0.0), (14, 0.5), (100, TELL_EVERY_S[0]), (7_000, TELL_EVERY_S[0]), (10_000, 5.0), (1_000_000, TELL_EVERY_S[1])],
)
def test_the_more_read_the_less_often_each_tells_the_supernode(readers: int, every_s: float) -> None:
    crowd, _ = a_crowd(min(readers, CROWD))
    crowd.readers = readers

    assert crowd.tell_every_s == every_s


def test_what_only_one_who_left_had_is_offered_anew() -> None:
    crowd, participants = a_crowd(6)
    readers = [one.peer_id for one in participants]
    crowd.asked(participants[0], FIRST, PIECES)

    def offer(now: float) -> list[PieceIndex]:
        made = crowd.seeding.next_offers(now, 2, Stock(crowd.copies), readers, lambda _: -1)
        for peer, piece in made:
            crowd.seeding.taken_up(peer, piece)
            crowd.seeding.ended(peer, piece)
        return [piece for _, piece in made]

    assert offer(0.0) == [0, 1]
    crowd.gained(participants[0], 0b11)
    assert offer(0.0) == [2, 3]
    crowd.gained(participants[1], 0b1100)
    crowd.left(participants[0])
    assert offer(0.0) == [0, 1]


def test_where_a_reader_reads_follows_what_it_asks_for_and_gets() -> None:
    crowd, (anne,) = a_crowd(1)
    assert anne.wants == range(0)
    crowd.asked(anne, PieceIndex(10), 0)
    assert anne.wants == range(10, 11 + REACH_PIECES)
    crowd.asked(anne, PieceIndex(12), 100)
    assert anne.wants == range(10, 13 + REACH_AHEAD * 100)

    crowd.gained(anne, 1 << 400 | 1 << 5_000)
    assert anne.wants == range(10, 401 + REACH_PIECES), "a piece far away tells nothing"
    crowd.asked(anne, PieceIndex(5_000), 0)
    assert anne.wants == range(5_000, 5_001 + REACH_PIECES), "it has gone somewhere else"
