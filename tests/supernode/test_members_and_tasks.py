import pytest

from flyfs.core.ids import PeerId, PieceIndex
from supernode.members import Member, Members
from supernode.tasks import GRANT_LASTS_S, Task, Tasks
from tests.support.builders import a_blob, a_blob_id, a_peer_id, drawn

ANNE, BERT = a_peer_id("anne"), a_peer_id("bert")
BLOB = a_blob(4)
FIRST = PieceIndex(0)


def a_member(peer: PeerId, session: int = 1) -> Member:
    return Member(peer_id=peer, session=session, address="127.0.0.1:1", location="", version="")


def test_a_peers_newest_connection_counts() -> None:
    members = Members()
    members.came(a_member(ANNE, 1))
    members.came(a_member(ANNE, 2))

    assert not members.left(ANNE, 1)
    assert members.find(ANNE) == a_member(ANNE, 2)
    assert members.left(ANNE, 2)
    assert members.find(ANNE) is None
    assert not members.left(ANNE, 2)


def test_all_members_are_listed_and_counted() -> None:
    members = Members()
    members.came(a_member(ANNE))
    members.came(a_member(BERT))

    assert (len(members), members.all()) == (2, [a_member(ANNE), a_member(BERT)])


def test_holders_come_in_the_order_of_joining_without_the_asker() -> None:
    task = Task(BLOB)
    task.joined(BERT, drawn("##.."), reading=True)
    task.joined(ANNE, drawn("#..."), reading=False)

    assert task.holders(FIRST, but=a_peer_id()) == [BERT, ANNE]
    assert task.holders(FIRST, but=BERT) == [ANNE]
    assert task.readers == {BERT}
    task.joined(BERT, drawn("####"), reading=False)
    assert task.readers == set()


def test_what_a_stranger_gains_is_forgotten() -> None:
    task = Task(BLOB)
    task.gained(ANNE, [FIRST])

    assert task.holdings == {}


def test_a_grant_names_its_receiver_until_it_has_the_piece_or_is_late_or_gone() -> None:
    task = Task(BLOB)
    task.joined(ANNE, drawn("...."), reading=True)
    task.granted(FIRST, ANNE, 10.0)
    assert task.receiver(FIRST, BERT, 10.0) == ANNE
    assert task.receiver(FIRST, ANNE, 10.0) is None
    assert task.receiver(PieceIndex(1), BERT, 10.0) is None
    assert task.receiver(FIRST, BERT, 10.0 + GRANT_LASTS_S) is None

    task.gained(ANNE, [FIRST])
    assert task.receiver(FIRST, BERT, 10.0) is None
    assert task.holders(FIRST, BERT) == [ANNE]
    task.granted(PieceIndex(1), ANNE, 10.0)
    task.left(ANNE)
    assert task.receiver(PieceIndex(1), BERT, 10.0) is None


def test_a_redirect_is_remembered_until_the_piece_is_there_or_sent_or_its_peer_gone() -> None:
    task = Task(BLOB)
    task.joined(ANNE, drawn("...."), reading=True)
    for piece in range(3):
        task.redirected(PieceIndex(piece), ANNE)
    task.redirected(FIRST, BERT)
    task.gained(ANNE, [FIRST])
    task.granted(PieceIndex(1), ANNE, 0.0)

    assert [task.was_redirected(PieceIndex(piece), ANNE) for piece in range(3)] == [False, False, True]
    task.left(ANNE)
    assert not task.was_redirected(PieceIndex(2), ANNE)
    assert task.was_redirected(FIRST, BERT)


def test_a_task_lasts_as_long_as_somebody_takes_part() -> None:
    tasks = Tasks()
    task = tasks.begin(BLOB)
    assert tasks.begin(BLOB) is task
    for peer in (ANNE, BERT):
        task.joined(peer, drawn("...."), reading=True)

    tasks.left(ANNE, BLOB.id)
    tasks.left(ANNE, a_blob_id("another"))
    assert (len(tasks), tasks.find(BLOB.id)) == (1, task)
    tasks.left(BERT)
    assert (len(tasks), tasks.find(BLOB.id)) == (0, None)


def test_a_retired_blob_has_no_task() -> None:
    tasks = Tasks()
    tasks.begin(BLOB)
    tasks.forget(BLOB.id)
    tasks.forget(BLOB.id)

    assert len(tasks) == 0


@pytest.mark.parametrize("piece", [4, 100])
def test_a_piece_beyond_the_grid_is_an_error_of_the_caller(piece: int) -> None:
    task = Task(BLOB)
    task.joined(ANNE, drawn("...."), reading=True)

    with pytest.raises(IndexError):
        task.gained(ANNE, [PieceIndex(piece)])
