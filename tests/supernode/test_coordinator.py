import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from flyfs.core.masks import pieces_in
from supernode.coordinator import OFFERS_AT_ONCE, SETTLE_S, Coordinator, IntroducePeers, JoinDecision, OfferPieces
from supernode.crowd import GRANT_LASTS_S, TELL_EVERY_S, TELLS_PER_S
from supernode.members import Member
from supernode.scheduler import FIRST_NEIGHBOURS, MOST_HOLDERS, MOST_NEIGHBOURS, MOST_REDIRECTS, NEIGHBOURS, Redirect, Serve
from supernode.seeding import OFFER_LASTS_S
from tests.support.builders import a_blob, a_blob_id, a_peer_id, drawn

PIECES = 4
BLOB = a_blob(PIECES)
ANNE, BERT, LEECH = a_peer_id("anne"), a_peer_id("bert"), a_peer_id("leech")


def a_member(peer: PeerId, session: int) -> Member:
    address = "" if peer == LEECH else f"10.0.0.1:{session + 1}"
    return Member(peer_id=peer, session=session, address=address, location="", version="")


def a_coordinator(**joined: str) -> Coordinator:
    """Anne, Bert and a leech are connected at sessions 1, 2, 3 and read these pieces; what follows from that was told."""
    coordinator = Coordinator()
    for session, (name, peer) in enumerate((("anne", ANNE), ("bert", BERT), ("leech", LEECH)), 1):
        coordinator.peer_came(a_member(peer, session))
        if name in joined:
            coordinator.blob_joined(peer, BLOB, drawn(joined[name]), reading=True, now=0.0)
    coordinator.next_commands(0.0)
    return coordinator


def join(
    coordinator: Coordinator, peer: PeerId, picture: str = "....", *, reading: bool = True, now: float = 0.0
) -> JoinDecision:
    return coordinator.blob_joined(peer, BLOB, drawn(picture), reading=reading, now=now)


def introduction(session: int, *members: Member, crowd: int = 0) -> IntroducePeers:
    """What one is told among so many readers; a lone one is no crowd."""
    return IntroducePeers(session, BLOB.id, members, crowded=crowd > 0, tell_every_s=crowd / TELLS_PER_S[0])


def joined(*members: Member, crowd: int = 0) -> JoinDecision:
    """The answer to a join, likewise."""
    return JoinDecision(members, crowded=crowd > 0, tell_every_s=crowd / TELLS_PER_S[0])


def a_crowd(readers: int, blob: Blob = BLOB) -> tuple[Coordinator, list[PeerId]]:
    """All come at the same time; nothing was told yet."""
    coordinator, peers = Coordinator(), [a_peer_id(f"reader {at}") for at in range(readers)]
    for session, peer in enumerate(peers):
        coordinator.peer_came(a_member(peer, session))
        coordinator.blob_joined(peer, blob, Bitmap(len(blob.grid)), reading=True, now=0.0)
    return coordinator, peers


# -- introductions -----------------------------------------------------------------------------------------------------


def test_a_newcomer_meets_who_is_there_and_the_readers_among_them_hear_of_it() -> None:
    coordinator = a_coordinator(anne="##..")
    join(coordinator, LEECH, reading=False)

    assert join(coordinator, BERT) == joined(a_member(ANNE, 1), crowd=2)
    assert coordinator.next_commands(0.0) == [introduction(1, a_member(BERT, 2), crowd=2)]
    assert coordinator.next_commands(SETTLE_S) == []


def test_nobody_hears_of_a_leech_nor_of_a_stranger_nor_does_who_only_offers() -> None:
    coordinator = a_coordinator(anne="##..")
    assert join(coordinator, LEECH) == joined(a_member(ANNE, 1), crowd=2)
    assert join(coordinator, a_peer_id("stranger")) == joined(crowd=3)
    assert coordinator.next_commands(SETTLE_S) == [introduction(1, crowd=3)], "only that it is in a crowd"

    join(coordinator, ANNE, "####", reading=False)
    assert join(coordinator, BERT) == joined(a_member(ANNE, 1), crowd=3)
    assert coordinator.next_commands(2 * SETTLE_S) == [introduction(3, a_member(BERT, 2), crowd=3)]


