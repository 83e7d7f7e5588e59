import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.units import parse_rate, parse_size, show_rate, show_size


@pytest.mark.parametrize(("text", "size"), [
    ("0", 0),
    ("4096", 4096),
    ("500MiB", 500 * 2**20),
    ("20GB", 20 * 10**9),
    ("1.5 KiB", 1536),
    (" 2 tib ", 2 * 2**40),
    ("3k", 3000),
    ("7B", 7),
])  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e5", "1 PiB", "1MiB/s", "1.MiB", "9" * 400, "8388608 TiB", "nan", "inf"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a size|more than any disk"):
        parse_size(text)


@pytest.mark.parametrize(("text", "rate_bytes_per_s"), [
    ("20MB/s", 20_000_000),
    ("100Mbit/s", 12_500_000),
    ("8bit/s", 1),
    ("1KiB/s", 1024),
    ("1.5 Gbit/s", 187_500_000),
])  # fmt: skip
def test_rates(text: str, rate_bytes_per_s: int) -> None:
    assert parse_rate(text) == rate_bytes_per_s


@pytest.mark.parametrize("text", ["", "20MB", "0B/s", "7bit/s", "-1MB/s", "20MB/h", "9" * 400 + "B/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a rate|a rate must not be"):
        parse_rate(text)


@pytest.mark.parametrize(("size", "shown"), [
    (0, "0 B"),
    (1023, "1023 B"),
    (1536, "1.5 KiB"),
    (1.5 * 2**20, "1.5 MiB"),
    (2**30, "1.0 GiB"),
    (2**40, "1.0 TiB"),
    (2**50, "1024.0 TiB"),
])  # fmt: skip
def test_sizes_for_people(size: float, shown: str) -> None:
    assert show_size(size) == shown


@pytest.mark.parametrize(("rate", "shown"), [
    (20_000_000, "20MB/s"),
    (12_500_000, "12.5MB/s"),
    (999, "999B/s"),
    (8_000, "8kB/s"),
    (2_500_000_000, "2.5GB/s"),
])  # fmt: skip
def test_rates_for_people(rate: int, shown: str) -> None:
    assert show_rate(rate) == shown


@given(st.integers(1, 1 << 62))
def test_a_shown_rate_is_a_rate_again(rate: int) -> None:
    assert parse_rate(show_rate(rate)) == pytest.approx(rate, rel=0.001)


@given(st.integers(0, 1 << 62))
def test_a_shown_size_is_a_size_again(size: int) -> None:
    assert parse_size(show_size(size)) == pytest.approx(size, rel=0.06)
