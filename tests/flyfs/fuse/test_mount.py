"""Real mounts, served by a child process."""

import errno
import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from flyfs.fuse.detaching import is_dead, mount_at
from tests.flyfs.fuse.conftest import ServedMount

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(60)]


def errno_of(call: object, *args: object) -> int:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # which one is the point
        call(*args)  # type: ignore[operator]
    return caught.value.errno or 0


def test_a_tree_looks_like_the_directory_behind_it(served: ServedMount) -> None:
    served.put("a.bin", b"alpha")
    served.put("sub dir/b#%41.bin", b"bravo")
    served.put("empty", b"")
    os.utime(served.root / "h.test" / "a.bin", (1_700_000_123, 1_700_000_123))
    served.start()

    status = (served.host / "a.bin").stat()
    assert (status.st_size, status.st_mtime, status.st_mode & 0o7777) == (5, 1_700_000_123, 0o555)
    assert (status.st_blksize, status.st_blocks, status.st_uid) == (131072, 1, os.getuid())
    assert sorted(os.listdir(served.host)) == ["a.bin", "empty", "sub dir"]
    assert (served.host / "sub dir" / "b#%2541.bin").read_bytes() == b"bravo"
    assert (served.host / "empty").read_bytes() == b""
    assert sorted(os.listdir(served.path)) == [".fly", "http", "https"]
    assert os.listdir(served.path / "http") == ["h.test"]
    listed = subprocess.run(["ls", "-laR", str(served.path)], capture_output=True, timeout=20, check=True)
    assert listed.stderr == b""


def test_random_reads_by_many_threads_give_the_bytes_of_the_file(served: ServedMount) -> None:
    content = random.Random(1).randbytes(5_000_001)
    served.put("big", content)
    served.start()
    wrong: list[tuple[int, int]] = []

    def read(seed: int) -> None:
        chance = random.Random(seed)
        descriptor = os.open(served.host / "big", os.O_RDONLY)
        for _ in range(60):
            offset, size = chance.randrange(5_100_000), chance.choice([1, 100, 4096, 131072, 3 << 20])
            if os.pread(descriptor, size, offset) != content[offset : offset + size]:
                wrong.append((offset, size))
        os.close(descriptor)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert (served.host / "big").read_bytes() == content


def test_errors_are_those_of_the_contract(served: ServedMount) -> None:
    for name in ("denied", "unavailable", "too-large", "crash", "corrupt", "read-crash", "slow", "fine"):
        served.put(name, b"bytes")
    served.start()

    def read(name: str) -> None:
        (served.host / name).read_bytes()

    assert errno_of(read, "absent") == errno.ENOENT
    assert errno_of(read, "denied") == errno.EACCES
    assert errno_of(read, "unavailable") == errno.EIO
    assert errno_of(read, "too-large") == errno.EFBIG
    assert errno_of(read, "corrupt") == errno.EIO
    assert errno_of(os.stat, served.path / "http" / "no..host") == errno.ENOENT
    began = time.monotonic()
    assert errno_of(read, "slow") == errno.EIO
    assert 1.0 < time.monotonic() - began < served.deadline_s + 1.5
    began = time.monotonic()
    assert errno_of(read, "slow") == errno.EIO
    assert time.monotonic() - began < 2.0
    assert (served.host / "fine").read_bytes() == b"bytes"


@pytest.mark.parametrize("name", ["crash", "read-crash"])
def test_what_nobody_foresaw_is_eio_and_the_mount_lives(served: ServedMount, name: str) -> None:
    served.put(name, b"bytes")
    served.put("fine", b"bytes")
    served.start()

    assert errno_of((served.host / name).read_bytes) == errno.EIO
    assert (served.host / "fine").read_bytes() == b"bytes"
    said = served.stop()
    assert "fuse.request.crashed" in said
    assert "Traceback" in said


def test_writes_of_every_kind_are_refused(served: ServedMount) -> None:
    served.put("a", b"alpha")
    served.start()
    file = served.host / "a"

    for call in (
        lambda: file.write_bytes(b"x"),
        (served.host / "new").touch,
        (served.host / "new").mkdir,
        file.unlink,
        lambda: file.rename(served.host / "b"),
        lambda: file.chmod(0o777),
        lambda: os.utime(file, (1, 1)),
        lambda: os.truncate(file, 0),
        lambda: (served.host / "link").symlink_to("a"),
        lambda: os.link(file, served.host / "hard"),
        lambda: os.mkfifo(served.host / "fifo"),
        lambda: os.setxattr(file, "user.x", b"1"),
        lambda: os.removexattr(file, "user.flyfs.url"),
        lambda: os.rmdir(served.path / ".fly"),
    ):
        assert errno_of(call) == errno.EROFS
    assert file.read_bytes() == b"alpha"


def test_extended_attributes(served: ServedMount) -> None:
    served.put("a", b"alpha")
    served.start()
    file = served.host / "a"

    told = {name: os.getxattr(file, name) for name in os.listxattr(file)}
    assert told["user.flyfs.url"] == b"http://h.test/a"
    assert told["user.flyfs.size"] == b"5"
    assert set(os.listxattr(served.host)) == {"user.flyfs.url", "user.flyfs.kind"}
    assert errno_of(os.getxattr, file, "user.flyfs.digest") == errno.ENODATA
    assert errno_of(os.getxattr, file, "user.nothing") == errno.ENODATA
    assert errno_of(os.getxattr, file, "security.selinux") == errno.EOPNOTSUPP