def test_one_that_turns_out_to_be_reachable_is_introduced_to_those_who_read_what_it_takes_part_in() -> None:
    coordinator = a_coordinator(bert="...#")
    join(coordinator, LEECH, "##..", reading=False)
    other = a_blob(PIECES, name="other")
    coordinator.blob_joined(BERT, other, drawn("...."), reading=True, now=0.0)
    coordinator.next_commands(0.0)
    reached = Member(peer_id=LEECH, session=3, address="10.0.0.9:1", location="", version="")

    coordinator.peer_reached(reached, [BLOB.id, other.id, a_blob_id()], 1.0)

    assert coordinator.next_commands(1.0) == [introduction(2, reached)]
    assert coordinator.members.find(LEECH) == reached
    stranger = Member(peer_id=a_peer_id("stranger"), session=9, address="10.0.0.8:1", location="", version="")
    coordinator.peer_reached(stranger, [BLOB.id], 1.0)
    assert coordinator.next_commands(1.0) == []
    assert coordinator.members.find(stranger.peer_id) is None


def test_who_only_offers_meets_nobody_until_somebody_reads() -> None:
    coordinator = a_coordinator(anne="##..")

    assert join(coordinator, BERT, "#...", reading=False) == joined()
    assert coordinator.next_commands(0.0) == []


def test_readers_who_come_together_get_their_neighbours_in_one_go_once_all_are_known() -> None:
    coordinator, peers = a_crowd(30)
    first = coordinator.next_commands(0.0)
    assert {one.session for one in first} == {0}, "who came before it was a crowd hears so at once"
    assert coordinator.next_deadline() == SETTLE_S

    told = [one for one in coordinator.next_commands(SETTLE_S) if isinstance(one, IntroducePeers)]
    assert len({one.session for one in told}) == len(told), "each is told once"
    assert all(one.crowded and one.tell_every_s == 30 / TELLS_PER_S[0] for one in told)
    (task,) = coordinator.tasks.all()
    degrees = [len(one.neighbours) for one in task.participants()]
    assert min(degrees) >= NEIGHBOURS
    assert max(degrees) <= MOST_NEIGHBOURS
    assert len(peers) == 30
    coordinator.next_commands(2 * SETTLE_S)
    assert coordinator.next_deadline() == float("inf")


def test_who_joins_a_crowd_is_told_so_and_gets_a_few_neighbours_at_once() -> None:
    coordinator, _ = a_crowd(30)
    coordinator.peer_came(a_member(ANNE, 99))

    decision = join(coordinator, ANNE)
    assert len(decision.neighbours) == FIRST_NEIGHBOURS
    assert (decision.crowded, decision.tell_every_s) == (True, 31 / TELLS_PER_S[0])


def test_the_last_reader_of_a_crowd_hears_that_it_is_alone() -> None:
    coordinator = a_coordinator(anne="....", bert="....")
    join(coordinator, LEECH, "####", reading=False)
    coordinator.next_commands(SETTLE_S)
    coordinator.peer_left(BERT, 2, 1.0)
    assert coordinator.next_commands(1.0) == [introduction(1)]

    coordinator.peer_came(a_member(BERT, 2))
    join(coordinator, BERT, now=2.0)
    assert [one for one in coordinator.next_commands(2.0) if isinstance(one, IntroducePeers)] == [
        introduction(1, a_member(BERT, 2), crowd=2)
    ]
    join(coordinator, BERT, "####", reading=False, now=3.0)
    assert coordinator.next_commands(3.0) == [introduction(1)]


def test_who_lost_most_of_its_neighbours_gets_others() -> None:
    coordinator, peers = a_crowd(60)
    coordinator.next_commands(SETTLE_S)
    coordinator.next_commands(2 * SETTLE_S)
    (task,) = coordinator.tasks.all()
    me = task.find(peers[0])
    assert me is not None
    for gone in sorted(me.neighbours)[2:]:
        coordinator.peer_left(gone, peers.index(gone), 5.0)
    assert len(me.neighbours) == 2

    told = [one for one in coordinator.next_commands(5.0 + SETTLE_S) if isinstance(one, IntroducePeers) and one.session == 0]
    assert [len(one.neighbours) for one in told] == [NEIGHBOURS - 2]


def test_what_was_to_be_told_to_one_who_left_is_told_nobody() -> None:
    coordinator, peers = a_crowd(8)
    for session, peer in enumerate(peers):
        coordinator.peer_left(peer, session, 0.0)

    assert coordinator.next_commands(SETTLE_S) == []
    assert len(coordinator.tasks) == 0


