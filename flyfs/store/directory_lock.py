"""One process per cache directory, held by flock(2): it ends with the process, however that ends. Shell.

A child that was forked without exec shares the lock: a daemon goes to the background before it opens its store.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from flyfs.core.errors import ConfigError

LOCK_NAME = "lock"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class DirectoryLock:
    """The lock of one cache directory, from construction until ``close``."""

    def __init__(self, directory: Path) -> None:
        """Takes the lock.

        Raises:
            ConfigError: another process has it (the message names its pid), or the directory takes no locks.
        """
        path = directory / LOCK_NAME
        try:
            self._fd = os.open(path, _FLAGS, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot open {path}: {error.strerror}; the cache directory must be ours to write") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            owner = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise ConfigError(
                f"the cache directory {directory} is in use by process {owner}; give another one (--cache), or end that process"
            ) from error
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
