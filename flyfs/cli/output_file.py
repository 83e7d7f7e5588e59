"""The file that ``flyfs get`` writes: it appears whole, or not at all. Shell.

Bytes go to a file beside it, which takes its name when they are complete, are what was asked for, and have reached the disk.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from flyfs.core.errors import ConfigError, Corrupt, StoreFull


class OutputFile:
    """A context manager: what is not committed leaves no trace. Devices and pipes are written as they are."""

    def __init__(self, path: Path, sha256: str | None) -> None:
        self._path = path
        self._wanted = sha256
        self._hash = hashlib.sha256() if sha256 is not None else None
        self._file: BinaryIO | None = None
        self._temporary: Path | None = None
        self.written_bytes = 0

    def __enter__(self) -> Self:
        """Makes the file; raises ConfigError where it cannot be written."""
        try:
            before = _stat(self._path)
            if before is not None and not stat.S_ISREG(before.st_mode):
                self._file = self._path.open("wb", buffering=0)  # a directory is an error here
                return self
            descriptor, name = tempfile.mkstemp(prefix=".flyfs-get-", dir=self._path.parent)
            self._temporary = Path(name)
            self._file = os.fdopen(descriptor, "wb", buffering=0)
            os.fchmod(descriptor, 0o666 & ~_umask() if before is None else stat.S_IMODE(before.st_mode))
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be written: {error.strerror}; choose another file with -o") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Removes what was not committed."""
        if self._file is not None:
            self._file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Appends ``data``; raises StoreFull where the disk does not take it."""
        assert self._file is not None  # inside the context
        left = memoryview(data)
        with _told_about(self._path):
            while left:
                left = left[self._file.write(left) :]
        if self._hash is not None:
            self._hash.update(data)
        self.written_bytes += len(data)

    def commit(self) -> None:
        """Gives the file its name, over one that is there.

        Raises:
            Corrupt: the content has another digest; what was there stays.
            StoreFull: the disk does not take it.
        """
        assert self._file is not None  # inside the context
        if self._hash is not None and self._hash.hexdigest() != self._wanted:
            raise Corrupt(f"{self._path}: not written: the content has SHA-256 {self._hash.hexdigest()}, not {self._wanted}")
        if self._temporary is None:
            return
        with _told_about(self._path):
            os.fsync(self._file.fileno())
            self._temporary.rename(self._path)
            self._temporary = None
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


@contextmanager
def _told_about(path: Path) -> Generator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # who read the pipe has seen enough: no failure of the disk
    except OSError as error:
        raise StoreFull(f"{path}: cannot be written: {error.strerror}") from error


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _umask() -> int:
    mask = os.umask(0)  # the only way to learn it is to set it
    os.umask(mask)
    return mask
