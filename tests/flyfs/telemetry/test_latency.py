import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.telemetry.latency import LatencyWindow, Quantiles


def test_an_empty_window_tells_nothing() -> None:
    assert LatencyWindow().quantiles() == Quantiles(0.0, 0.0)


def test_quantiles_are_samples_in_milliseconds() -> None:
    window = LatencyWindow()
    for hundredth in range(1, 101):
        window.add(hundredth / 1000)

    assert window.quantiles() == Quantiles(50.0, 99.0)


def test_one_outlier_in_a_hundred_is_no_p99() -> None:
    window = LatencyWindow()
    for _ in range(99):
        window.add(0.001)
    window.add(10)

    assert window.quantiles() == Quantiles(1.0, 1.0)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50), st.integers(1, 20))
def test_only_the_latest_samples_count(samples: list[int], capacity: int) -> None:
    window = LatencyWindow(capacity)
    for sample in samples:
        window.add(sample)
    latest = sorted(samples[-capacity:])

    quantiles = window.quantiles()
    for quantile_ms, share in ((quantiles.p50_ms, 0.5), (quantiles.p99_ms, 0.99)):
        assert quantile_ms / 1000 in latest
        assert sum(sample <= quantile_ms / 1000 for sample in latest) >= share * len(latest)
        assert sum(sample < quantile_ms / 1000 for sample in latest) < share * len(latest)


def test_a_window_holds_something() -> None:
    with pytest.raises(ValueError, match="at least one"):
        LatencyWindow(0)
