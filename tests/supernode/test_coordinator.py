import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from supernode.coordinator import Coordinator, IntroducePeer, JoinDecision
from supernode.members import Member
from supernode.scheduler import MAX_HOLDERS, MAX_NEIGHBOURS, Redirect, Serve
from supernode.tasks import GRANT_LASTS_S
from tests.support.builders import a_blob, a_blob_id, a_peer_id, drawn

PIECES = 4
BLOB = a_blob(PIECES)
ANNE, BERT, LEECH = a_peer_id("anne"), a_peer_id("bert"), a_peer_id("leech")


def a_member(peer: PeerId, session: int) -> Member:
    address = "" if peer == LEECH else f"10.0.0.1:{session + 1}"
    return Member(peer_id=peer, session=session, address=address, location="", version="")


def a_coordinator(**joined: str) -> Coordinator:
    """Anne, Bert and a leech are connected at sessions 1, 2, 3 and read these pieces."""
    coordinator = Coordinator()
    for session, (name, peer) in enumerate((("anne", ANNE), ("bert", BERT), ("leech", LEECH)), 1):
        coordinator.peer_came(a_member(peer, session))
        if name in joined:
            coordinator.blob_joined(peer, BLOB, drawn(joined[name]), reading=True)
    return coordinator


def test_a_newcomer_meets_who_is_there_and_the_readers_among_them_hear_of_it() -> None:
    coordinator = a_coordinator(anne="##..")
    coordinator.blob_joined(LEECH, BLOB, drawn("...."), reading=False)

    decision = coordinator.blob_joined(BERT, BLOB, drawn("...."), reading=True)

    assert decision == JoinDecision((a_member(ANNE, 1),), (IntroducePeer(1, BLOB.id, a_member(BERT, 2)),))


def test_nobody_hears_of_a_leech_nor_of_a_stranger_nor_does_who_only_offers() -> None:
    coordinator = a_coordinator(anne="##..")
    assert coordinator.blob_joined(LEECH, BLOB, drawn("...."), reading=True) == JoinDecision((a_member(ANNE, 1),), ())
    assert coordinator.blob_joined(a_peer_id("stranger"), BLOB, drawn("...."), reading=True).introductions == ()

    coordinator.blob_joined(ANNE, BLOB, drawn("####"), reading=False)
    assert coordinator.blob_joined(BERT, BLOB, drawn("...."), reading=True) == JoinDecision((a_member(ANNE, 1),), ())


def test_one_that_turns_out_to_be_reachable_is_introduced_to_those_who_read_what_it_takes_part_in() -> None:
    coordinator = a_coordinator(bert="...#", leech="##..")
    other = a_blob(PIECES, name="other")
    coordinator.blob_joined(BERT, other, drawn("...."), reading=True)
    reached = Member(peer_id=LEECH, session=3, address="10.0.0.9:1", location="", version="")

    told = coordinator.peer_reached(reached, [BLOB.id, other.id, a_blob_id()])

    assert told == [IntroducePeer(2, BLOB.id, reached)]
    assert coordinator.members.find(LEECH) == reached
    stranger = Member(peer_id=a_peer_id("stranger"), session=9, address="10.0.0.8:1", location="", version="")
    assert coordinator.peer_reached(stranger, [BLOB.id]) == []
    assert coordinator.members.find(stranger.peer_id) is None


def test_who_only_offers_meets_nobody() -> None:
    coordinator = a_coordinator(anne="##..")

    assert coordinator.blob_joined(BERT, BLOB, drawn("#..."), reading=False) == JoinDecision((), ())


def test_news_of_a_blob_that_nobody_takes_part_in_are_nothing() -> None:
    coordinator = a_coordinator()
    coordinator.pieces_gained(ANNE, BLOB.id, [PieceIndex(0)])
    coordinator.blob_left(ANNE, BLOB.id)

    assert len(coordinator.tasks) == 0
    assert coordinator.blob_retired(a_blob_id()) == []


def test_a_retired_blob_is_told_to_all_who_hold_it_and_are_there() -> None:
    coordinator = a_coordinator(anne="##..", leech="#...")
    coordinator.blob_joined(a_peer_id("stranger"), BLOB, drawn("####"), reading=False)

    assert coordinator.blob_retired(BLOB.id) == [1, 3]
    assert coordinator.blob_retired(BLOB.id) == []


def test_an_old_connection_that_ends_takes_nothing_away_from_the_new_one() -> None:
    coordinator = a_coordinator(anne="##..")
    coordinator.peer_came(a_member(ANNE, 9))
    coordinator.peer_left(ANNE, 1)
    assert isinstance(coordinator.piece_asked(BERT, BLOB, PieceIndex(0), 0.0), Redirect)

    coordinator.peer_left(ANNE, 9)
    assert coordinator.piece_asked(BERT, BLOB, PieceIndex(0), 0.0) == Serve()


