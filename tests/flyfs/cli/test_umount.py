import ctypes
import os
import select
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyfs.cli import umount
from flyfs.cli.main import main
from flyfs.control.client import find_daemons
from flyfs.control.mounts import mount_at
from tests.flyfs.cli.conftest import Host


def test_what_is_not_mounted_is_a_failure(host: Host) -> None:
    place = host.mountpoint()

    assert host.run("umount", str(place)) == (
        1,
        "",
        f"flyfs: umount: {place} is not mounted; flyfs status lists the mounts of this host\n",
    )


def test_a_mount_of_another_kind_is_left_alone(host: Host) -> None:
    assert host.run("umount", "/proc") == (
        1,
        "",
        "flyfs: umount: /proc is a proc mount, not one of flyfs; end it with umount\n",
    )


def test_a_daemon_that_does_not_answer_is_told_by_signal(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyfs.control.client._ANSWER_S", 0.05)
    monkeypatch.setenv("FLYFS_RUNTIME_DIR", str(host.runtime))
    monkeypatch.setenv("FLYFS_CONFIG", "/dev/null")
    place = str(host.mountpoint())
    assert host.run("mount", place, "--cache", str(host.cache), fake="deaf")[0] == 0
    (daemon,) = find_daemons([host.runtime])
    ended = os.pidfd_open(daemon.pid)

    assert main(["umount", place]) == 0
    assert select.select([ended], [], [], 0)[0] == [ended]
    assert find_daemons([host.runtime]) == []
    os.close(ended)


def test_a_daemon_that_does_not_end_is_told_of(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(umount, "_GONE_S", 0.05)
    monkeypatch.setenv("FLYFS_RUNTIME_DIR", str(host.runtime))
    monkeypatch.setenv("FLYFS_CONFIG", "/dev/null")
    place = str(host.mountpoint())
    assert host.run("mount", place, "--cache", str(host.cache))[0] == 0
    (daemon,) = find_daemons([host.runtime])
    os.kill(daemon.pid, signal.SIGSTOP)
    monkeypatch.setattr("flyfs.control.client._ANSWER_S", 0.05)
    try:
        assert main(["umount", place]) == 1
    finally:
        os.kill(daemon.pid, signal.SIGKILL)

    said = capsys.readouterr().err
    assert (
        said == f"flyfs: umount: the daemon {daemon.pid} did not end within 0 s (unmounted); end it with: kill -9 {daemon.pid}\n"
    )


@pytest.fixture
def hung_mount() -> Iterator[Path]:
    """A FUSE mount whose daemon never answers: whoever asks it for anything waits for ever."""
    libc = ctypes.CDLL(None, use_errno=True)
    with tempfile.TemporaryDirectory(prefix="flyfs-") as directory:
        place = Path(directory).resolve() / "hung"
        place.mkdir()
        device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
        assert libc.mount(b"flyfs", os.fsencode(place), b"fuse.flyfs", 7, options) == 0, os.strerror(ctypes.get_errno())
        try:
            yield place
        finally:
            libc.umount2(os.fsencode(place), 2)
            os.close(device)


@pytest.mark.fuse
def test_a_hung_mount_hangs_no_command_and_is_detached(host: Host, hung_mount: Path) -> None:
    place = str(hung_mount)
    guard = threading.Timer(60, lambda: os.kill(os.getpid(), signal.SIGINT))
    guard.start()
    try:
        assert host.run("status", place) == (
            1,
            "",
            f"flyfs: status: the daemon of {place} is dead; clean up with: flyfs umount {place}\n",
        )
        assert host.run("mount", place, "--cache", str(host.cache), fake="refuse")[0] == 1
        status, _, said = host.run("mount", place, "--cache", f"{place}/cache")
        assert (status, "lies under the mountpoint" in said) == (2, True)
        status, _, said = host.run("get", "http://h/a", "-o", f"{place}/a")
        assert (status, "which is read-only" in said) == (2, True)
        assert host.run("umount", place) == (0, "", "")
        assert mount_at(place) is None
    finally:
        guard.cancel()


@pytest.mark.fuse
def test_a_user_detaches_through_the_system_helper(hung_mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = mount_at(str(hung_mount))
    assert found is not None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    umount._detach(found)

    assert mount_at(str(hung_mount)) is None


def test_a_missing_or_refusing_helper_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(umount.Unavailable, match="cannot be unmounted: fusermount3: "):
        umount._run_fusermount("/mnt/x")
    helper = tmp_path / "fusermount3"
    helper.write_text("#!/bin/sh\necho 'no such entry' >&2; exit 1\n")
    helper.chmod(0o755)
    with pytest.raises(umount.Unavailable, match="^/mnt/x cannot be unmounted: no such entry$"):
        umount._run_fusermount("/mnt/x")
