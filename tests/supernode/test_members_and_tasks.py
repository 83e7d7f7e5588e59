from flyfs.core.ids import PeerId, PieceIndex
from supernode.members import Member, Members
from supernode.tasks import Task, Tasks
from tests.support.builders import a_blob, a_blob_id, a_peer_id, drawn

ANNE, BERT = a_peer_id("anne"), a_peer_id("bert")
BLOB = a_blob(4)
FIRST = PieceIndex(0)


def a_member(peer: PeerId, session: int = 1, *, address: str = "127.0.0.1:1", location: str = "") -> Member:
    return Member(peer_id=peer, session=session, address=address, location=location, version="")


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


def test_a_leech_is_a_member_but_named_to_nobody() -> None:
    members = Members()
    members.came(a_member(ANNE, address=""))

    assert members.find(ANNE) is not None
    assert members.named(ANNE) is None
    assert members.named(BERT) is None


def test_a_members_region_is_the_first_label_of_its_location() -> None:
    assert a_member(ANNE, location="eu|a|r1").region == "eu"


def test_holders_come_in_the_order_of_joining_without_the_asker() -> None:
    task = Task(BLOB)
    task.joined(BERT, "", drawn("##.."), reading=True)
    task.joined(ANNE, "eu", drawn("#..."), reading=False)

    assert list(task.holders(FIRST, but=a_peer_id())) == [BERT, ANNE]
    assert list(task.holders(FIRST, but=BERT)) == [ANNE]


def test_what_a_stranger_gains_is_forgotten() -> None:
    task = Task(BLOB)
    task.gained(ANNE, [FIRST])

    assert len(task) == 0
    assert task.left(ANNE) == []


def test_a_host_that_moved_to_another_region_takes_part_there() -> None:
    task = Task(BLOB)
    task.joined(ANNE, "eu", drawn("#..."), reading=True)
    task.joined(ANNE, "us", drawn("##.."), reading=True)

    (crowd,) = task.crowds()
    assert (crowd.region, crowd.order, crowd.readers, crowd.copies.held()) == ("us", [ANNE], 1, 0b11)


def test_who_leaves_is_nobodys_neighbour_any_more() -> None:
    task = Task(BLOB)
    anne = task.joined(ANNE, "", drawn("#..."), reading=True)
    bert = task.joined(BERT, "", drawn("#..."), reading=True)
    anne.neighbours.add(BERT)
    bert.neighbours.add(ANNE)

    assert task.left(ANNE) == [bert]
    assert bert.neighbours == set()


def test_a_task_lasts_as_long_as_somebody_takes_part() -> None:
    tasks = Tasks()
    task = tasks.begin(BLOB)
    assert tasks.begin(BLOB) is task
    for peer in (ANNE, BERT):
        tasks.joined(peer, BLOB.id)
        task.joined(peer, "", drawn("...."), reading=True)
    assert tasks.of_peer(ANNE) == tasks.all() == [task]

    tasks.left(ANNE, BLOB.id)
    tasks.left(ANNE, a_blob_id("another"))
    assert (len(tasks), tasks.find(BLOB.id), tasks.of_peer(ANNE)) == (1, task, [])
    tasks.left(BERT, BLOB.id)
    assert (len(tasks), tasks.find(BLOB.id)) == (0, None)


def test_a_retired_blob_has_no_task() -> None:
    tasks = Tasks()
    tasks.begin(BLOB).joined(ANNE, "", drawn("...."), reading=True)
    tasks.joined(ANNE, BLOB.id)
    tasks.forget(BLOB.id)
    tasks.forget(BLOB.id)

    assert (len(tasks), tasks.of_peer(ANNE)) == (0, [])
