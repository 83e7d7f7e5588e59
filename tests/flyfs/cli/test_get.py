import hashlib
import os
import pty
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flyfs.cli import get as get_command
from flyfs.cli import through_daemon
from flyfs.cli.get import get
from flyfs.cli.progress import shown_progress
from flyfs.cli.through_daemon import Sink
from flyfs.config.get import GetConfig, read_get_config
from flyfs.control.seen_path import seen_path
from flyfs.core.errors import Denied, FlyfsError, NotFound, Stale, Unavailable
from flyfs.core.urls import RemoteUrl, parse_url
from tests.flyfs.cli.conftest import Host

URL = "http://h.example/dir/file.bin"
ALONE = b"fetched alone"


def test_without_a_daemon_it_fetches_by_itself(host: Host) -> None:
    assert host.run("get", URL) == (0, "", "")
    assert (host.directory / "file.bin").read_bytes() == ALONE
    assert sorted(os.listdir(host.directory)) == ["file.bin"]


@pytest.mark.parametrize(
    ("fake", "said"),
    [
        ("missing", f"flyfs: get: {URL}: the origin has no such file\n"),
        ("breaks", "flyfs: get: the origin closed early\n"),
    ],
)
def test_a_failure_leaves_what_was_there(host: Host, fake: str, said: str) -> None:
    (host.directory / "file.bin").write_text("before")

    assert host.run("get", URL, fake=fake) == (1, "", said)
    assert (host.directory / "file.bin").read_text() == "before"
    assert os.listdir(host.directory) == ["file.bin"]


def test_the_digest_decides(host: Host) -> None:
    right, wrong = hashlib.sha256(ALONE).hexdigest(), "0" * 64

    status, _, err = host.run("get", URL, "--sha256", wrong)
    assert (status, err) == (
        1,
        f"flyfs: get: {host.directory}/file.bin: not written: the content has SHA-256 {right}, not {wrong}\n",
    )
    assert os.listdir(host.directory) == []
    assert host.run("get", URL, "--sha256", right.upper(), "-o", "right") == (0, "", "")
    assert os.listdir(host.directory) == ["right"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_fetch_leaves_no_trace(host: Host, number: signal.Signals, status: int) -> None:
    with host.start("get", URL, fake="hang") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "begun\n"
        assert len(os.listdir(host.directory)) == 1
        process.send_signal(number)
        out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (status, "", "")
    assert os.listdir(host.directory) == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["http://h/dir/"], 2, "names a directory; give a URL of a file"),
        ([URL, "-o", "."], 2, "is a directory; name a file in it with -o"),
        ([URL, "-o", "no/such/place"], 1, "cannot be written: No such file or directory; choose another file with -o"),
    ],
)
def test_a_place_that_cannot_be_written_is_told(host: Host, arguments: list[str], status: int, said: str) -> None:
    got, out, err = host.run("get", *arguments)

    assert (got, out) == (status, "")
    assert said in err
    assert err.count("\n") == 1


def test_dev_null_stays_what_it_is(host: Host) -> None:
    assert host.run("get", URL, "-o", "/dev/null") == (0, "", "")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


# -- through a daemon: its mount is a plain directory here -----------------------------------------------------------------


@pytest.fixture
def seen(host: Host) -> Path:
    """A running daemon, and the file that it shows for ``URL``."""
    tree = host.directory / "tree"
    path = tree / seen_path(parse_url(URL))
    path.parent.mkdir(parents=True)
    host.variables["FAKE_MOUNT"] = str(tree)
    assert host.run("mount", str(host.mountpoint()), "--cache", str(host.cache)) == (0, "", "")
    return path


def test_through_a_daemon_the_kernel_reads_it(host: Host, seen: Path) -> None:
    content = os.urandom(5_000_001)
    seen.write_bytes(content)

    assert host.run("get", URL, "-o", "copy", "--sha256", hashlib.sha256(content).hexdigest(), "--timeout", "30") == (0, "", "")
    assert (host.directory / "copy").read_bytes() == content


def test_an_empty_file_is_a_file(host: Host, seen: Path) -> None:
    seen.write_bytes(b"")

    assert host.run("get", URL) == (0, "", "")
    assert (host.directory / "file.bin").read_bytes() == b""


def test_what_the_mount_does_not_have_is_missing(host: Host, seen: Path) -> None:
    assert host.run("get", URL) == (1, "", f"flyfs: get: {URL}: the origin has no such file\n")


def test_a_directory_is_no_file(host: Host, seen: Path) -> None:
    seen.mkdir()

    assert host.run("get", URL) == (1, "", f"flyfs: get: {URL} is a directory; give the URL of a file\n")


