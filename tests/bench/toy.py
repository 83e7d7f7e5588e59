"""The least that a filesystem in Python can do: one local file, ``pread`` per request. Shell.

``python -m tests.bench.toy FILE DIRECTORY`` mounts it until SIGTERM; the file is ``DIRECTORY/file``.
What it reaches is what pyfuse3 and the kernel leave to anybody; flyfs is measured against it, with the same kernel settings.
"""

import errno
import os
import signal
import stat
import sys
from pathlib import Path

import pyfuse3
import trio

from flyfs.core.mountinfo import MOUNTINFO, parse_mountinfo, top_mount
from flyfs.fuse.kernel_settings import tune

_FILE_INODE = pyfuse3.InodeT(2)
_NAME = b"file"
_TIMEOUT_S = 3600


class Toy(pyfuse3.Operations):
    """A directory with one file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._descriptor = os.open(path, os.O_RDONLY)
        self._size = path.stat().st_size
        self.started = trio.Event()

    def init(self) -> None:
        """The kernel greets; what it is told in reply would undo what was set before."""
        self.started.set()

    async def getattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext | None = None) -> pyfuse3.EntryAttributes:
        """The root's or the file's."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = stat.S_IFDIR | 0o555 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o444
        entry.st_size = 0 if inode == pyfuse3.ROOT_INODE else self._size
        entry.entry_timeout = entry.attr_timeout = _TIMEOUT_S
        return entry

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """The file."""
        if name != _NAME:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(_FILE_INODE)

    async def open(self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Keeps what the kernel has."""
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=True)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        """The one thing it does."""
        return os.pread(self._descriptor, size, off)


def _tune(mountpoint: str) -> None:
    """As flyfs does: after the kernel's greeting, before any request is served."""
    mount = top_mount(parse_mountinfo(Path(MOUNTINFO).read_bytes()), mountpoint)
    assert mount is not None, "it was just mounted"
    tune(mount.major, mount.minor)


async def _serve(toy: Toy, mountpoint: str) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        await toy.started.wait()
        _tune(mountpoint)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()


def main() -> None:
    """Mounts, serves until SIGTERM, unmounts."""
    path, mountpoint = sys.argv[1:]
    toy = Toy(Path(path))
    pyfuse3.init(toy, mountpoint, {"ro", "fsname=toy", *pyfuse3.default_options})
    try:
        trio.run(_serve, toy, mountpoint)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
