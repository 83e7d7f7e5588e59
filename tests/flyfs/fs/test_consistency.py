from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.fs.consistency import CONSTANT_TIMEOUT_S, FOREVER_S, OFFLINE_S, Freshness, valid_offline


def test_under_ttl_mount_and_supernode_share_the_seconds() -> None:
    freshness = Freshness(10.0)

    assert freshness.question_age_s == 10.0
    assert freshness.fresh(100.0, 110.0)
    assert not freshness.fresh(100.0, 110.1)
    assert freshness.timeout_s(100.0, 104.0) == 6.0
    assert freshness.timeout_s(100.0, 111.0) == 0.0
    assert freshness.absent_timeout_s(100.0, 104.0) == 6.0


def test_strict_joins_questions_within_100_ms_and_lets_the_kernel_keep_nothing() -> None:
    freshness = Freshness(0.0)

    assert freshness.question_age_s == 0.0
    assert freshness.fresh(100.0, 100.1 - 1e-9)
    assert not freshness.fresh(100.0, 100.2)
    assert not freshness.absent_fresh(100.0, 100.2)
    assert freshness.timeout_s(100.0, 100.0) == 0.0
    assert freshness.absent_timeout_s(100.0, 100.0) == 0.0


def test_immutable_never_asks_again_but_believes_in_an_absence_for_seconds_only() -> None:
    freshness = Freshness(inf)

    assert freshness.question_age_s == FOREVER_S
    assert freshness.fresh(0.0, 1e9)
    assert freshness.timeout_s(0.0, 1e6) == CONSTANT_TIMEOUT_S
    assert freshness.absent_fresh(0.0, 10.0)
    assert not freshness.absent_fresh(0.0, 10.1)
    assert freshness.absent_timeout_s(0.0, 4.0) == 6.0


@pytest.mark.parametrize("age", [-1.0, nan])
def test_what_is_no_age_is_refused(age: float) -> None:
    with pytest.raises(ValueError, match="not an age"):
        Freshness(age)


def test_while_nobody_can_be_asked_ten_minutes_count() -> None:
    assert valid_offline(0.0, OFFLINE_S - 1)
    assert not valid_offline(0.0, OFFLINE_S)


@given(st.floats(0, 1e9), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_timeout_never_outlasts_the_setting(max_age_s: float, as_of: float, age_s: float) -> None:
    freshness = Freshness(max_age_s)

    timeout_s = freshness.timeout_s(as_of, as_of + age_s)

    assert 0 <= timeout_s <= CONSTANT_TIMEOUT_S
    assert timeout_s <= max(max_age_s - age_s, 0) + 1e-3
