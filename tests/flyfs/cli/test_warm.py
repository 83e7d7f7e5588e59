"""What ``flyfs warm`` does around daemons, which are stood in for: whom it asks, what it tells, how it ends."""

import signal
from contextlib import closing

import pytest

from flyfs.cli.warm import Report
from flyfs.core.errors import NotFound, StoreFull, Unavailable
from flyfs.core.urls import parse_url
from flyfs.limit.limit_file import LimitFile
from tests.flyfs.cli.conftest import Host
from tests.support.fleet import wait_until

URL = "http://h.example/dir/file.bin"


def mount(host: Host, name: str = "mnt") -> None:
    assert host.run("mount", str(host.mountpoint(name)), "--cache", str(host.directory / f"cache of {name}"))[0] == 0


def warmed(host: Host) -> list[str]:
    """Who was asked for what, and whether on the supernode only."""
    place = host.runtime / "warmed"
    return place.read_text().splitlines() if place.exists() else []


def test_every_daemon_of_the_host_is_asked_for_every_url_once(host: Host) -> None:
    mount(host, "a")
    mount(host, "b")

    assert host.run("warm", URL, "http://h/other", URL) == (0, "", "")
    assert warmed(host) == ["a file.bin False", "b file.bin False", "a other False", "b other False"]


def test_the_daemon_is_told_where_it_shall_stay(host: Host) -> None:
    mount(host)

    assert host.run("warm", "--supernode-only", URL) == (0, "", "")
    assert host.run("warm", URL, "--local") == (0, "", "")
    assert warmed(host) == ["mnt file.bin True", "mnt file.bin False"]


@pytest.mark.parametrize("alone", [False, True], ids=["daemon", "alone"])
def test_what_fails_is_told_in_one_line_at_the_end_and_the_rest_is_warmed(host: Host, alone: bool) -> None:
    if not alone:
        mount(host, "a")
        mount(host, "b")

    status, out, err = host.run("warm", "http://h/missing", URL)

    assert (status, out) == (1, "")
    assert err == "flyfs: warm: http://h/missing: the origin has no such file\n", "the same of two daemons is said once"
    assert "file.bin" in warmed(host)[-1]


@pytest.mark.parametrize("options", [[], ["--supernode", "127.0.0.1:7400", "--supernode-only"], ["--no-origin"]])
def test_without_a_daemon_it_fetches_by_itself(host: Host, options: list[str]) -> None:
    assert host.run("warm", URL, *options) == (0, "", "")
    assert warmed(host) == [f"alone file.bin {'--supernode-only' in options}"]


def test_options_about_fetching_leave_the_daemon_out(host: Host) -> None:
    mount(host)

    assert host.run("warm", URL, "--no-origin") == (0, "", "")
    assert warmed(host) == ["alone file.bin False"]


def test_where_nothing_can_be_fetched_at_all_it_says_so(host: Host) -> None:
    assert host.run("warm", URL, fake="breaks") == (1, "", "flyfs: warm: the embedded supernode did not start\n")


def test_a_supernode_to_be_warmed_must_be_known(host: Host) -> None:
    status, out, err = host.run("warm", URL, "--supernode-only")

    assert (status, out) == (2, "")
    assert "there is no supernode and no mount to ask; name one with --supernode HOST:PORT" in err


def test_a_rate_limit_is_set_for_the_host(host: Host) -> None:
    mount(host)

    assert host.run("warm", URL, "--rate-limit", "1MB/s") == (0, "", "")
    with closing(LimitFile.open(host.runtime / "limit")) as file:
        assert (file.rates().receive, file.rates().send) == (1_000_000, 1_000_000)
    assert warmed(host) == ["mnt file.bin False"], "which is no reason to leave the daemon out"


@pytest.mark.parametrize("alone", [False, True], ids=["daemon", "alone"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_one_says_nothing_and_the_shell_why(host: Host, number: signal.Signals, status: int, alone: bool) -> None:
    if not alone:
        mount(host)
    with host.start("warm", "http://h/endless", "http://h/never") as process:
        wait_until(lambda: warmed(host), "it has begun")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (status, "", "")
    assert len(warmed(host)) == 1


def test_the_bar_is_about_what_was_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[str, int | None]] = []

    class Drawn:
        def begin(self, size: int | None) -> None:
            told.append(("begin", size))

        def advance(self, size: int) -> None:
            told.append(("advance", size))

    class Shown:
        def __init__(self, what: str) -> None:
            assert what == "file.bin"

        def __enter__(self) -> Drawn:
            return Drawn()

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("flyfs.cli.warm.shown_progress", Shown)
    with Report().of(parse_url(URL)) as tell:
        for held_bytes in (40, 40, 70, 100):
            tell(held_bytes, 100)

    assert told == [("begin", 60), ("advance", 0), ("advance", 30), ("advance", 30)]


def test_failures_are_raised_together_and_each_once() -> None:
    report = Report()
    report.raise_failures()
    for error in (NotFound("a"), StoreFull("b"), NotFound("a")):
        with report.of(parse_url(URL)):
            raise error

    with pytest.raises(Unavailable, match=r"\Aa; b\Z"):
        report.raise_failures()


def test_a_bug_is_not_a_failure_to_be_told() -> None:
    with pytest.raises(ZeroDivisionError), Report().of(parse_url(URL)):
        raise ZeroDivisionError
