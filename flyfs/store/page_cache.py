"""Reads that never wait for the disk, and how to tell. Shell.

``preadv2(RWF_NOWAIT)`` (Linux 4.14) reads what the kernel's page cache holds and nothing else. File systems that refuse it
(tmpfs) are asked with ``cachestat(2)`` (Linux 6.5) first; where neither works, nothing counts as cached.
"""

import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Iterable

from flyfs.core.grid import KIB, MIB

BUFFER_BYTES = 4 * MIB
"""The largest piece, and four times the largest FUSE read."""

_BUFFER = memoryview(bytearray(BUFFER_BYTES))
_SCRATCH_BYTES = 256 * KIB
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")
_SYS_CACHESTAT = 451  # the same on all architectures but alpha, which has no cachestat at this number
_NO_NOWAIT = (errno.EOPNOTSUPP, errno.EINVAL)


class _CachestatRange(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Cachestat(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("cached", "dirty", "writeback", "evicted", "recently_evicted"))


_LIBC = ctypes.PyDLL(None, use_errno=True)  # keeps the GIL: the call only walks page tables
_SCRATCH = threading.local()


class PageCache:
    """What is in memory of the files of one file system. Only the event loop calls the methods named ``…_nowait``."""

    def __init__(self, *, nowait: bool = True, cachestat: bool = True) -> None:
        """The flags are what to assume of the kernel; what turns out not to work is not tried again."""
        self._nowait = nowait
        self._cachestat = cachestat
        self._flags = os.RWF_NOWAIT if nowait else 0

    @property
    def tells(self) -> bool:
        """Whether what ``read_nowait`` does not give is not in memory, as far as is known by now."""
        return self._nowait

    def read_nowait(self, fd: int, offset: int, size: int) -> memoryview | None:
        """The bytes, where all of them are cached: a view of the process' one static buffer, valid until the next await.

        None also where ``size`` exceeds the buffer, the file ends earlier, or the disk fails: a read in a thread will tell.
        """
        if size > BUFFER_BYTES or not (self._nowait or self._counted_cached(fd, offset, offset + size)):
            return None
        view = _BUFFER[:size]
        try:
            return view if os.preadv(fd, (view,), offset, self._flags) == size else None
        except BlockingIOError:
            return None
        except OSError as error:
            if not self._nowait or error.errno not in _NO_NOWAIT:
                return None
        self._nowait = False
        self._flags = 0
        return self.read_nowait(fd, offset, size)

    def holds_nowait(self, fd: int, start: int, stop: int) -> bool:
        """Whether all of ``[start, stop)`` is cached, so that sendfile(2) will not wait for the disk."""
        if self._counted_cached(fd, start, stop):
            # Pages whose read is still under way are counted, too: the first and the last byte tell (decision 3).
            return not self._nowait or start >= stop or all(self.read_nowait(fd, at, 1) is not None for at in (start, stop - 1))
        if self._cachestat or not self._nowait:
            return False
        return all(self.read_nowait(fd, at, min(BUFFER_BYTES, stop - at)) is not None for at in range(start, stop, BUFFER_BYTES))

    def _counted_cached(self, fd: int, start: int, stop: int) -> bool:
        """Whether cachestat(2) finds every page of a non-empty range."""
        if not self._cachestat or start >= stop:
            return start >= stop
        first = start // _PAGE_BYTES
        asked = _CachestatRange(first * _PAGE_BYTES, stop - first * _PAGE_BYTES)
        found = _Cachestat()
        if _LIBC.syscall(_SYS_CACHESTAT, fd, ctypes.byref(asked), ctypes.byref(found), 0):
            self._cachestat = False  # an older kernel, or a seccomp filter that does not know it
            return False
        return int(found.cached) >= -(-stop // _PAGE_BYTES) - first


def scratch() -> memoryview:
    """A buffer of the calling thread, of whole pages."""
    buffer: memoryview | None = getattr(_SCRATCH, "buffer", None)
    if buffer is None:
        buffer = _SCRATCH.buffer = memoryview(mmap.mmap(-1, _SCRATCH_BYTES))
    return buffer


def read_into_cache(fd: int, start: int, stop: int) -> None:
    """Reads ``[start, stop)`` through the page cache, waiting for the disk; for a thread.

    Raises:
        OSError: the disk failed, or the file ends before ``stop``.
    """
    buffer = scratch()
    os.posix_fadvise(fd, start, stop - start, os.POSIX_FADV_WILLNEED)
    while start < stop:
        got = os.preadv(fd, (buffer[: min(_SCRATCH_BYTES, stop - start)],), start)
        if not got:
            raise _ended_early()
        start += got


def drop_pages(fd: int, ranges: Iterable[tuple[int, int]]) -> None:
    """Lets the kernel forget ``[start, stop)`` ranges of a file; for a thread. Dirty pages stay, and nobody is told of them.

    What cannot be dropped stays in memory, which is no harm.
    """
    for start, stop in ranges:
        os.posix_fadvise(fd, start, stop - start, os.POSIX_FADV_DONTNEED)


def read_whole(fd: int, offset: int, size: int) -> bytes:
    """``size`` bytes, waiting for the disk; for a thread.

    Raises:
        OSError: the disk failed, or the file has fewer.
    """
    data = os.pread(fd, size, offset)
    while len(data) < size:  # one call gives 2 GiB at most
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            raise _ended_early()
        data += more
    return data


def _ended_early() -> OSError:
    return OSError(errno.EIO, "the file ends early")