# -- offers ------------------------------------------------------------------------------------------------------------


def test_a_lone_reader_is_offered_nothing() -> None:
    coordinator, peers = a_crowd(1)
    coordinator.piece_asked(peers[0], BLOB, PieceIndex(0), 0.0, ahead=3)

    assert not [one for one in coordinator.next_commands(0.0) if isinstance(one, OfferPieces)]


def offers(coordinator: Coordinator, now: float = 0.0) -> list[tuple[int, int]]:
    """Session and piece."""
    made = [one for one in coordinator.next_commands(now) if isinstance(one, OfferPieces)]
    return [(one.session, piece) for one in made for piece in one.pieces]


def test_a_crowd_is_offered_different_pieces_a_bounded_number_at_a_time() -> None:
    blob = a_blob(200, name="long")
    coordinator, peers = a_crowd(60, blob)
    assert offers(coordinator) == [], "nobody wants anything yet"
    assert coordinator.piece_asked(peers[0], blob, PieceIndex(0), 0.0, ahead=100) == Serve()

    made = offers(coordinator)
    assert len(made) == OFFERS_AT_ONCE
    assert len({piece for _, piece in made}) == OFFERS_AT_ONCE
    session, piece = made[0]
    assert coordinator.piece_asked(peers[session], blob, PieceIndex(piece), 0.1) == Serve()
    assert offers(coordinator) == []
    coordinator.piece_sent(peers[session], blob.id, PieceIndex(piece), through=True)
    assert len(offers(coordinator)) == 1


def test_offers_that_nobody_takes_up_are_made_to_others_in_time() -> None:
    coordinator, peers = a_crowd(20)
    coordinator.piece_asked(peers[0], BLOB, PieceIndex(0), 0.0, ahead=3)
    first = offers(coordinator)
    coordinator.lapse(OFFER_LASTS_S / 2)
    assert offers(coordinator, OFFER_LASTS_S / 2) == []

    coordinator.lapse(OFFER_LASTS_S)
    second = offers(coordinator, OFFER_LASTS_S)
    assert {piece for _, piece in second} == {piece for _, piece in first}
    assert not set(second) & set(first)


def test_a_reader_whose_piece_broke_off_does_not_count_as_its_receiver() -> None:
    coordinator = a_coordinator(anne="....", bert="....")
    assert coordinator.piece_asked(ANNE, BLOB, PieceIndex(0), 0.0) == Serve()
    assert coordinator.piece_asked(BERT, BLOB, PieceIndex(0), 0.1) == Redirect((a_member(ANNE, 1),))
    coordinator.piece_sent(ANNE, BLOB.id, PieceIndex(0), through=False)
    coordinator.piece_sent(a_peer_id("stranger"), BLOB.id, PieceIndex(0), through=False)

    assert coordinator.piece_asked(LEECH, BLOB, PieceIndex(0), 0.2) == Serve()


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_a_question_that_comes_before_its_join_is_answered_as_after_it() -> None:
    coordinator = a_coordinator(anne="#...")

    assert coordinator.piece_asked(BERT, BLOB, PieceIndex(0), 0.0) == Redirect((a_member(ANNE, 1),))
    assert coordinator.piece_asked(BERT, BLOB, PieceIndex(0), 0.5) == Serve()
    assert coordinator.piece_asked(a_peer_id("stranger"), BLOB, PieceIndex(0), 0.5) == Serve()
    assert join(coordinator, BERT, ".#..") == joined(a_member(ANNE, 1), crowd=2)


def test_news_of_a_blob_that_nobody_takes_part_in_are_nothing() -> None:
    coordinator = a_coordinator()
    coordinator.pieces_gained(ANNE, BLOB.id, [PieceIndex(0)])
    coordinator.blob_left(ANNE, BLOB.id, 0.0)
    coordinator.lapse(1.0)

    assert coordinator.next_commands(1.0) == []
    assert len(coordinator.tasks) == 0
    assert coordinator.blob_retired(a_blob_id()) == []


def test_a_retired_blob_is_told_to_all_who_hold_it_and_are_there() -> None:
    coordinator = a_coordinator(anne="##..", leech="#...")
    join(coordinator, a_peer_id("stranger"), "####", reading=False)

    assert coordinator.blob_retired(BLOB.id) == [1, 3]
    assert coordinator.blob_retired(BLOB.id) == []


