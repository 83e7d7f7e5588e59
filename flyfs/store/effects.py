"""The few ways in which the store changes what is on the disk. Shell.

Every lasting change goes through these functions, so that a crash test can stop after each of them. All raise ``OSError``.
"""

import ctypes
import errno
import os
from collections.abc import Sequence
from contextlib import suppress

_LIBC = ctypes.CDLL(None, use_errno=True)  # not os.posix_fallocate, which writes zeros where the kernel cannot allocate
_LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_LIBC.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_SYNC_FILE_RANGE_WRITE = 2
_NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ESPIPE)
_MAX_VECTORS = os.sysconf("SC_IOV_MAX")

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = READ | os.O_DIRECTORY
WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def create_file(directory_fd: int, name: str, size: int = 0) -> int:
    """A new empty or sparse file of ``size`` bytes: its descriptor, read and write. There must be none of that name."""
    fd = os.open(name, WRITE | os.O_CREAT | os.O_EXCL, FILE_MODE, dir_fd=directory_fd)
    try:
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """All of ``data``, however many calls it takes."""
    _write_all(fd, [memoryview(data)], offset)


def write_run(fd: int, pieces: Sequence[memoryview], offset: int) -> None:
    """All of ``pieces``, one behind the other. Where it fails, any of their bytes may have been written."""
    _write_all(fd, list(pieces), offset)


def _write_all(fd: int, rest: list[memoryview], offset: int) -> None:
    _allocate(fd, offset, sum(map(len, rest)))
    while rest:
        written = os.pwritev(fd, rest[:_MAX_VECTORS], offset)
        offset += written
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = rest[0][written:]


def _allocate(fd: int, offset: int, size: int) -> None:
    """Takes the room in one go: a write into it costs a third less than one that takes it page by page (ext4, measured).

    A file system that cannot is none the worse; a full one says so before anything is written.
    """
    if _LIBC.fallocate(fd, _KEEP_SIZE, offset, size):
        number = ctypes.get_errno()
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(number, os.strerror(number))


def punch_hole(fd: int, start: int, stop: int) -> None:
    """Gives the room of ``[start, stop)`` back; the file keeps its length, and reads as zeros there."""
    if _LIBC.fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, start, stop - start):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def set_length(fd: int, size: int) -> None:
    """Cuts or extends a file."""
    os.ftruncate(fd, size)


def restore_length(fd: int, size: int) -> None:
    """Extends a file that is shorter than it should be."""
    if os.fstat(fd).st_size < size:
        set_length(fd, size)


def sync_data(fd: int) -> None:
    """A file's bytes and its length are on the disk."""
    os.fdatasync(fd)


def start_writeback(fd: int, start: int, stop: int) -> None:
    """The disk begins to write these bytes, and nobody waits for it. That it returns proves nothing (sync_file_range(2)).

    A kernel that does not know it is none the worse: the sync does all the work then. Without the flags to wait, an error that
    the disk reports later stays on the file until ``sync_data`` tells it.
    """
    if _LIBC.sync_file_range(fd, start, stop - start, _SYNC_FILE_RANGE_WRITE):
        number = ctypes.get_errno()
        if number not in _NOT_SUPPORTED:
            raise OSError(number, os.strerror(number))


def sync_entries(directory_fd: int) -> None:
    """A directory's names are on the disk."""
    os.fsync(directory_fd)


def rename(name: str, new_name: str, *, directory_fd: int, new_directory_fd: int) -> None:
    """Gives a file or directory another name at once, replacing the file that had it."""
    os.rename(name, new_name, src_dir_fd=directory_fd, dst_dir_fd=new_directory_fd)


def remove_file(directory_fd: int, name: str) -> None:
    """Removes a name; that there is none is fine."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory_fd)


def replace_file(directory_fd: int, name: str, data: bytes, *, sync: bool) -> None:
    """A file with other content at once: readers, and a crash, find the old or the new one whole.

    Args:
        directory_fd: where.
        name: of the file.
        data: its new content.
        sync: whether it is on the disk afterwards; without, it survives the process, but not the machine.
    """
    fresh = f".{name}.new"  # one name, so that crashes leave one at most; a file has one writer at a time
    remove_file(directory_fd, fresh)
    fd = create_file(directory_fd, fresh)
    try:
        write_at(fd, data, 0)
        if sync:
            sync_data(fd)
        rename(fresh, name, directory_fd=directory_fd, new_directory_fd=directory_fd)
    except OSError:
        remove_file(directory_fd, fresh)
        raise
    finally:
        os.close(fd)
    if sync:
        sync_entries(directory_fd)


def read_file(directory_fd: int, name: str) -> bytes:
    """A small file's whole content; FileNotFoundError where there is none."""
    fd = os.open(name, READ, dir_fd=directory_fd)
    try:
        return b"".join(iter(lambda: os.read(fd, 1 << 20), b""))
    finally:
        os.close(fd)


def names_in(directory_fd: int) -> list[str]:
    """The names in an open directory, in no order."""
    with os.scandir(directory_fd) as entries:
        return [entry.name for entry in entries]


def make_directory(directory_fd: int, name: str) -> None:
    """A new directory, for our own eyes. There must be none of that name."""
    os.mkdir(name, DIRECTORY_MODE, dir_fd=directory_fd)


def ensure_directory(directory_fd: int, name: str) -> None:
    """Makes a directory unless there is one."""
    with suppress(FileExistsError):
        make_directory(directory_fd, name)
