from collections import Counter

import hypothesis.strategies as st
from hypothesis import given

from flyfs.core.copies import Copies
from flyfs.core.masks import mask_of, pieces_in

PIECES = 24
holdings = st.lists(st.sets(st.integers(0, PIECES - 1)), max_size=12)


def counted(held: list[set[int]], gone: int) -> tuple[Copies, Counter[int]]:
    """All of ``held`` came, and the first ``gone`` of them left again."""
    copies = Copies()
    for one in held:
        copies.add(mask_of(one))
    for one in held[:gone]:
        copies.remove(mask_of(one))
    return copies, Counter(piece for one in held[gone:] for piece in one)


@given(holdings, st.integers(0, 12))
def test_the_counts_equal_a_recount(held: list[set[int]], gone: int) -> None:
    copies, counts = counted(held, gone)

    assert [copies.count(piece) for piece in range(PIECES)] == [counts[piece] for piece in range(PIECES)]
    assert set(pieces_in(copies.held())) == set(counts)


@given(holdings, st.sets(st.integers(0, PIECES - 1), min_size=1))
def test_the_fewest_are_all_of_those_held_least_often(held: list[set[int]], among: set[int]) -> None:
    copies, counts = counted(held, 0)
    least = min(counts[piece] for piece in among)

    assert set(pieces_in(copies.fewest(mask_of(among)))) == {piece for piece in among if counts[piece] == least}


@given(holdings, st.integers(0, 20))
def test_fewer_than_a_count_is_a_mask_to_be_cut_with(held: list[set[int]], count: int) -> None:
    copies, counts = counted(held, 0)

    fewer = copies.fewer_than(count) & mask_of(range(PIECES))
    assert set(pieces_in(fewer)) == {piece for piece in range(PIECES) if counts[piece] < count}
