from flyfs.core.copies import Copies
from flyfs.core.ids import PeerId, PieceIndex
from supernode.seeding import CAP, OFFER_LASTS_S, Seeding, Stock
from tests.support.builders import a_peer_id

READERS = [a_peer_id(f"reader {at}") for at in range(8)]
NOTHING = Copies()


def everything(_: PeerId) -> int:
    return -1


class Seeder:
    """Offers among readers that can use everything, but for what ``have`` says (masks)."""

    def __init__(self, pieces: int = 4) -> None:
        self.seeding = Seeding()
        self.seeding.wanted((1 << pieces) - 1)
        self.have: dict[PeerId, int] = {}
        self.here = 0
        self.now = 10.0

    def offers(self, room: int = 1, copies: Copies = NOTHING) -> list[tuple[PeerId, PieceIndex]]:
        return self.seeding.next_offers(self.now, room, Stock(copies, self.here), READERS, lambda peer: ~self.have.get(peer, 0))

    def serve(self, offers: list[tuple[PeerId, PieceIndex]]) -> list[int]:
        """All of them are taken up and sent; the pieces."""
        for peer, piece in offers:
            self.seeding.taken_up(peer, piece)
            self.seeding.ended(peer, piece)
        return [piece for _, piece in offers]


def test_pieces_are_offered_in_file_order_each_to_another_reader() -> None:
    offers = Seeder().offers(room=4)

    assert [piece for _, piece in offers] == [0, 1, 2, 3]
    assert len({peer for peer, _ in offers}) == 4


def test_the_second_copy_goes_out_after_the_first_of_all_and_no_third() -> None:
    seeder = Seeder()
    sent = [seeder.serve(seeder.offers()) for _ in range(4 * CAP + 1)]

    assert sent == [[0], [1], [2], [3]] * CAP + [[]]


def test_what_the_crowd_holds_already_is_not_offered() -> None:
    copies = Copies()
    copies.add(0b0011)

    assert [piece for _, piece in Seeder().offers(room=4, copies=copies)] == [2, 3, 2, 3], "nor read for a second copy"
    seeder = Seeder()
    seeder.here = 0b0001
    assert [piece for _, piece in seeder.offers(room=5, copies=copies)] == [2, 3, 0, 2, 3], "what is here need not be read"


def test_a_second_copy_goes_out_of_what_was_sent_and_few_hold() -> None:
    seeder, copies = Seeder(pieces=2), Copies()
    seeder.serve(seeder.offers(room=2))
    copies.add(0b11)
    copies.add(0b01)

    assert [piece for _, piece in seeder.offers(room=4, copies=copies)] == [1]


def test_what_was_asked_for_and_sent_counts_as_a_copy() -> None:
    seeder = Seeder()
    seeder.seeding.sent(PieceIndex(0))
    assert [piece for _, piece in seeder.offers(room=4)] == [1, 2, 3, 0]


def test_no_further_than_readers_read() -> None:
    seeding = Seeding()
    seeding.wanted(0b0110)
    seeding.wanted(0b1000_0000)

    offers = seeding.next_offers(0.0, 9, Stock(NOTHING), READERS, everything)
    assert [piece for _, piece in offers[:3]] == [1, 2, 7]
    assert Seeding().next_offers(0.0, 9, Stock(NOTHING), READERS, everything) == []
    assert seeding.next_offers(0.0, 9, Stock(NOTHING), [], everything) == []


def test_each_reader_is_offered_what_it_can_use() -> None:
    seeder = Seeder(pieces=8)
    for at, peer in enumerate(READERS):
        seeder.have[peer] = ~(1 << 7 - at)

    assert sorted((READERS.index(peer), piece) for peer, piece in seeder.offers(room=8)) == [(at, 7 - at) for at in range(8)]


def test_a_reader_is_offered_one_thing_at_a_time() -> None:
    seeder = Seeder(pieces=100)
    assert len(seeder.offers(room=100)) == len(READERS)
    (first, *_), now = list(seeder.seeding._open), seeder.now

    seeder.seeding.taken_up(*first)
    assert seeder.offers(room=1) == []
    seeder.seeding.ended(*first)
    assert [peer for peer, _ in seeder.offers(room=1)] == [first[0]]
    assert seeder.seeding.standing == len(READERS)
    assert seeder.seeding.next_lapse() == now + OFFER_LASTS_S


def test_who_has_a_piece_is_not_offered_it() -> None:
    seeder = Seeder(pieces=1)
    seeder.have = dict.fromkeys(READERS[:-1], 1)

    assert seeder.offers(room=3) == [(READERS[-1], 0)]
    seeder.have = dict.fromkeys(READERS, 1)
    assert seeder.offers() == []


def test_an_offer_that_nobody_takes_up_goes_to_another() -> None:
    seeder = Seeder(pieces=1)
    (first,) = seeder.offers()
    assert seeder.seeding.is_offered(*first)
    seeder.now += OFFER_LASTS_S
    (second,) = seeder.offers()

    assert second[0] != first[0]
    assert not seeder.seeding.is_offered(*first)
    seeder.seeding.taken_up(*first)
    seeder.seeding.ended(*first)
    assert seeder.seeding.standing == 1, "it came too late, and is served as any other question"


def test_what_is_being_sent_does_not_lapse() -> None:
    seeder = Seeder(pieces=1)
    (offer,) = seeder.offers()
    seeder.seeding.taken_up(*offer)
    seeder.now += 10 * OFFER_LASTS_S

    assert seeder.seeding.next_lapse() == float("inf")
    assert [peer for peer, _ in seeder.offers(room=5)] != [offer[0]]
    assert seeder.seeding.is_offered(*offer)


def test_offers_to_one_who_left_go_to_others() -> None:
    seeder = Seeder(pieces=2)
    (first, second) = seeder.offers(room=2)
    seeder.seeding.taken_up(*first)
    seeder.seeding.left(first[0])
    seeder.seeding.left(second[0])

    assert seeder.seeding.standing == 0
    assert [piece for _, piece in seeder.offers(room=1)] == [1]


def test_what_nobody_holds_any_more_counts_as_never_sent() -> None:
    seeder = Seeder(pieces=2)
    for _ in range(2 * CAP):
        seeder.serve(seeder.offers())
    seeder.seeding.lost(0b10)

    assert [seeder.serve(seeder.offers()) for _ in range(CAP + 1)] == [[1]] * CAP + [[]]
