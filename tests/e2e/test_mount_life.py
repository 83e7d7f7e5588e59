"""How a mount begins and ends: always clean, never in the way of another one."""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Mount, has_ended, run_bounded, wait_until
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(60)]

MIB = 1024 * 1024
CONTENT = random.Random(1).randbytes(3 * MIB)


@pytest.fixture
def file(root: Path) -> Path:
    place = root / "file"
    place.write_bytes(CONTENT)
    return place


def assert_nothing_left(fleet: Fleet, mount: Mount, children: list[int]) -> None:
    assert not mount.is_mounted
    assert has_ended(mount.pid)
    assert all(has_ended(child) for child in children)
    assert [path.name for path in fleet.runtime_directory.iterdir()] == ["limit"], "which all processes of the host share"
    assert list(mount.mountpoint.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_mount_cleanly(
    fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader, number: signal.Signals
) -> None:
    mount = fleet.planned_mount("m")
    mount.start_in_foreground()
    assert reader.get("stat", path=mount.path(origin.authority, "file"))["st_size"] == len(CONTENT)
    children = mount.child_pids
    assert len(children) == 1

    assert mount.stop(number) == 0

    assert_nothing_left(fleet, mount, children)


@pytest.mark.parametrize("how", ["flyfs umount", "umount"])
def test_unmounting_ends_the_daemon(fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader, how: str) -> None:
    mount = fleet.planned_mount("m")
    mount.start_in_foreground()
    assert reader.get("stat", path=mount.path(origin.authority, "file"))["st_size"] == len(CONTENT)
    children = mount.child_pids

    finished = mount.umount() if how == "flyfs umount" else run_bounded(["umount", mount.mountpoint])

    assert (finished.status, finished.stdout, finished.stderr) == (0, "", "")
    assert has_ended(mount.pid, within_s=10)
    assert mount._reap() == 0
    wait_until(lambda: all(has_ended(child) for child in children), "the embedded supernode ends")
    assert_nothing_left(fleet, mount, children)


def test_an_end_waits_neither_for_open_files_nor_for_readers_that_wait_for_bytes(
    fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader
) -> None:
    mount = fleet.planned_mount("m")
    mount.start_in_foreground()
    path = mount.path(origin.authority, "file")
    reader.get("open", path=path)
    origin.pause()
    with Reader.started() as waiting:
        waiting.begin("digest", path=path)
        wait_until(lambda: mount.status()["open_files"] == 2, "the other reader has opened it")

        assert mount.stop() == 0

        answer = waiting.finish(timeout_s=10)
        assert answer.error in ("EIO", "ECONNABORTED", "ENOTCONN")
    origin.resume()
    assert_nothing_left(fleet, mount, [])


def test_a_working_directory_on_the_mount_holds_nothing_up(fleet: Fleet, origin: NginxOrigin, file: Path) -> None:
    mount = fleet.mount("m")
    with subprocess.Popen(["sleep", "60"], cwd=mount.path(origin.authority)) as standing:
        finished = mount.umount()
        assert (finished.status, finished.stderr) == (0, "")
        assert not mount.is_mounted
        standing.kill()
    assert_nothing_left(fleet, mount, [])


def test_after_a_crash_the_embedded_supernode_ends_and_the_next_mount_cleans_up(
    fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader
) -> None:
    mount = fleet.mount("m")
    path = mount.path(origin.authority, "file")
    assert reader.get("stat", path=path)["st_size"] == len(CONTENT)
    (child,) = mount.child_pids

    mount.kill()

    assert has_ended(child, within_s=5)
    assert mount.is_mounted
    assert reader.ask("statvfs", path=mount.mountpoint).error == "ENOTCONN"
    finished = fleet.run("status", mount.mountpoint)
    assert finished.status == 1
    assert "dead" in finished.stderr
    mount.start()
    assert reader.get("stat", path=path)["st_size"] == len(CONTENT)
    assert mount.umount().status == 0
    assert_nothing_left(fleet, mount, [])


def test_umount_cleans_up_after_a_crash_too(fleet: Fleet) -> None:
    mount = fleet.mount("m")
    children = mount.child_pids
    mount.kill()

    finished = mount.umount()

    assert (finished.status, finished.stderr) == (0, "")
    assert not mount.is_mounted
    assert all(has_ended(child, within_s=5) for child in children)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same runtime directory", "another runtime directory"])
def test_a_live_mount_is_never_taken_over(fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader, elsewhere: bool) -> None:
    mount = fleet.mount("m")
    words = [*mount.words, "--cache", fleet.directory / "another cache"]
    words += ["--runtime-dir", fleet.directory / "run"] if elsewhere else []

    finished = run_bounded(words, env=fleet.environment)

    assert finished.status in (1, 2)
    assert len(finished.stderr.splitlines()) == 1
    assert str(mount.mountpoint) in finished.stderr
    assert str(mount.pid) in finished.stderr or elsewhere
    assert reader.get("stat", path=mount.path(origin.authority, "file"))["st_size"] == len(CONTENT)
    assert not has_ended(mount.pid)


def test_a_paused_daemon_is_alive(fleet: Fleet) -> None:
    mount = fleet.mount("m")
    os.kill(mount.pid, signal.SIGSTOP)
    try:
        finished = run_bounded(mount.words, env=fleet.environment)
        assert finished.status in (1, 2)
        assert str(mount.pid) in finished.stderr
    finally:
        os.kill(mount.pid, signal.SIGCONT)
    assert mount.is_mounted


def test_a_cache_belongs_to_one_daemon(fleet: Fleet) -> None:
    mount = fleet.mount("m")
    other = fleet.planned_mount("other", "--cache", str(mount.cache))

    finished = run_bounded(other.words, env=fleet.environment)

    assert finished.status in (1, 2)
    assert str(mount.pid) in finished.stderr
    assert not other.is_mounted


def test_a_mountpoint_must_be_a_directory(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "missing"):
        finished = fleet.run("mount", tmp_path / name, "--cache", tmp_path / "cache")
        assert finished.status == 1
        assert f"{tmp_path / name} is not a directory" in finished.stderr


def test_a_cache_below_the_mountpoint_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    finished = fleet.run("mount", mountpoint, "--cache", mountpoint / "cache")
    assert finished.status == 2
    assert str(mountpoint / "cache") in finished.stderr


def test_mounting_and_unmounting_many_times_leaves_nothing(fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader) -> None:
    mount = fleet.planned_mount("m")
    for _ in range(3):
        mount.start()
        assert reader.get("read", path=mount.path(origin.authority, "file"), offset=0, size=10)["size"] == 10
        assert mount.umount().status == 0
        assert_nothing_left(fleet, mount, [])
    assert origin.log().most_often_sent("/file") == 1