def test_options_about_fetching_leave_the_daemon_out(host: Host, seen: Path) -> None:
    seen.write_text("from the daemon")

    assert host.run("get", URL, "--no-origin") == (0, "", "")
    assert (host.directory / "file.bin").read_bytes() == ALONE


def test_a_name_that_the_daemon_has_no_path_for_is_fetched_alone(host: Host, seen: Path) -> None:
    assert host.run("get", "http://h/" + "x" * 300, "-o", "long") == (0, "", "")
    assert (host.directory / "long").read_bytes() == ALONE


class Recorded:
    """Where a fetch without a daemon would go."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def __call__(self, config: GetConfig, url: RemoteUrl, sink: Sink) -> None:
        self.urls.append(str(url))
        sink.begin(5)
        sink.write(b"alone")


def config_for(host: Host, *arguments: str) -> GetConfig:
    return read_get_config([URL, "-o", str(host.directory / "out"), *arguments], host.environment(""))


def failing(number: int) -> object:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", ["EACCES", "EPERM", "ENOTCONN"])
def test_a_mount_that_does_not_let_us_in_is_left_out(
    host: Host, seen: Path, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open
    refused = failing(getattr(__import__("errno"), number))
    monkeypatch.setattr(through_daemon.os, "open", lambda path, *rest: refused() if str(path) == str(seen) else real(path, *rest))  # type: ignore[operator]
    fetch = Recorded()

    assert get(config_for(host), fetch) == 0
    assert fetch.urls == [URL]
    assert (host.directory / "out").read_bytes() == b"alone"


@pytest.mark.parametrize(
    ("number", "error", "said"),
    [
        ("EIO", Unavailable, "Input/output error; the daemon's log says why"),
        ("ESTALE", Stale, "changed while it was read; try again"),
        ("EACCES", Denied, "the origin, or the daemon, refuses; the daemon's log says which"),
    ],
)
def test_what_the_mount_says_while_reading_is_told(  # noqa: PLR0917 - a table and three fixtures
    host: Host, seen: Path, number: str, error: type[FlyfsError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen.write_text("something")
    monkeypatch.setattr(through_daemon.os, "readv", failing(getattr(__import__("errno"), number)))

    with pytest.raises(error) as caught:
        through_daemon.read_through_daemon([host.runtime], parse_url(URL), Silent(), timeout_s=None)
    assert said in caught.value.message


class Silent:
    def begin(self, size: int | None) -> None:
        self.size = size

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.last = bytes(data)


def test_a_file_that_ends_early_is_no_file(host: Host, seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen.write_text("something")
    monkeypatch.setattr(through_daemon.os, "readv", lambda *_: 0)

    with pytest.raises(Unavailable, match="ended after 0 of 9 bytes"):
        through_daemon.read_through_daemon([host.runtime], parse_url(URL), Silent(), timeout_s=None)


def test_the_time_limit_holds_through_a_daemon(host: Host, seen: Path) -> None:
    seen.write_text("something")

    with pytest.raises(Unavailable, match="did not arrive in time; give it longer with --timeout"):
        through_daemon.read_through_daemon([host.runtime], parse_url(URL), Silent(), timeout_s=-1)


def test_a_daemon_that_dies_at_the_open_is_told() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(Unavailable, match="Bad file descriptor"):
        through_daemon._copy(reading, parse_url(URL), Silent(), None)


def test_an_error_without_a_row_is_missing_or_unavailable() -> None:
    missing = through_daemon._error(parse_url(URL + "?secret"), FileNotFoundError(2, "No such file"))

    assert isinstance(missing, NotFound)
    assert "secret" not in missing.message


def test_a_terminal_sees_a_bar(host: Host) -> None:
    script = """
import sys
from flyfs.cli.progress import shown_progress
with shown_progress("file[bold].bin") as progress:
    progress.begin(None)
    progress.begin(2 * 1024 * 1024)
    progress.advance(1024 * 1024)
"""
    terminal, end = pty.openpty()
    environment = {**host.environment(""), "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=end, env=environment) as process:
        os.close(end)
        drawn = b""
        try:
            while data := os.read(terminal, 65536):
                drawn += data
        except OSError:
            pass  # EIO: the other end is closed
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(terminal)

    assert process.returncode == 0
    assert b"file[bold].bin" in drawn
    assert b"1.0/2.0 MiB" in drawn


def test_nobody_else_sees_anything(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("file") as progress:
        progress.begin(2)
        progress.advance(1)

    assert capsys.readouterr() == ("", "")


def test_the_real_fetch_is_asked_with_what_it_needs(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    fetching = type(sys)("flyfs.daemon.fetching")
    fetching.fetch = Recorded()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flyfs.daemon.fetching", fetching)
    sink = Silent()

    get_command._fetch_alone(config_for(host), parse_url(URL), sink)

    assert (sink.size, sink.last) == (5, b"alone")
