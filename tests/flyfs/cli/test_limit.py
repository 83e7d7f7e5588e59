"""``flyfs limit`` on a file of its own."""

import re
from contextlib import closing

import pytest

from flyfs.cli.limit import describe
from flyfs.limit.limit_file import LimitFile, Rates
from tests.flyfs.cli.conftest import Host

SET = re.compile(r"set     \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ by process (\d+)\n\Z")


def test_before_anybody_set_one_there_is_no_limit(host: Host) -> None:
    assert host.run("limit") == (0, "receive off\nsend    off\n", "")


def test_what_is_set_stays_until_it_is_set_again_each_direction_by_itself(host: Host) -> None:
    status, out, err = host.run("limit", "--receive", "20MB/s")
    assert (status, err) == (0, "")
    assert out.startswith("receive 20MB/s\nsend    off\n")
    assert SET.search(out)

    assert host.run("limit", "--send", "100Mbit/s")[1].startswith("receive 20MB/s\nsend    12.5MB/s\n")
    assert host.run("limit")[1].startswith("receive 20MB/s\nsend    12.5MB/s\n")
    assert host.run("limit", "--receive", "off")[1].startswith("receive off\nsend    12.5MB/s\n")


def test_it_is_what_running_processes_see(host: Host) -> None:
    with closing(LimitFile.open(host.runtime / "limit")) as file:
        assert host.run("limit", "--receive", "1MB/s", "--send", "2MB/s")[0] == 0
        assert (file.rates().receive, file.rates().send) == (1_000_000, 2_000_000)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--receive", "1B/s"], "--receive: '1B/s' is not a rate of at least 8kB/s, such as 20MB/s or 100Mbit/s, or off"),
        (["--send", "20MB"], "--send: '20MB' is not a rate"),
        (["20MB/s"], "20MB/s"),
    ],
)
def test_what_is_no_limit_is_refused_and_changes_nothing(host: Host, arguments: list[str], said: str) -> None:
    status, out, err = host.run("limit", *arguments)

    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not host.runtime.exists()


def test_a_place_that_cannot_be_written_is_told(host: Host) -> None:
    host.runtime.write_text("no directory")

    status, out, err = host.run("limit", "--receive", "1MB/s")

    assert (status, out) == (1, "")
    assert "the host's rate limit cannot be shared" in err
    assert "choose another place with --runtime-dir" in err


def test_who_set_it_and_when_is_told_in_utc() -> None:
    rates = Rates(receive=20_000_000, send=None, changes=3, changed_by=4711, changed_at_s=1_777_890_030.9)

    assert describe(rates) == "receive 20MB/s\nsend    off\nset     2026-05-04T10:20:30Z by process 4711\n"
