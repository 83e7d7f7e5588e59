"""One process per cache directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flyfs.core.errors import ConfigError
from flyfs.store.directory_lock import DirectoryLock

_HOLDER = """
import sys
from pathlib import Path
from flyfs.store.directory_lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_owner_is_refused_and_told_the_first_ones_pid(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path), pytest.raises(ConfigError, match=rf"in use by process {os.getpid()};"):
        DirectoryLock(tmp_path)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(ConfigError, match=rf"process {holder.pid};"):
            DirectoryLock(tmp_path)
        holder.kill()
        holder.wait()

    with DirectoryLock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


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