class CoordinatorMachine(RuleBasedStateMachine):
    """A coordinator against every order of events, with a model of who is there and what it holds."""

    peers = (ANNE, BERT, a_peer_id("carl"), LEECH)
    blobs = (BLOB, a_blob(PIECES, name="b"))

    def __init__(self) -> None:
        super().__init__()
        self.coordinator = Coordinator()
        self.now = 0.0
        self.sessions = 0
        self.there: dict[PeerId, int] = {}
        self.held: dict[BlobId, dict[PeerId, set[int]]] = {blob.id: {} for blob in self.blobs}
        self.granted: dict[tuple[BlobId, int, PeerId], float] = {}
        self.sent_away: set[tuple[BlobId, int, PeerId]] = set()

    one_peer = st.sampled_from(peers)
    one_blob = st.sampled_from(blobs)
    pieces = st.sets(st.integers(0, PIECES - 1))

    @rule(peer=one_peer)
    def a_peer_connects(self, peer: PeerId) -> None:
        self.sessions += 1
        self.there[peer] = self.sessions
        self.coordinator.peer_came(a_member(peer, self.sessions))

    @precondition(lambda self: self.there)
    @rule(at=st.integers(0, 99), newest=st.booleans())
    def a_connection_ends(self, at: int, newest: bool) -> None:
        peer = sorted(self.there)[at % len(self.there)]
        session = self.there[peer] if newest else self.there[peer] - 1
        self.coordinator.peer_left(peer, session)
        if newest:
            del self.there[peer]
            for blob in self.blobs:
                self.leave(peer, blob.id)

    @precondition(lambda self: self.there)
    @rule(at=st.integers(0, 99), blob=one_blob, pieces=pieces, reading=st.booleans())
    def a_peer_joins(self, at: int, blob: Blob, pieces: set[int], reading: bool) -> None:
        peer = sorted(self.there)[at % len(self.there)]
        decision = self.coordinator.blob_joined(peer, blob, Bitmap.of(PIECES, pieces), reading=reading)
        self.held[blob.id][peer] = set(pieces)
        assert len(decision.neighbours) <= MAX_NEIGHBOURS
        assert bool(decision.neighbours) <= reading
        met = [member.peer_id for member in decision.neighbours]
        assert met == sorted(met, key=lambda one: -len(self.held[blob.id][one]))
        for member in decision.neighbours:
            assert member.peer_id != peer
            self.check_reachable(member)
        for told in decision.introductions:
            assert told.newcomer.peer_id == peer
            assert told.session in [self.there[member.peer_id] for member in decision.neighbours]
            self.check_reachable(told.newcomer)

    @rule(peer=one_peer, blob=one_blob, pieces=pieces)
    def a_peer_gains(self, peer: PeerId, blob: Blob, pieces: set[int]) -> None:
        self.coordinator.pieces_gained(peer, blob.id, map(PieceIndex, pieces))
        if peer in self.held[blob.id]:
            self.held[blob.id][peer] |= pieces
            self.sent_away -= {(blob.id, piece, peer) for piece in pieces}

    @rule(peer=one_peer, blob=one_blob)
    def a_peer_leaves_a_blob(self, peer: PeerId, blob: Blob) -> None:
        self.coordinator.blob_left(peer, blob.id)
        self.leave(peer, blob.id)

    @rule(blob=one_blob)
    def a_blob_is_retired(self, blob: Blob) -> None:
        told = self.coordinator.blob_retired(blob.id)
        assert sorted(told) == sorted(self.there[peer] for peer in self.held[blob.id])
        self.held[blob.id].clear()
        self.forget_if_empty(blob.id)

    @precondition(lambda self: self.there)
    @rule(at=st.integers(0, 99), blob=one_blob, piece=st.integers(0, PIECES - 1))
    def a_peer_asks(self, at: int, blob: Blob, piece: int) -> None:
        peer = sorted(self.there)[at % len(self.there)]
        key = (blob.id, piece, peer)
        decision = self.coordinator.piece_asked(peer, blob, PieceIndex(piece), self.now)
        match decision:
            case Serve():
                self.granted[key] = self.now
                helpers = [one for one, held in self.held[blob.id].items() if piece in held and one not in (peer, LEECH)]
                assert not helpers or key in self.sent_away, "somebody else has it"
                self.sent_away.discard(key)
            case Redirect(holders):
                assert key not in self.sent_away, "whoever comes back is served"
                assert 0 < len(holders) <= MAX_HOLDERS
                for member in holders:
                    assert member.peer_id != peer
                    self.check_reachable(member)
                    since = self.granted.get((blob.id, piece, member.peer_id), float("-inf"))
                    held = self.held[blob.id].get(member.peer_id, set())
                    assert piece in held or self.now - since < GRANT_LASTS_S
                self.sent_away.add(key)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def check_reachable(self, member: Member) -> None:
        assert member.address
        assert member.session == self.there[member.peer_id]

    def leave(self, peer: PeerId, blob_id: BlobId) -> None:
        self.held[blob_id].pop(peer, None)
        self.sent_away = {one for one in self.sent_away if (one[0], one[2]) != (blob_id, peer)}
        self.granted = {one: at for one, at in self.granted.items() if (one[0], one[2]) != (blob_id, peer)}
        self.forget_if_empty(blob_id)

    def forget_if_empty(self, blob_id: BlobId) -> None:
        if self.coordinator.tasks.find(blob_id) is None:
            assert not self.held[blob_id]
            self.sent_away = {one for one in self.sent_away if one[0] != blob_id}

    @invariant()
    def what_is_known_equals_a_recount(self) -> None:
        assert {one.peer_id: one.session for one in self.coordinator.members.all()} == self.there
        for blob in self.blobs:
            task = self.coordinator.tasks.find(blob.id)
            holdings = {} if task is None else {peer: set(bitmap) for peer, bitmap in task.holdings.items()}
            assert holdings == self.held[blob.id]
            if task is not None:
                assert all(bitmap.count == len(holdings[peer]) for peer, bitmap in task.holdings.items())
                assert task.readers <= set(holdings)


TestCoordinatorMachine = CoordinatorMachine.TestCase
TestCoordinatorMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
