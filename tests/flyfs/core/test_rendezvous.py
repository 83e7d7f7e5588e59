from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given

from flyfs.core.address import Address
from flyfs.core.rendezvous import Candidate, ranked

FOUR = [Candidate(Address(f"s{number}", 7400)) for number in range(4)]
KEYS = [f"http://origin.test/{number}" for number in range(4000)]

candidates = st.builds(
    Candidate,
    st.builds(Address, st.sampled_from(["a", "b", "c", "d", "::1"]), st.integers(1, 3)),
    priority=st.integers(0, 2),
    weight=st.integers(0, 3),
)


@given(st.text(), st.lists(candidates, unique_by=lambda one: one.address), st.randoms())
def test_everybody_with_the_same_list_has_the_same_order_whatever_order_the_list_has(
    key: str, some: list[Candidate], chance
) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(some)
    chance.shuffle(shuffled)

    assert ranked(key, shuffled) == ranked(key, some)
    assert sorted(map(str, ranked(key, some))) == sorted(str(one.address) for one in some)


@given(st.text(), st.lists(candidates, unique_by=lambda one: one.address, min_size=1))
def test_who_leaves_takes_nothing_but_its_own_place(key: str, some: list[Candidate]) -> None:
    gone, *left = some

    assert ranked(key, left) == [address for address in ranked(key, some) if address != gone.address]


def test_keys_spread_evenly_and_so_do_those_of_one_that_is_gone() -> None:
    firsts = Counter(ranked(key, FOUR)[0].host for key in KEYS)
    seconds = Counter(ranked(key, FOUR)[1].host for key in KEYS if ranked(key, FOUR)[0].host == "s0")

    assert all(900 < count < 1100 for count in firsts.values()), firsts
    assert set(seconds) == {"s1", "s2", "s3"}
    assert all(250 < count < 420 for count in seconds.values()), seconds


def test_a_weight_of_three_draws_three_times_as_many_and_of_none_almost_nothing() -> None:
    some = [Candidate(Address("a", 1), weight=3), Candidate(Address("b", 1), weight=1), Candidate(Address("c", 1), weight=0)]
    firsts = Counter(ranked(key, some)[0].host for key in KEYS)

    assert 2.6 < firsts["a"] / firsts["b"] < 3.4
    assert firsts["c"] < 20


def test_a_lower_number_goes_first_whatever_the_weights() -> None:
    some = [Candidate(Address("spare", 1), priority=2, weight=100), Candidate(Address("first", 1), priority=1)]

    assert all(ranked(key, some)[0].host == "first" for key in KEYS[:100])


@pytest.mark.parametrize("key", ["http://origin.test/a", "http://origin.test/a\udc80"])
def test_the_order_never_changes_from_one_version_to_the_next(key: str) -> None:
    orders = {"http://origin.test/a": ["s1", "s0", "s2", "s3"], "http://origin.test/a\udc80": ["s0", "s3", "s2", "s1"]}

    assert [address.host for address in ranked(key, FOUR)] == orders[key]


def test_nobody_is_ranked_where_nobody_is() -> None:
    assert ranked("key", []) == []
