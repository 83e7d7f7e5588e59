from typing import Any

import pytest

from flyfs.core import option_kinds as kinds
from flyfs.core.address import Address
from flyfs.core.option_kinds import Consistency
from flyfs.core.verify import Verify


@pytest.mark.parametrize(
    ("kind", "good", "value"),
    [
        (kinds.RATE, "20MB/s", 20_000_000),
        (kinds.RATE, "64kbit/s", 8_000),
        (kinds.RATE, " Off ", 0),
        (kinds.SECONDS, "1.5", 1.5),
        (kinds.OCTAL, "022", 0o22),
        (kinds.OCTAL, "777", 0o777),
        (kinds.CONSISTENCY, "strict", Consistency(0)),
        (kinds.CONSISTENCY, "immutable", Consistency(float("inf"))),
        (kinds.CONSISTENCY, "ttl=2.5", Consistency(2.5)),
        (kinds.LOCATION, "eu|a", "eu|a"),
        (kinds.ORIGIN, "10.1.2.3", "10.1.2.3/32"),
        (kinds.ORIGIN, "10.1.2.3/8", "10.0.0.0/8"),
        (kinds.ORIGIN, "[fd00::1]", "fd00::1/128"),
        (kinds.ORIGIN, "Files.Example.ORG.", "files.example.org"),
        (kinds.SHA256, "AB" * 32, "ab" * 32),
        (kinds.LEVEL, "debug", "debug"),
        (kinds.PIECE_SIZE, "64KiB", 65536),
        (kinds.DESCRIPTOR, "7", 7),
        (kinds.VERIFY, "first-use", Verify.FIRST_USE),
        (kinds.IP_ADDRESS, "[::1]:53", Address("::1", 53)),
    ],
)
def test_each_kind_reads_what_people_write(kind: kinds.Kind[Any], good: str, value: object) -> None:
    assert kind.parse(good) == value


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (kinds.RATE, "7999B/s"),
        (kinds.RATE, "on"),
        (kinds.SECONDS, "0"),
        (kinds.SECONDS, "inf"),
        (kinds.SECONDS, "nan"),
        (kinds.OCTAL, "8"),
        (kinds.OCTAL, "1000"),
        (kinds.OCTAL, "0_1"),
        (kinds.CONSISTENCY, "ttl=0"),
        (kinds.CONSISTENCY, "loose"),
        (kinds.LOCATION, "a|b|c|d"),
        (kinds.LOCATION, "a||b"),
        (kinds.ORIGIN, "10.0.0.0/40"),
        (kinds.ORIGIN, "a b"),
        (kinds.ORIGIN, "host:80"),
        (kinds.SHA256, "ab"),
        (kinds.VERIFY, "FIRST_USE"),
        (kinds.LEVEL, "loud"),
        (kinds.PIECE_SIZE, "65537"),
        (kinds.PIECE_SIZE, "512"),
        (kinds.PATH, ""),
        (kinds.IP_ADDRESS, "host:53"),
        (kinds.IP_ADDRESS, "10.0.0.1"),
    ],
)
def test_each_kind_refuses_the_rest(kind: kinds.Kind[Any], bad: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is built above the kind
        kind.parse(bad)


@pytest.mark.parametrize("text", ["strict", "immutable", "ttl=10", "ttl=0.5"])
def test_a_consistency_is_shown_as_it_was_written(text: str) -> None:
    assert str(kinds.CONSISTENCY.parse(text)) == text
