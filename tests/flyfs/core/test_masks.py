import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.bitmap import Bitmap
from flyfs.core.masks import lowest_in, mask_of, mask_of_range, pieces_in

pieces = st.sets(st.integers(0, 300))


@given(pieces)
def test_a_mask_is_a_set(some: set[int]) -> None:
    assert list(pieces_in(mask_of(some))) == sorted(some)
    assert Bitmap.of(301, some).mask == mask_of(some)


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_range_is_the_set_of_its_pieces(start: int, stop: int) -> None:
    assert mask_of_range(range(start, stop)) == mask_of(range(start, stop))


@pytest.mark.parametrize(("start", "found"), [(0, 2), (2, 2), (3, 5), (5, 5), (6, 2), (100, 2)])
def test_the_lowest_is_searched_from_a_place_on_and_then_from_the_start(start: int, found: int) -> None:
    assert lowest_in(mask_of([2, 5]), start) == found
