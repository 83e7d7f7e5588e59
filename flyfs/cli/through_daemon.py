"""Reads a URL through a running daemon of this host: the daemon tells where it is seen, the kernel does the rest. Shell."""

import errno
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from flyfs.control.client import find_daemons
from flyfs.core.errors import Denied, FlyfsError, NotFound, Stale, Unavailable
from flyfs.core.urls import RemoteUrl

_READ_BYTES = 4 * 1024 * 1024
"""A few of the kernel's largest requests (1 MiB) at once; more buys nothing."""

#: The mount does not let the caller in (it may by itself), or its daemon has died under us: somebody else must fetch.
_CLOSED_TO_US = {errno.EACCES, errno.EPERM, errno.ENOTCONN}


class Sink(Protocol):
    """Takes a file's bytes, in order. May wait for the disk; may be called from any one thread at a time."""

    def begin(self, size: int | None) -> None:
        """Called once, before the first byte; None where the size is not known."""
        ...

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes; the buffer may be reused after the call. Raises FlyfsError."""
        ...


def read_through_daemon(directories: Iterable[Path], url: RemoteUrl, sink: Sink, *, timeout_s: float | None) -> bool:
    """Gives the content of ``url`` to ``sink``; False where no daemon lets the caller in, and nothing was given.

    Raises:
        NotFound, Denied, Stale, Unavailable: what the mount said.
    """
    ends_at = None if timeout_s is None else time.monotonic() + timeout_s
    for daemon in find_daemons(directories):
        try:
            path = daemon.path_of(url)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FlyfsError:
            continue  # it ends, stalls, or has no path for such a name
        except OSError as error:
            if error.errno in _CLOSED_TO_US:
                continue
            raise _error(url, error) from error
        try:
            _copy(descriptor, url, sink, ends_at)
        finally:
            os.close(descriptor)
        return True
    return False


def _copy(descriptor: int, url: RemoteUrl, sink: Sink, ends_at: float | None) -> None:
    try:
        attributes = os.fstat(descriptor)
    except OSError as error:
        raise _error(url, error) from error
    if stat.S_ISDIR(attributes.st_mode):
        raise NotFound(f"{url.redacted()} is a directory; give the URL of a file")
    size = attributes.st_size
    sink.begin(size)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    buffer = memoryview(bytearray(_READ_BYTES))
    received = 0
    while received < size:
        if ends_at is not None and time.monotonic() > ends_at:
            raise Unavailable(f"{url.redacted()} did not arrive in time; give it longer with --timeout")
        try:
            count = os.readv(descriptor, [buffer])
        except OSError as error:
            raise _error(url, error) from error
        if count == 0:
            raise Unavailable(f"{url.redacted()} ended after {received} of {size} bytes")
        sink.write(buffer[:count])
        received += count


def _error(url: RemoteUrl, error: OSError) -> FlyfsError:
    match error.errno:
        case errno.ENOENT:
            return NotFound(f"{url.redacted()}: the origin has no such file")
        case errno.ESTALE:
            return Stale(f"{url.redacted()} changed while it was read; try again")
        case errno.EACCES:
            return Denied(f"{url.redacted()}: the origin, or the daemon, refuses; the daemon's log says which")
        case _:
            return Unavailable(f"{url.redacted()}: {error.strerror}; the daemon's log says why")
