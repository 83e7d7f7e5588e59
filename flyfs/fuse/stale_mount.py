"""One daemon per mountpoint: a mount whose daemon is dead is cleaned away, a live one never. Shell.

While a daemon lives it holds an flock on a file of its mountpoint's own. Whoever gets that lock and still finds a flyfs mount at
the mountpoint has found a dead daemon's, and makes sure by asking it.
"""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import structlog

from flyfs.core.errors import ConfigError
from flyfs.fuse.detaching import detach, is_dead, mount_at
from flyfs.fuse.errno_map import is_absent

log = structlog.get_logger()

_STACKED_MAX = 8


@contextmanager
def hold_mountpoint(mountpoint: Path, lock_file: Path) -> Generator[None]:
    """Holds a mountpoint, cleaned of what a dead daemon left, for as long as the block runs.

    Blocks for seconds at worst; to be entered before anything is served.

    Args:
        mountpoint: absolute, without symbolic links: as the kernel names it.
        lock_file: named after the mountpoint, the same for every daemon that could mount there; its directory is made.

    Raises:
        ConfigError: it is no directory, a live daemon has it, a dead one's mount cannot be taken away, or the lock cannot be
            made.
    """
    try:
        lock_file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = _lock(lock_file, mountpoint)
    except OSError as error:
        raise ConfigError(f"{lock_file} cannot be locked: {error.strerror}; choose another place with --runtime-dir") from error
    try:
        _clean(mountpoint)
        _check_directory(mountpoint)
        yield
    finally:
        lock_file.unlink(missing_ok=True)  # while it is locked: whoever waits for it sees that it is not the path's file any more
        os.close(descriptor)


def _lock(path: Path, mountpoint: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise ConfigError(f"{mountpoint} is mounted by the flyfs daemon with pid {pid}: flyfs umount {mountpoint}") from None
        if _is_file_of(descriptor, path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
        os.close(descriptor)


def _is_file_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _clean(mountpoint: Path) -> None:
    for _ in range(_STACKED_MAX):
        mount = mount_at(mountpoint)
        if mount is None or not mount.is_flyfs:
            return
        if not is_dead(mountpoint):
            raise ConfigError(
                f"{mountpoint} is a live flyfs mount of a daemon with another runtime directory: umount {mountpoint}"
            )
        log.warning("fuse.stale_mount.found", mountpoint=str(mountpoint))
        if not detach(mountpoint):
            break
    raise ConfigError(f"{mountpoint} is the mount of a dead daemon and cannot be taken away: umount -l {mountpoint}")


def _check_directory(mountpoint: Path) -> None:
    try:
        if mountpoint.is_dir():
            return
    except OSError as error:
        if not is_absent(error):
            raise ConfigError(f"{mountpoint}: {error.strerror}") from error
    raise ConfigError(f"{mountpoint} is no directory: mkdir -p {mountpoint}")
