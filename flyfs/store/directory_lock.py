"""One process per cache directory, held by flock(2): it ends with the process, however that ends. Shell.

A child that was forked without exec shares the lock: a daemon goes to the background before it opens its store. The file tells
who has it; the kernel alone knows whether that is still so.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from flyfs.core.errors import ConfigError

LOCK_NAME = "lock"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNER_BYTES = 8192
"""A mountpoint has 4,095 bytes at most."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has, or had last, a directory.

    Attributes:
        pid: empty where nobody wrote it yet.
        what: what that process is, as in ``flyfs mount /mnt/fly``; empty where it did not say.
    """

    pid: str
    what: str

    def __str__(self) -> str:
        return f"process {self.pid or 'unknown'}" + (f" ({self.what})" if self.what else "")


class InUse(ConfigError):
    """Another process has the directory; ``owner`` says which, as far as it said so itself."""

    def __init__(self, directory: Path, owner: Owner) -> None:
        super().__init__(
            f"the cache directory {directory} is in use by {owner}; give another one (--cache), or end that process first"
        )
        self.owner = owner


class DirectoryLock:
    """The lock of one cache directory, from construction until ``close``."""

    def __init__(self, directory: Path, owner: str = "") -> None:
        """Takes the lock; ``owner`` is what this process is, for the message that another one gets.

        Raises:
            InUse: another process has it.
            ConfigError: the directory takes no locks.
        """
        path = directory / LOCK_NAME
        try:
            self._fd = os.open(path, _FLAGS, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot open {path}: {error.strerror}; the cache directory must be ours to write") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n{owner}\n".encode("utf-8", "surrogateescape"), 0)
        except BlockingIOError as error:
            found = _read(self._fd)
            os.close(self._fd)
            raise InUse(directory, found) from error
        except OSError as error:
            os.close(self._fd)
            raise ConfigError(f"cannot lock {path}: {error.strerror}; the cache needs a file system with locks") from error

    def close(self) -> None:
        """Gives the lock back. The file stays: removing it would let two processes lock two files of one name."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _read(fd: int) -> Owner:
    pid, _, what = os.pread(fd, _OWNER_BYTES, 0).decode("utf-8", "replace").partition("\n")
    return Owner(pid.strip(), " ".join(what.split()))