def test_an_old_connection_that_ends_takes_nothing_away_from_the_new_one() -> None:
    coordinator = a_coordinator(anne="##..")
    coordinator.peer_came(a_member(ANNE, 9))
    coordinator.peer_left(ANNE, 1, 0.0)
    assert isinstance(coordinator.piece_asked(BERT, BLOB, PieceIndex(0), 0.0), Redirect)

    coordinator.peer_left(ANNE, 9, 0.0)
    assert coordinator.piece_asked(BERT, BLOB, PieceIndex(0), 0.0) == Serve()


class CoordinatorMachine(RuleBasedStateMachine):
    """A coordinator against every order of events, with a model of who is there and what it holds."""

    peers = (*(a_peer_id(f"peer {at}") for at in range(9)), LEECH)
    blobs = (BLOB, a_blob(PIECES, name="b"))

    def __init__(self) -> None:
        super().__init__()
        self.coordinator = Coordinator()
        self.now = 0.0
        self.sessions = 0
        self.there: dict[PeerId, int] = {}
        self.held: dict[BlobId, dict[PeerId, set[int]]] = {blob.id: {} for blob in self.blobs}
        self.reading: dict[BlobId, set[PeerId]] = {blob.id: set() for blob in self.blobs}
        self.granted: dict[tuple[BlobId, int, PeerId], float] = {}
        self.sent_away: dict[tuple[BlobId, int, PeerId], int] = {}

    one_peer = st.sampled_from(peers)
    one_blob = st.sampled_from(blobs)
    pieces = st.sets(st.integers(0, PIECES - 1))

    def some_peer(self, at: int) -> PeerId:
        return sorted(self.there)[at % len(self.there)]

    @rule(peer=one_peer, region=st.sampled_from(["", "", "eu"]))
    def a_peer_connects(self, peer: PeerId, region: str) -> None:
        self.sessions += 1
        self.there[peer] = self.sessions
        address = "" if peer == LEECH else f"10.0.0.1:{self.sessions}"
        self.coordinator.peer_came(Member(peer_id=peer, session=self.sessions, address=address, location=region, version=""))

    @precondition(lambda self: self.there)
    @rule(at=st.integers(0, 99), newest=st.booleans())
    def a_connection_ends(self, at: int, newest: bool) -> None:
        peer = self.some_peer(at)
        self.coordinator.peer_left(peer, self.there[peer] if newest else self.there[peer] - 1, self.now)
        if newest:
            del self.there[peer]
            for blob in self.blobs:
                self.leave(peer, blob.id)

    @precondition(lambda self: self.there)
    @rule(at=st.integers(0, 99), blob=one_blob, pieces=pieces, reading=st.booleans())
    def a_peer_joins(self, at: int, blob: Blob, pieces: set[int], reading: bool) -> None:
        peer = self.some_peer(at)
        decision = self.coordinator.blob_joined(peer, blob, Bitmap.of(PIECES, pieces), reading=reading, now=self.now)
        self.held[blob.id][peer] = set(pieces)
        (self.reading[blob.id].add if reading else self.reading[blob.id].discard)(peer)
        assert len(decision.neighbours) <= FIRST_NEIGHBOURS
        assert bool(decision.neighbours) <= reading
        for member in decision.neighbours:
            assert member.peer_id != peer
            assert member.peer_id in self.held[blob.id]
            self.check_reachable(member)

    @rule(peer=one_peer, blob=one_blob, pieces=pieces)
    def a_peer_gains(self, peer: PeerId, blob: Blob, pieces: set[int]) -> None:
        self.coordinator.pieces_gained(peer, blob.id, map(PieceIndex, pieces))
        if peer in self.held[blob.id]:
            self.held[blob.id][peer] |= pieces
            for piece in pieces:
                self.sent_away.pop((blob.id, piece, peer), None)

    @rule(peer=one_peer, blob=one_blob)
    def a_peer_leaves_a_blob(self, peer: PeerId, blob: Blob) -> None:
        self.coordinator.blob_left(peer, blob.id, self.now)
        self.leave(peer, blob.id)

    @rule(blob=one_blob)
    def a_blob_is_retired(self, blob: Blob) -> None:
        told = self.coordinator.blob_retired(blob.id)
        assert sorted(told) == sorted(self.there[peer] for peer in self.held[blob.id])
        for peer in list(self.held[blob.id]):
            self.leave(peer, blob.id)

    @precondition(lambda self: self.there)
    @rule(at=st.integers(0, 99), blob=one_blob, piece=st.integers(0, PIECES - 1), ahead=st.integers(0, 3), held=st.booleans())
    def a_peer_asks(self, at: int, blob: Blob, piece: int, ahead: int, held: bool) -> None:
        peer = self.some_peer(at)
        key = (blob.id, piece, peer)
        decision = self.coordinator.piece_asked(peer, blob, PieceIndex(piece), self.now, ahead=ahead, held=held)
        if peer not in self.held[blob.id]:
            self.held[blob.id][peer] = set()
            self.reading[blob.id].add(peer)
        match decision:
            case Serve():
                self.granted[key] = self.now
                self.sent_away.pop(key, None)
            case Redirect(holders):
                assert self.sent_away.get(key, 0) < MOST_REDIRECTS, "whoever comes back is served in the end"
                assert 0 < len(holders) <= MOST_HOLDERS
                assert len(set(holders)) == len(holders)
                for member in holders:
                    assert member.peer_id != peer
                    self.check_reachable(member)
                    since = self.granted.get((blob.id, piece, member.peer_id), float("-inf"))
                    has = piece in self.held[blob.id].get(member.peer_id, set())
                    assert has or self.now - since < GRANT_LASTS_S + TELL_EVERY_S[0]
                self.sent_away[key] = self.sent_away.get(key, 0) + 1

    @precondition(lambda self: self.granted)
    @rule(at=st.integers(0, 99), through=st.booleans())
    def a_piece_was_sent(self, at: int, through: bool) -> None:
        blob_id, piece, peer = sorted(self.granted)[at % len(self.granted)]
        self.coordinator.piece_sent(peer, blob_id, PieceIndex(piece), through=through)

    @rule()
    def peers_are_told(self) -> None:
        by_session = {session: peer for peer, session in self.there.items()}
        for command in self.coordinator.next_commands(self.now):
            peer = by_session[command.session]
            assert peer in self.reading[command.blob_id]
            match command:
                case IntroducePeers(neighbours=neighbours):
                    for member in neighbours:
                        assert member.peer_id != peer
                        assert member.peer_id in self.held[command.blob_id]
                        self.check_reachable(member)
                case OfferPieces(pieces=pieces):
                    assert peer != LEECH
                    for piece in pieces:
                        assert piece not in self.held[command.blob_id][peer]
        assert self.coordinator.next_deadline() > self.now

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.coordinator.lapse(self.now)

    def check_reachable(self, member: Member) -> None:
        assert member.address
        assert member.session == self.there[member.peer_id]

    def leave(self, peer: PeerId, blob_id: BlobId) -> None:
        self.held[blob_id].pop(peer, None)
        self.reading[blob_id].discard(peer)
        self.sent_away = {one: times for one, times in self.sent_away.items() if (one[0], one[2]) != (blob_id, peer)}
        self.granted = {one: at for one, at in self.granted.items() if (one[0], one[2]) != (blob_id, peer)}

    @invariant()
    def what_is_known_equals_a_recount(self) -> None:
        assert {one.peer_id: one.session for one in self.coordinator.members.all()} == self.there
        for blob in self.blobs:
            task = self.coordinator.tasks.find(blob.id)
            participants = [] if task is None else list(task.participants())
            assert {one.peer_id: set(pieces_in(one.pieces)) for one in participants} == self.held[blob.id]
            assert {one.peer_id for one in participants if one.reading} == self.reading[blob.id]
            for one in participants:
                assert len(one.neighbours) <= MOST_NEIGHBOURS
                for other_id in one.neighbours:
                    other = task.find(other_id) if task is not None else None
                    assert other is not None
                    assert one.peer_id in other.neighbours
            for crowd in task.crowds() if task is not None else ():
                members = [one for one in participants if one.crowd is crowd]
                assert sorted(crowd.order) == sorted(one.peer_id for one in members)
                assert crowd.readers == sum(one.reading for one in members)
                for piece in range(PIECES):
                    assert crowd.copies.count(piece) == sum(one.pieces >> piece & 1 for one in members)
                assert crowd.seeding.standing <= OFFERS_AT_ONCE


TestCoordinatorMachine = CoordinatorMachine.TestCase
TestCoordinatorMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
