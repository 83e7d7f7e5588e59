import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flyfs.control.client import find_daemons

FAKE = Path(__file__).parent / "fake_daemon"


@dataclass
class Host:
    """A place of its own for commands: directories, and an environment that points there."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def runtime(self) -> Path:
        return self.directory / "run"

    @property
    def cache(self) -> Path:
        return self.directory / "cache"

    def mountpoint(self, name: str = "mnt") -> Path:
        path = self.directory / name
        path.mkdir(exist_ok=True)
        return path

    def environment(self, fake: str) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLYFS_")},
            "FLYFS_CONFIG": "/dev/null",
            "FLYFS_RUNTIME_DIR": str(self.runtime),
            "PYTHONPATH": str(FAKE),
            "PYTHONWARNINGS": "error",
            "FAKE_DAEMON": fake,
            **self.variables,
        }

    def start(self, *arguments: str, fake: str = "", program: str = "flyfs") -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-P", "-m", program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.directory,
            env=self.environment(fake),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - the test run itself may ignore it
        )

    def run(self, *arguments: str, fake: str = "", program: str = "flyfs") -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        with self.start(*arguments, fake=fake, program=program) as process:
            out, err = process.communicate(timeout=60)
            return process.returncode, out, err


@pytest.fixture
def host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="flyfs-") as directory:
        host = Host(Path(directory).resolve())
        yield host
        for daemon in find_daemons([host.runtime]):  # what a failed test has left behind
            os.kill(daemon.pid, signal.SIGKILL)
