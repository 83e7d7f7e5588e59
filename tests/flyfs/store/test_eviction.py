"""Eviction: how much room there is, when more is made, and who goes."""

from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.grid import GIB, MIB
from flyfs.core.ids import BlobId
from flyfs.store.eviction import BIG, Candidate, Disk, DropBlob, DropPieces, Room, plan_eviction, reserve_bytes, room_of


def unused(name: str, held_bytes: int) -> Candidate:
    return Candidate(blob_id=BlobId(name), droppable_bytes=held_bytes)


def in_use(name: str, droppable_bytes: int) -> Candidate:
    return Candidate(blob_id=BlobId(name), droppable_bytes=droppable_bytes, in_use=True)


def whole(name: str) -> DropBlob:
    return DropBlob(BlobId(name))


def pieces(name: str, size_bytes: int) -> DropPieces:
    return DropPieces(BlobId(name), size_bytes)


def a_room(left_bytes: int = 0, *, batch_bytes: int = 10, left_inodes: int | None = None) -> Room:
    return Room(left_bytes=left_bytes, batch_bytes=batch_bytes, capacity_bytes=1000, left_inodes=left_inodes)


# -- room --------------------------------------------------------------------------------------------------------------


def test_the_reserve_is_small_on_a_small_disk_and_bounded_on_a_large_one() -> None:
    assert (reserve_bytes(10 * MIB), reserve_bytes(1000 * GIB)) == (10 * MIB // 100, 64 * MIB)


def test_room_is_what_the_limit_and_the_disks_reserve_leave_less_what_was_promised() -> None:
    disk = Disk(free_bytes=60, whole_bytes=1000)  # of which 10 are reserved

    assert room_of(used_bytes=90, promised_bytes=5, limit_bytes=None, disk=disk).left_bytes == 45
    assert room_of(used_bytes=90, promised_bytes=5, limit_bytes=200, disk=disk).left_bytes == 45
    assert room_of(used_bytes=90, promised_bytes=5, limit_bytes=100, disk=disk).left_bytes == 5
    assert room_of(used_bytes=90, promised_bytes=15, limit_bytes=100, disk=disk).left_bytes == -5


def test_the_capacity_is_what_is_held_and_what_may_come() -> None:
    disk = Disk(free_bytes=60, whole_bytes=1000, free_inodes=7)

    assert room_of(used_bytes=90, promised_bytes=0, limit_bytes=None, disk=disk).capacity_bytes == 140
    assert room_of(used_bytes=90, promised_bytes=0, limit_bytes=100, disk=disk).capacity_bytes == 100
    full = room_of(used_bytes=3, promised_bytes=0, limit_bytes=None, disk=Disk(free_bytes=0, whole_bytes=1000))
    assert (full.capacity_bytes, full.batch_bytes, full.left_inodes) == (0, 0, None)


def test_a_batch_is_a_sixteenth_of_a_small_store_and_one_syncs_worth_of_a_large_one() -> None:
    disk = Disk(free_bytes=GIB, whole_bytes=GIB)
    small = room_of(used_bytes=0, promised_bytes=0, limit_bytes=160 * MIB, disk=disk)
    large = room_of(used_bytes=500 * GIB, promised_bytes=0, limit_bytes=None, disk=disk)

    assert (small.batch_bytes, large.batch_bytes) == (10 * MIB, 64 * MIB)


def test_eviction_begins_with_less_than_a_batch_left_and_ends_with_two() -> None:
    assert (a_room(10).is_short, a_room(9).is_short) == (False, True)
    assert (a_room(9).wish_bytes, a_room(-5).wish_bytes, a_room(30).wish_bytes) == (11, 25, 0)


def test_a_promise_needs_bytes_and_inodes_where_those_are_counted() -> None:
    assert a_room(5).fits(5, 99)
    assert not a_room(5).fits(6, 0)
    assert a_room(5, left_inodes=2).fits(5, 2)
    assert not a_room(5, left_inodes=2).fits(5, 3)
    assert (a_room(left_inodes=2).missing_inodes(5), a_room(left_inodes=9).missing_inodes(5)) == (3, 0)
    assert a_room().missing_inodes(5) == 0


# -- who goes ----------------------------------------------------------------------------------------------------------


def test_the_least_recently_used_go_first_and_whole_but_no_empty_ones() -> None:
    by_age = [in_use("a", 50), unused("b", 0), unused("c", 5), unused("d", 5), unused("e", 5)]

    assert plan_eviction(by_age, must_bytes=6, wish_bytes=6, can_punch=True) == (whole("c"), whole("d"))
    assert plan_eviction(by_age, must_bytes=1, wish_bytes=15, can_punch=True) == (whole("c"), whole("d"), whole("e"))
    assert plan_eviction(by_age, must_bytes=0, wish_bytes=0, can_punch=True) == ()


def test_then_the_largest_in_use_loses_its_coldest_pieces() -> None:
    by_age = [in_use("a", 3), unused("b", 5), in_use("c", 20), in_use("d", 0)]

    assert plan_eviction(by_age, must_bytes=10, wish_bytes=10, can_punch=True) == (whole("b"), pieces("c", 5))
    assert plan_eviction(by_age, must_bytes=1, wish_bytes=99, can_punch=True) == (whole("b"), pieces("c", 20), pieces("a", 3))


def test_a_big_blob_that_nobody_uses_loses_pieces_too() -> None:
    by_age = [unused("a", 3), unused("big", 10 * BIG + 1), unused("c", 5)]

    assert plan_eviction(by_age, must_bytes=10, wish_bytes=10, can_punch=True) == (whole("a"), pieces("big", 7))
    by_age[1] = unused("big", 10 * BIG)
    assert plan_eviction(by_age, must_bytes=10, wish_bytes=10, can_punch=True) == (whole("a"), whole("big"))


def test_where_files_cannot_lose_pieces_only_unused_blobs_go_and_whole() -> None:
    by_age = [in_use("a", 30), unused("big", 500)]

    assert plan_eviction(by_age, must_bytes=10, wish_bytes=10, can_punch=False) == (whole("big"),)
    assert plan_eviction(by_age[:1], must_bytes=10, wish_bytes=10, can_punch=False) == ()


def test_nothing_goes_where_all_together_would_not_help() -> None:
    by_age = [unused("a", 5), in_use("b", 3)]

    assert plan_eviction(by_age, must_bytes=9, wish_bytes=99, can_punch=True) == ()
    assert plan_eviction(by_age, must_bytes=8, wish_bytes=99, can_punch=True) == (whole("a"), pieces("b", 3))


def test_blobs_go_for_the_sake_of_their_inodes_big_and_empty_ones_too() -> None:
    by_age = [unused("empty", 0), in_use("a", 5), unused("big", 1000), unused("c", 5)]

    assert plan_eviction(by_age, must_bytes=0, wish_bytes=0, can_punch=True, must_blobs=2) == (whole("empty"), whole("big"))
    assert plan_eviction(by_age, must_bytes=0, wish_bytes=0, can_punch=True, must_blobs=4) == ()


@given(
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=12),
    st.integers(0, 60),
    st.integers(0, 60),
    st.booleans(),
    st.integers(0, 3),
)
def test_a_plan_frees_enough_and_no_victim_is_superfluous(
    blobs: list[tuple[int, bool]], must: int, wish: int, can_punch: bool, must_blobs: int
) -> None:
    by_age = [Candidate(blob_id=BlobId(str(at)), droppable_bytes=held, in_use=used) for at, (held, used) in enumerate(blobs)]
    held_of = {one.blob_id: one for one in by_age}

    plan = plan_eviction(by_age, must_bytes=must, wish_bytes=wish, can_punch=can_punch, must_blobs=must_blobs)

    sizes = [held_of[one.blob_id].droppable_bytes if isinstance(one, DropBlob) else one.size_bytes for one in plan]
    goes_whole = [one for one in plan if isinstance(one, DropBlob)]
    movable = sum(one.droppable_bytes for one in by_age if can_punch or not one.in_use)
    possible = movable >= must and sum(not one.in_use for one in by_age) >= must_blobs
    assert len({one.blob_id for one in plan}) == len(plan)
    assert not any(held_of[one.blob_id].in_use for one in goes_whole)
    if not possible:
        assert plan == ()
    else:
        assert sum(sizes) >= min(max(must, wish), movable)
        assert len(goes_whole) >= must_blobs
    for one, size in zip(plan, sizes, strict=True):
        assert size <= held_of[one.blob_id].droppable_bytes
    if plan and len(goes_whole) > must_blobs:
        assert sum(sizes[:-1]) < max(must, wish)
    for one in plan:
        assert can_punch or isinstance(one, DropBlob)
