"""Eviction: how much room is missing, and who goes."""

from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.grid import GIB, MIB
from flyfs.core.ids import BlobId
from flyfs.store.eviction import Candidate, plan_eviction, reserve_bytes, shortfall_bytes


def candidate(name: str, used_bytes: int, *, pinned: bool = False) -> Candidate:
    return Candidate(blob_id=BlobId(name), used_bytes=used_bytes, pinned=pinned)


def test_the_reserve_is_small_on_a_small_disk_and_bounded_on_a_large_one() -> None:
    assert (reserve_bytes(10 * MIB), reserve_bytes(1000 * GIB)) == (10 * MIB // 100, 64 * MIB)


def test_room_is_missing_where_the_limit_or_the_reserve_would_be_broken() -> None:
    assert shortfall_bytes(wanted=10, used=90, limit=100, free=60, reserve=50) == 0
    assert shortfall_bytes(wanted=11, used=90, limit=100, free=99, reserve=50) == 1
    assert shortfall_bytes(wanted=10, used=90, limit=None, free=50, reserve=50) == 10
    assert shortfall_bytes(wanted=10, used=95, limit=100, free=52, reserve=50) == 8


def test_the_least_recently_used_go_first_but_never_pinned_or_empty_ones() -> None:
    by_age = [candidate("a", 5, pinned=True), candidate("b", 0), candidate("c", 5), candidate("d", 5), candidate("e", 5)]

    assert plan_eviction(by_age, 6) == ("c", "d")
    assert plan_eviction(by_age, 5) == ("c",)


def test_nothing_is_evicted_where_it_would_not_help() -> None:
    assert plan_eviction([candidate("a", 5), candidate("b", 5, pinned=True)], 6) == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans())), st.integers(1, 50))
def test_a_plan_frees_enough_and_no_victim_is_superfluous(blobs: list[tuple[int, bool]], needed: int) -> None:
    by_age = [candidate(str(at), used, pinned=pinned) for at, (used, pinned) in enumerate(blobs)]
    sizes = {one.blob_id: one.used_bytes for one in by_age if not one.pinned}
    plan = plan_eviction(by_age, needed)

    assert bool(plan) == (sum(sizes.values()) >= needed)
    if plan:
        assert sum(sizes[blob_id] for blob_id in plan) >= needed > sum(sizes[blob_id] for blob_id in plan[:-1])
