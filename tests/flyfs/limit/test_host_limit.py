"""Which file counts, who sets it, and that a new one is noticed."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from flyfs.core.errors import ConfigError
from flyfs.limit.host_limit import LOOK_NS, HostLimit, limit_path
from flyfs.limit.limit_file import LimitFile


class Clock:
    def __init__(self) -> None:
        self.now_ns = 5 * LOOK_NS

    def __call__(self) -> int:
        return self.now_ns


def set_rates(path: Path, rate: int) -> None:
    file = LimitFile.open(path)
    file.set_rates(receive=rate, send=rate)
    file.close()


def test_a_rate_that_is_given_is_set_for_all_and_told(tmp_path: Path) -> None:
    with HostLimit.open([tmp_path]) as first, capture_logs() as logs, HostLimit.open([tmp_path], 500) as second:
        assert first.receive.limited
        assert first.send.rate == second.send.rate == 500
        assert first.directory == tmp_path

    set_event, changed = logs
    assert set_event["event"] == "limit.rates.set"
    assert set_event["rate"] == 500
    assert set_event["receive_before"] is None
    assert (changed["event"], changed["receive"], changed["by"]) == ("limit.rates.changed", 500, os.getpid())


def test_no_rate_leaves_what_was_set_and_off_lifts_it(tmp_path: Path) -> None:
    with HostLimit.open([tmp_path], 500):
        pass
    with HostLimit.open([tmp_path]) as host:
        assert host.receive.rate == 500
        with HostLimit.open([tmp_path], 0):
            assert not host.receive.limited


def test_the_file_of_the_whole_host_counts_where_there_is_one(tmp_path: Path) -> None:
    own, whole = tmp_path / "own", tmp_path / "whole"
    assert limit_path([own, whole]) == own / "limit"
    with HostLimit.open([whole]):
        pass
    assert limit_path([own, whole]) == whole / "limit"
    assert limit_path([own]) == own / "limit"


def test_without_a_place_nothing_is_limited_unless_a_limit_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with capture_logs() as logs, HostLimit.open([tmp_path / "file"]) as host:
        assert not host.receive.limited
        assert host.directory is None
    assert [event["event"] for event in logs] == ["limit.file.refused"]

    with pytest.raises(ConfigError, match="--runtime-dir"):
        HostLimit.open([tmp_path / "file"], 500)


def test_a_file_that_replaced_ours_is_taken_within_a_second_of_traffic(tmp_path: Path) -> None:
    path, clock = tmp_path / "limit", Clock()
    with HostLimit(LimitFile.open(path), clock_ns=clock) as host:
        assert not host.receive.limited
        path.unlink()
        set_rates(path, 700)
        assert not host.receive.limited, "no look on every slice"
        clock.now_ns += LOOK_NS
        assert host.receive.limited
        assert host.receive.rate == 700

        path.unlink()
        path.mkdir()
        clock.now_ns += LOOK_NS
        with capture_logs() as logs:
            assert host.receive.rate == 700
            assert host.receive.limited, "who still maps the old one goes on together"
        assert [event["event"] for event in logs] == ["limit.file.lost"]


async def test_after_the_end_nothing_is_limited(tmp_path: Path) -> None:
    host = HostLimit.open([tmp_path], 500)
    with host:
        assert host.receive.limited
    assert not host.receive.limited
    host.receive.charge(1)
    host.look()
    assert await host.lock()
    host.unlock()
