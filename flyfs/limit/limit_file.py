"""The file that all flyfs processes of a host map: both buckets, and the lock over them. Shell, blocks nowhere.

The lock is ``flock`` on the open file: 0.9 µs for both calls, released by the kernel with its owner's last breath, the same for
every libc and in every container that the file is mounted into. It makes sums exact and nothing more: whoever does not get it
in time goes on without, at the price of one slice miscounted. So a process that was stopped while it held the lock stops nobody.
"""

import errno
import fcntl
import mmap
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flyfs.core.errors import ConfigError
from flyfs.limit.layout import FILE_BYTES, MAGIC, RATE, VERSION, Direction, HeaderWord

LOCK_TRIES = 50
LOCK_PAUSE_S = 0.002
"""Between tries of who may sleep: 0.1 s in all, where the owner needs 10 µs unless it was stopped."""
_MODE = 0o660
"""As the control sockets: the group of the directory's owner may take part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What is set: bytes per second, None for no limit.

    Attributes:
        changes: how often it was set.
        changed_by: process id of who did it last, 0 for nobody.
        changed_at_s: seconds since 1970.
    """

    receive: int | None
    send: int | None
    changes: int
    changed_by: int
    changed_at_s: float


class LimitFile:
    """One mapping of the file. Not for several threads."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, FILE_BYTES)
        self.words = memoryview(self._map).cast("Q")
        """The whole file. Single words may be read without the lock."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """The file at ``path``, made where there is none.

        Raises:
            ConfigError: it cannot be made or written, or is of another version.
        """
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
            try:
                _reserve(descriptor)
                file = cls(path, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise ConfigError(
                f"{path}: the host's rate limit cannot be shared: {error.strerror}; choose another place with --runtime-dir"
            ) from error
        try:
            file._begin()
        except BaseException:
            file.close()
            raise
        return file

    def _begin(self) -> None:
        """Writes the header of a new file; judges that of an old one."""
        if not any(self.words[: Direction.RECEIVE]):  # two who find it new write the same
            self.words[HeaderWord.VERSION] = VERSION
            self.words[HeaderWord.MAGIC] = MAGIC
        if self.words[HeaderWord.MAGIC] != MAGIC or self.words[HeaderWord.VERSION] != VERSION:
            raise ConfigError(
                f"{self.path}: not a limit file of version {VERSION}; another flyfs uses it, or it is to be removed: "
                "choose another place with --runtime-dir"
            )

    def close(self) -> None:
        """Ends the mapping; grants that were given stay counted."""
        self.words.release()
        self._map.close()
        os.close(self._descriptor)

    @property
    def is_current(self) -> bool:
        """Whether the path still names this file: somebody may have removed it, and others share a new one."""
        try:
            named, mapped = self.path.stat(), os.fstat(self._descriptor)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (mapped.st_dev, mapped.st_ino)

    # -- the lock --------------------------------------------------------------------------------------------------

    def lock_nowait(self) -> bool:
        """Takes the lock, or says that another process has it. Between it and ``unlock`` nothing may wait."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Gives the lock up."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @contextmanager
    def locked_in_time(self) -> Generator[None, None, None]:
        """Holds the lock, or goes on without after 0.1 s. Sleeps: not for a loop, but for a process that begins, or a command."""
        locked = self.lock_nowait()
        for _ in range(LOCK_TRIES):
            if locked:
                break
            time.sleep(LOCK_PAUSE_S)
            locked = self.lock_nowait()
        try:
            yield
        finally:
            if locked:
                self.unlock()

    # -- what is in it ---------------------------------------------------------------------------------------------

    def rates(self) -> Rates:
        """What is set now."""
        words = self.words
        return Rates(
            receive=words[Direction.RECEIVE + RATE] or None,
            send=words[Direction.SEND + RATE] or None,
            changes=words[HeaderWord.CHANGES],
            changed_by=words[HeaderWord.CHANGED_BY],
            changed_at_s=words[HeaderWord.CHANGED_AT_NS] / 1e9,
        )

    def set_rates(self, *, receive: int | None = None, send: int | None = None) -> Rates:
        """Sets what is given, in bytes per second (0: no limit), for the whole host; returns what was set before."""
        with self.locked_in_time():
            before = self.rates()
            if receive is not None:
                self.words[Direction.RECEIVE + RATE] = receive
            if send is not None:
                self.words[Direction.SEND + RATE] = send
            self.words[HeaderWord.CHANGED_BY] = os.getpid()
            self.words[HeaderWord.CHANGED_AT_NS] = time.time_ns()
            self.words[HeaderWord.CHANGES] = before.changes + 1
        return before


def _reserve(descriptor: int) -> None:
    """Gives a new file its page; writing into a hole of a full disk would end the process by a signal."""
    if os.fstat(descriptor).st_size >= FILE_BYTES:
        return
    os.posix_fallocate(descriptor, 0, FILE_BYTES)
    try:
        os.fchmod(descriptor, _MODE)  # whatever the umask said
    except OSError as error:
        if error.errno != errno.EPERM:  # not ours: its owner chose
            raise
