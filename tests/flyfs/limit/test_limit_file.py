"""The shared file: made once, set by the last one, locked by whoever lives."""

import os
import select
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flyfs.core.errors import ConfigError
from flyfs.limit.bucket import Bucket
from flyfs.limit.layout import FILE_BYTES, Direction, HeaderWord, load_bucket, save_bucket
from flyfs.limit.limit_file import LimitFile


@contextmanager
def opened(path: Path) -> Generator[LimitFile, None, None]:
    file = LimitFile.open(path)
    try:
        yield file
    finally:
        file.close()


def test_a_new_file_says_what_it_is_and_limits_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run" / "limit"
    before = os.umask(0o077)
    try:
        with opened(path) as file:
            rates = file.rates()
    finally:
        os.umask(before)

    assert (rates.receive, rates.send, rates.changes, rates.changed_by) == (None, None, 0, 0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660, "the group takes part, whatever the umask"
    assert path.stat().st_size == FILE_BYTES
    assert path.stat().st_blocks * 512 >= FILE_BYTES, "no hole that a full disk could not fill"
    assert path.read_bytes()[:16] == b"flyfslim" + struct.pack("=Q", 1)


def test_the_last_setter_wins_for_everybody_who_maps_it(tmp_path: Path) -> None:
    with opened(tmp_path / "limit") as one, opened(tmp_path / "limit") as other:
        one.set_rates(receive=5, send=6)
        before = other.set_rates(receive=7)
        assert (before.receive, before.send, before.changes) == (5, 6, 1)
        rates = one.rates()
        assert (rates.receive, rates.send, rates.changes, rates.changed_by) == (7, 6, 2, os.getpid())
        assert abs(rates.changed_at_s - time.time()) < 5

        one.set_rates(send=0)
        assert other.rates().send is None


def test_buckets_lie_side_by_side_and_keep_their_rate(tmp_path: Path) -> None:
    path = tmp_path / "limit"
    with opened(path) as file:
        file.set_rates(receive=10, send=20)
        save_bucket(file.words, Direction.RECEIVE, Bucket(99, [1, 2, 3], [4, 5, 6]))
        save_bucket(file.words, Direction.SEND, Bucket(99, [7, 8, 9], [10, 11, (1 << 64) - 1]))
    with opened(path) as file:
        assert load_bucket(file.words, Direction.RECEIVE) == Bucket(10, [1, 2, 3], [4, 5, 6])
        assert load_bucket(file.words, Direction.SEND) == Bucket(20, [7, 8, 9], [10, 11, (1 << 64) - 1])


def test_the_bytes_of_version_1_never_change(tmp_path: Path) -> None:
    path = tmp_path / "limit"
    with opened(path) as file:
        file.set_rates(receive=10, send=20)
        file.words[HeaderWord.CHANGED_BY], file.words[HeaderWord.CHANGED_AT_NS] = 77, 88
        save_bucket(file.words, Direction.RECEIVE, Bucket(10, [1, 2, 3], [4, 5, 6]))
        save_bucket(file.words, Direction.SEND, Bucket(20, [7, 8, 9], [10, 11, 12]))

    header = (int.from_bytes(b"flyfslim", sys.byteorder), 1, 1, 77, 88, 0, 0, 0)
    buckets = (10, 1, 2, 3, 4, 5, 6, 0, 20, 7, 8, 9, 10, 11, 12, 0)
    assert path.read_bytes() == struct.pack("=24Q", *header, *buckets).ljust(FILE_BYTES, b"\0")


@pytest.mark.parametrize("content", [b"flyfslim" + struct.pack("=Q", 2), b"something else".ljust(FILE_BYTES, b"!")])
def test_a_file_of_another_version_or_kind_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "limit"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="not a limit file of version 1"):
        LimitFile.open(path)

    assert path.read_bytes().rstrip(b"\0") == content.rstrip(b"\0")


def test_a_place_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file/limit: the host's rate limit cannot be shared: .*--runtime-dir"):
        LimitFile.open(tmp_path / "file" / "limit")
    (tmp_path / "limit").symlink_to(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be shared"):
        LimitFile.open(tmp_path / "limit")
    assert (tmp_path / "file").stat().st_size == 0


def test_a_file_that_was_cut_short_is_whole_again(tmp_path: Path) -> None:
    path = tmp_path / "limit"
    with opened(path) as file:
        file.set_rates(receive=5)
    os.truncate(path, 0)
    with opened(path) as file:
        assert file.rates().receive is None
        assert path.stat().st_size == FILE_BYTES


def test_a_removed_or_replaced_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "limit"
    with opened(path) as file:
        assert file.is_current
        path.unlink()
        assert not file.is_current
        with opened(path) as new:
            assert new.is_current
            assert not file.is_current


# -- the lock ------------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from flyfs.limit.limit_file import LimitFile
file = LimitFile.open(Path(sys.argv[1]))
assert file.lock_nowait()
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def a_holder(path: Path) -> Generator[subprocess.Popen[bytes], None, None]:
    """Another process, in the middle of what it does under the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], 30)[0]
        assert process.stdout.read(4) == b"held"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_one_process_holds_the_lock_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path / "limit") as one, opened(tmp_path / "limit") as other:
        assert one.lock_nowait()
        assert not other.lock_nowait()
        one.unlock()
        assert other.lock_nowait()
        other.unlock()


def test_a_killed_owner_leaves_the_lock_to_others(tmp_path: Path) -> None:
    with opened(tmp_path / "limit") as file, a_holder(tmp_path / "limit") as process:
        assert not file.lock_nowait()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert file.lock_nowait()
        file.unlock()


def test_a_stopped_owner_does_not_keep_a_setter_from_setting(tmp_path: Path) -> None:
    with opened(tmp_path / "limit") as file, a_holder(tmp_path / "limit") as process:
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        file.set_rates(receive=5)
        assert time.monotonic() - began < 5.0
        assert file.rates().receive == 5
