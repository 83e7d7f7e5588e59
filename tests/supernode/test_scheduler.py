from flyfs.core.ids import PeerId, PieceIndex
from supernode.members import Member, Members
from supernode.scheduler import MAX_HOLDERS, MAX_NEIGHBOURS, Redirect, Serve, choose_neighbours, decide_piece
from supernode.tasks import GRANT_LASTS_S, Task
from tests.support.builders import a_blob, a_peer_id, drawn

PIECE = PieceIndex(0)
READER = a_peer_id("reader")


def a_swarm(*pictures: str, leeches: int = 0) -> tuple[Task, Members, list[PeerId]]:
    """A task whose holders have these pieces; the last ones have no address."""
    task, members = Task(a_blob(4)), Members()
    peers = [a_peer_id(f"peer {at}") for at in range(len(pictures))]
    for at, (peer, picture) in enumerate(zip(peers, pictures, strict=True)):
        task.joined(peer, drawn(picture), reading=True)
        address = f"10.0.0.{at}:7402" if at < len(pictures) - leeches else ""
        members.came(Member(peer_id=peer, session=at, address=address, location="", version=""))
    return task, members, peers


def neighbours(task: Task, members: Members, peer: PeerId = READER) -> list[PeerId]:
    return [member.peer_id for member in choose_neighbours(task, peer, members)]


def test_a_reader_meets_those_who_hold_most_first() -> None:
    task, members, peers = a_swarm("#...", "####", "##..")

    assert neighbours(task, members) == [peers[1], peers[2], peers[0]]


def test_nobody_meets_itself_nor_leeches_nor_the_absent() -> None:
    task, members, peers = a_swarm("####", "####", "####", leeches=1)
    task.joined(a_peer_id("absent"), drawn("####"), reading=False)

    assert neighbours(task, members, peers[0]) == [peers[1]]


def test_readers_meet_at_most_a_dozen_and_spread_over_equals() -> None:
    task, members, peers = a_swarm(*["####"] * 40)
    met = [tuple(neighbours(task, members, a_peer_id(f"reader {at}"))) for at in range(30)]

    assert {len(one) for one in met} == {MAX_NEIGHBOURS}
    assert len(set(met)) == 30
    assert {peer for one in met for peer in one} == set(peers), "each of the equals is met by somebody"
    assert neighbours(task, members, a_peer_id("reader 3")) == list(met[3]), "the same each time"


def test_the_first_copy_is_served() -> None:
    task, members, _ = a_swarm("....")

    assert decide_piece(task, PIECE, READER, members, 0.0) == Serve()


def test_who_has_the_piece_is_named_a_few_at_a_time_and_readers_spread() -> None:
    task, members, peers = a_swarm(*["#..."] * 20)
    named = [decide_piece(task, PIECE, a_peer_id(f"reader {at}"), members, 0.0) for at in range(50)]

    holders = [tuple(holder.peer_id for holder in one.holders) for one in named if isinstance(one, Redirect)]
    assert {len(one) for one in holders} == {MAX_HOLDERS}
    assert {one[0] for one in holders} >= set(peers[:10])


def test_who_is_receiving_the_piece_is_named_where_nobody_has_it_yet() -> None:
    task, members, peers = a_swarm("....", "....")
    task.granted(PIECE, peers[0], 5.0)

    decision = decide_piece(task, PIECE, peers[1], members, 6.0)
    assert decision == Redirect((members.find(peers[0]),))  # type: ignore[arg-type]
    assert decide_piece(task, PIECE, peers[0], members, 6.0) == Serve(), "who asks twice has lost it"
    assert decide_piece(task, PIECE, peers[1], members, 5.0 + GRANT_LASTS_S) == Serve()


def test_leeches_and_the_absent_are_never_named() -> None:
    task, members, peers = a_swarm("#...", leeches=1)
    task.joined(a_peer_id("absent"), drawn("#..."), reading=False)
    assert decide_piece(task, PIECE, READER, members, 0.0) == Serve()

    for peer in (peers[0], a_peer_id("absent")):
        task.granted(PieceIndex(1), peer, 0.0)
        assert decide_piece(task, PieceIndex(1), READER, members, 0.1) == Serve()


def test_whoever_comes_back_after_a_redirect_is_served() -> None:
    task, members, _ = a_swarm("#...")
    assert isinstance(decide_piece(task, PIECE, READER, members, 0.0), Redirect)
    task.redirected(PIECE, READER)

    assert decide_piece(task, PIECE, READER, members, 0.0) == Serve()
