import json
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from flyfs.cli.background import ReadyPipe
from flyfs.control.client import find_daemons
from tests.flyfs.cli.conftest import Host


def mount(host: Host, *arguments: str, fake: str = "", name: str = "mnt") -> tuple[int, str, str]:
    return host.run("mount", str(host.mountpoint(name)), "--cache", str(host.cache), *arguments, fake=fake)


def logged(host: Host) -> list[dict[str, object]]:
    return [json.loads(line) for line in (host.cache / "flyfs.log").read_text().splitlines() if line.startswith("{")]


def wait_until(true: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 30
    while not true():
        assert time.monotonic() < ends_at
        time.sleep(0.005)


def test_it_returns_once_the_mount_answers_and_the_daemon_goes_on(host: Host) -> None:
    assert mount(host) == (0, "", "")

    (daemon,) = find_daemons([host.runtime])
    assert daemon.status()["mountpoint"] == str(host.mountpoint())
    (line,) = logged(host)
    assert (line["event"], line["cwd"], line["session"]) == ("fake.mount.ready", "/", True)
    for descriptor in Path(f"/proc/{daemon.pid}/fd").iterdir():
        assert "pipe:" not in os.readlink(descriptor), "the starting command's pipes are closed"
    assert host.run("umount", str(host.mountpoint())) == (0, "", "")
    assert find_daemons([host.runtime]) == []


def test_relative_paths_are_those_of_where_it_was_started(host: Host) -> None:
    host.mountpoint()

    assert host.run("mount", "mnt", "--cache", "cache") == (0, "", "")
    assert (host.cache / "flyfs.log").exists()
    assert host.run("umount", "mnt") == (0, "", "")


def test_a_daemon_that_refuses_tells_why_through_the_command(host: Host) -> None:
    assert mount(host, fake="refuse") == (
        1,
        "",
        f"flyfs: mount: {host.cache} is used by the daemon 4711; choose another place with --cache\n",
    )


def test_a_failure_in_a_nursery_is_told_as_itself(host: Host) -> None:
    assert mount(host, fake="group") == (1, "", "flyfs: mount: the embedded supernode did not start\n")


def test_a_bug_in_the_daemon_is_told_with_the_place_of_its_traceback(host: Host) -> None:
    log = host.cache / "flyfs.log"

    assert mount(host, fake="crash") == (1, "", f"flyfs: mount: the daemon failed: ZeroDivisionError: a bug; see {log}\n")
    (line,) = logged(host)
    assert line["event"] == "daemon.run.failed"
    assert "ZeroDivisionError: a bug" in str(line["exception"])


def test_a_daemon_that_dies_leaves_its_last_words_in_the_log(host: Host) -> None:
    log = host.cache / "flyfs.log"

    assert mount(host, fake="die") == (
        1,
        "",
        f"flyfs: mount: the daemon ended with status 3 before the mount answered; its last words are in {log}\n",
    )
    assert log.read_text() == "a fatal word\n"


def test_an_interrupted_command_ends_the_daemon_it_was_starting(host: Host) -> None:
    with host.start("mount", str(host.mountpoint()), "--cache", str(host.cache), fake="hang") as process:
        wait_until(lambda: (host.cache / "flyfs.log").exists() and "begun" in (host.cache / "flyfs.log").read_text())
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        daemon = os.pidfd_open(int(child))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (130, "", "")
    assert select.select([daemon], [], [], 30)[0] == [daemon]
    os.close(daemon)


def test_a_daemon_whose_command_is_gone_does_not_stay() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        pipe = ReadyPipe(writing)
        pipe.ready()
        pipe.failed("told once only")
    finally:
        signal.signal(signal.SIGTERM, before)

    assert received == [signal.SIGTERM]


def test_in_the_foreground_it_logs_to_stderr_and_ends_with_a_signal(host: Host) -> None:
    with host.start("mount", str(host.mountpoint()), "--cache", str(host.cache), "--foreground") as process:
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)

    assert line["event"] == "fake.mount.ready"
    assert (process.returncode, out, err) == (0, "", "")
    assert not (host.cache / "flyfs.log").exists()


def test_in_the_foreground_a_refusal_is_one_line(host: Host) -> None:
    status, out, err = mount(host, "--foreground", fake="refuse")

    assert (status, out) == (1, "")
    assert err == f"flyfs: mount: {host.cache} is used by the daemon 4711; choose another place with --cache\n"


def test_a_mountpoint_must_be_there(host: Host) -> None:
    place = host.directory / "nowhere"

    assert host.run("mount", str(place), "--cache", str(host.cache)) == (
        1,
        "",
        f"flyfs: mount: {place} is not a directory; make it with: mkdir -p {place}\n",
    )
    assert not host.cache.exists()


def test_a_cache_that_cannot_be_written_is_told(host: Host) -> None:
    host.cache.write_text("a file")

    assert mount(host) == (
        1,
        "",
        f"flyfs: mount: {host.cache}: cannot be written: File exists; choose another place with --cache\n",
    )


def test_a_cache_under_the_mountpoint_is_refused(host: Host) -> None:
    place = host.mountpoint()

    status, _, err = host.run("mount", str(place), "--cache", str(place / "cache"))
    assert status == 2
    assert err == f"flyfs: mount: --cache: {place}/cache lies under the mountpoint {place}; choose a place outside\n"


def test_modules_in_the_current_directory_are_not_run(host: Host) -> None:
    (host.directory / "trio.py").write_text("raise SystemExit('hijacked')")

    assert mount(host) == (0, "", "")
    assert host.run("umount", str(host.mountpoint())) == (0, "", "")