def test_a_version_that_changes_under_an_open_handle(served: ServedMount) -> None:
    served.max_age_s = 0.0
    old, new = b"1" * 300_000, b"2" * 400_000
    served.put("a", old)
    served.start()
    with (served.host / "a").open("rb", buffering=0) as handle:
        assert handle.read(10) == b"1" * 10
        time.sleep(0.15)  # beyond the 100 ms in which questions are joined
        served.put("a", new)

        for _ in range(3):
            assert (served.host / "a").read_bytes() == new
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        handle.seek(0)
        assert handle.read(1 << 20) + handle.read(1 << 20) == old
        assert os.fstat(handle.fileno()).st_size == 300_000
    assert (served.host / "a").stat().st_size == 400_000


def test_a_change_that_only_opening_reveals_never_shows_as_stale(served: ServedMount) -> None:
    served.max_age_s = 1.0
    served.put("a", b"old!!")
    served.start()
    os.listdir(served.host)
    for number in range(4):
        content = b"new %d" % number
        time.sleep(0.4)
        served.put("a", content)
        began = time.monotonic()
        while (served.host / "a").read_bytes() != content:
            assert time.monotonic() - began < 3.0
            time.sleep(0.05)


def test_control_files_are_current_and_consistent(served: ServedMount) -> None:
    served.start()
    with (served.path / ".fly" / "status.json").open("rb", buffering=0) as handle:
        first = json.loads((served.path / ".fly" / "status.json").read_text())
        second = json.loads((served.path / ".fly" / "status.json").read_text())
        opened = json.loads(handle.read(1 << 16))

    assert opened["renderings"] < first["renderings"] < second["renderings"]
    assert (served.path / ".fly" / "supernodes").read_text() == "127.0.0.1:7400 up\n"
    assert os.listdir(served.path / ".fly" / "layers") == []
    assert os.statvfs(served.path).f_bfree * os.statvfs(served.path).f_frsize == 1 << 29


def test_slow_reads_starve_no_stat(served: ServedMount) -> None:
    for number in range(150):
        served.put(f"slow{number}", b"bytes")
    served.put("fine", b"bytes")
    served.deadline_s = 4.0
    served.start()
    readers = [
        subprocess.Popen(["cat", str(served.host / f"slow{number}")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for number in range(150)
    ]
    try:
        time.sleep(1.0)
        began = time.monotonic()
        (served.host / "fine").stat()
        os.statvfs(served.path)
        assert time.monotonic() - began < 1.0
    finally:
        for reader in readers:
            reader.kill()
        for reader in readers:
            reader.wait(timeout=20)


def test_a_request_whose_caller_is_killed_before_it_is_read_stops_nothing(
    served: ServedMount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "stall"
    monkeypatch.setenv("FLYFS_TEST_STALL", str(marker))
    served.put("a", b"alpha")
    served.start()
    marker.touch()
    caller = subprocess.Popen(["stat", str(served.host / "a")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.25)  # the server has seen the request and stands
    caller.kill()
    caller.wait(timeout=10)
    marker.unlink()
    time.sleep(2.0)

    beat = marker.with_suffix(".beat")
    before = int(beat.read_text())
    time.sleep(1.0)
    assert int(beat.read_text()) > before + 5
    assert (served.host / "a").read_bytes() == b"alpha"


def test_the_kernel_reads_a_mebibyte_ahead(served: ServedMount) -> None:
    served.start()

    assert Path(f"/sys/class/bdi/0:{served.minor}/read_ahead_kb").read_text() == "1024\n"


def test_sigterm_leaves_nothing_behind(served: ServedMount) -> None:
    served.put("a", b"alpha")
    served.put("slow", b"alpha")
    served.start()
    reader = subprocess.Popen(["cat", str(served.host / "slow")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    handle = os.open(served.host / "a", os.O_RDONLY)
    assert os.read(handle, 1) == b"a"
    said = served.stop()
    assert errno_of(os.close, handle) == errno.ENOTCONN  # nobody is there to be told

    assert reader.wait(timeout=10) != 0
    assert "ended open_blobs=0" in said
    assert mount_at(served.path) is None
    assert os.listdir(served.path) == []
    assert os.listdir(served.runtime) == []


def test_unmounting_from_outside_ends_the_server(served: ServedMount) -> None:
    served.start()
    subprocess.run(["umount", str(served.path)], check=True, timeout=20)
    assert served.process is not None

    assert served.process.wait(timeout=10) == 0
    assert os.listdir(served.runtime) == []


def test_a_dead_daemons_mount_is_cleaned_away_by_the_next(served: ServedMount) -> None:
    served.put("a", b"alpha")
    served.start()
    assert (served.host / "a").read_bytes() == b"alpha"
    served.stop(signal.SIGKILL)
    assert is_dead(served.path)
    served.start()

    assert (served.host / "a").read_bytes() == b"alpha"
    served.stop()
    assert mount_at(served.path) is None


def test_a_live_mount_is_never_cleaned_away(served: ServedMount, tmp_path: Path) -> None:
    served.put("a", b"alpha")
    served.start()
    assert served.process is not None
    pid = served.process.pid

    for runtime, why in ((served.runtime, f"pid {pid}"), (tmp_path / "elsewhere", "live flyfs mount")):
        other = ServedMount(tmp_path)
        other.runtime = runtime
        try:
            with pytest.raises(AssertionError, match=why):
                other.start()
        finally:
            assert other.process is not None
            other.process.communicate(timeout=10)
    assert (served.host / "a").read_bytes() == b"alpha"


def test_ten_thousand_entries_are_listed_with_attributes_in_few_requests(served: ServedMount) -> None:
    many = served.root / "h.test" / "many"
    many.mkdir(parents=True)
    for number in range(10_000):
        (many / f"file {number}").write_bytes(b"x" * (number % 7))
    served.start()

    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(served.host / "many")}

    assert sizes == {f"file {number}": number % 7 for number in range(10_000)}
