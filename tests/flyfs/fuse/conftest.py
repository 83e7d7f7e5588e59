"""A child process that serves a fake over a temporary directory; whatever happens, its mount is gone afterwards."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyfs.fuse.detaching import detach, mount_at

PROJECT = Path(__file__).parents[3]


class ServedMount:
    """A mount of ``root`` (its first level is hosts) in another process."""

    def __init__(self, directory: Path, *, max_age_s: float = 10.0, deadline_s: float = 2.0) -> None:
        self.root = directory / "root"
        self.path = directory / "mnt"
        self.runtime = directory / "run"
        self.log = directory / "log"
        self.max_age_s = max_age_s
        self.deadline_s = deadline_s
        (self.root / "h.test").mkdir(parents=True, exist_ok=True)
        self.path.mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.minor = -1

    @property
    def host(self) -> Path:
        return self.path / "http" / "h.test"

    def start(self) -> "ServedMount":
        command = [sys.executable, "-m", "tests.support.serve_fake"]
        arguments = [str(self.root), str(self.path), str(self.runtime), str(self.max_age_s), str(self.deadline_s)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command + arguments, cwd=PROJECT, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL
            )
        said = self._line()
        assert said.startswith("ready"), said
        self.minor = int(said.split()[1])
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Ends the server; what it said last."""
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.send_signal(number)
        said = self.process.communicate(timeout=20)[0].decode()
        self.process = None
        return said

    def put(self, name: str, content: bytes) -> Path:
        place = self.root / "h.test" / name
        beside = place.with_name(f".new {place.name}")
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.rename(place)
        return place

    def logged(self) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text())

    def _line(self) -> str:
        """The first line of standard output that is no log."""
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            text = line.decode().strip()
            if text.startswith(("ready", "failed")):
                return text
            with self.log.open("a") as log:
                log.write(text + "\n")
        return f"ended with {self.process.wait()}"

    def clean(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate(timeout=20)
        while mount_at(self.path) is not None and detach(self.path):
            pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedMount]:
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.fail("the tests marked fuse need root and /dev/fuse")
    mount = ServedMount(tmp_path)
    try:
        yield mount
    finally:
        mount.clean()
