import pytest

from flyfs.core.location import closeness, region_of


@pytest.mark.parametrize(("location", "region"), [("", ""), ("eu", "eu"), ("eu|a|r1", "eu")])
def test_the_first_label_is_the_region(location: str, region: str) -> None:
    assert region_of(location) == region


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [("", "", 1), ("eu", "us", 0), ("eu|a", "eu|b", 1), ("eu|a|r1", "eu|a|r1", 3), ("eu|a", "eu|a|r1", 2), ("us|a", "eu|a", 0)],
)
def test_hosts_are_as_close_as_labels_agree_from_the_first_on(one: str, other: str, shared: int) -> None:
    assert closeness(one, other) == closeness(other, one) == shared
