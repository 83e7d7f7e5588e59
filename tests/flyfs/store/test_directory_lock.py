"""One process per cache directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flyfs.core.errors import ConfigError
from flyfs.store.directory_lock import DirectoryLock, InUse, Owner

_HOLDER = r"""
import sys
from pathlib import Path
from flyfs.store.directory_lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]), "a holder\nof two lines")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_owner_is_refused_and_told_who_the_first_one_is(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path), pytest.raises(ConfigError, match=rf"in use by process {os.getpid()};"):
        DirectoryLock(tmp_path)
    with DirectoryLock(tmp_path, "flyfs mount /mnt/\udcff"), pytest.raises(InUse) as caught:
        DirectoryLock(tmp_path, "another")

    assert caught.value.owner == Owner(str(os.getpid()), "flyfs mount /mnt/\ufffd")
    assert caught.value.message == (
        f"the cache directory {tmp_path} is in use by process {os.getpid()} (flyfs mount /mnt/\ufffd); "
        "give another one (--cache), or end that process first"
    )


def test_an_owner_that_has_not_said_yet_who_it_is_is_unknown(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(InUse, match="in use by process unknown;"):
            DirectoryLock(tmp_path)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(InUse, match=rf"process {holder.pid} \(a holder of two lines\);"):
            DirectoryLock(tmp_path)
        holder.kill()
        holder.wait()

    with DirectoryLock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n\n"


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "lock").symlink_to("target")

    with pytest.raises(ConfigError, match="cannot open"):
        DirectoryLock(tmp_path)
    assert (tmp_path / "target").read_text() == "precious"


def test_a_file_system_without_locks_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(ConfigError, match="No locks available"):
        DirectoryLock(tmp_path)
