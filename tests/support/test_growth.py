"""How much a crash cost, in bytes and in seconds."""

import pytest

from tests.support.growth import Growth


@pytest.fixture
def growth() -> Growth:
    found = Growth()
    for when_s, held_bytes in ((10.0, 0), (11.0, 100), (12.0, 300), (13.0, 400), (13.5, 400)):
        found.seen(when_s, held_bytes)
    return found


@pytest.mark.parametrize(("size_bytes", "age_s"), [(0, 0.0), (-5, 0.0), (1, 1.5), (100, 1.5), (101, 2.5), (400, 3.5), (500, 3.5)])
def test_the_age_of_lost_bytes_reaches_back_to_the_look_at_which_none_of_them_was_there(
    growth: Growth, size_bytes: int, age_s: float
) -> None:
    assert growth.age_of_last(size_bytes) == age_s


@pytest.mark.parametrize(("seconds", "gained"), [(0.1, 0), (0.5, 0), (1.5, 100), (2.0, 100), (2.5, 300), (60.0, 400)])
def test_what_came_lately_is_what_the_last_looks_gained(growth: Growth, seconds: float, gained: int) -> None:
    assert growth.gained_within(seconds) == gained
