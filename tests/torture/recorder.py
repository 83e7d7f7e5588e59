"""A disk that writes down what it is told: a file system with one file, the image below a loop device. Shell.

``python -m tests.torture.recorder IMAGE LOG MOUNTPOINT`` serves ``MOUNTPOINT/image``, which is IMAGE, until SIGTERM, and appends
every write and every flush to LOG in their order (``device_log``). What is written to ``MOUNTPOINT/marks`` stands between them:
whoever writes there knows what the device had been told before.

Nothing is held back on the way here: FUSE without writeback cache sends each write of the loop driver before it is answered,
and the driver sends an fsync for each flush, which a forced write (FUA) becomes two of.
"""

import errno
import os
import signal
import stat
import sys
from pathlib import Path

import pyfuse3
import trio

from tests.support.with_parent import end_with_parent
from tests.torture.device_log import encode_flush, encode_mark, encode_write

IMAGE_NAME, MARKS_NAME = "image", "marks"
_IMAGE, _MARKS = pyfuse3.InodeT(2), pyfuse3.InodeT(3)
_INODES = {IMAGE_NAME.encode(): _IMAGE, MARKS_NAME.encode(): _MARKS}
_TIMEOUT_S = 3600


class Recorder(pyfuse3.Operations):
    """No handler awaits between the log and the image, so both have the same order."""

    def __init__(self, image: Path, log: Path) -> None:
        super().__init__()
        self._image_fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        self._log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = image.stat().st_size

    async def getattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext | None = None) -> pyfuse3.EntryAttributes:
        """The root's, the image's or the marks'."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = stat.S_IFDIR | 0o700 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o600
        entry.st_size = self._size if inode == _IMAGE else 0
        entry.entry_timeout = entry.attr_timeout = _TIMEOUT_S
        return entry

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """One of the two files."""
        if name not in _INODES:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(_INODES[name])

    async def setattr(
        self,
        inode: pyfuse3.InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: pyfuse3.FileHandleT | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Times may be set, and stay as they are."""
        if fields.update_size:
            raise pyfuse3.FUSEError(errno.EPERM)
        return await self.getattr(inode)

    async def open(self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """The marks pass by the page cache: their size does not matter."""
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), direct_io=inode == _MARKS)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        """The image's bytes."""
        return os.pread(self._image_fd, size, off) if fh == _IMAGE else b""

    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        """Into the log, and into the image."""
        if fh == _MARKS:
            self._append(encode_mark(buf))
        else:
            self._append(encode_write(off, buf))
            os.pwrite(self._image_fd, buf, off)
        return len(buf)

    async def fsync(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:
        """What was written before has reached the disk."""
        if fh == _IMAGE:
            self._append(encode_flush())

    async def flush(self, fh: pyfuse3.FileHandleT) -> None:
        """Somebody closed a descriptor: nothing to the disk."""

    def _append(self, record: bytes) -> None:
        count = os.write(self._log_fd, record)
        assert count == len(record), "the log has no room"


async def _serve() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()


def main() -> None:
    """Mounts, serves until SIGTERM, unmounts."""
    end_with_parent()
    image, log, mountpoint = sys.argv[1:]
    pyfuse3.init(Recorder(Path(image), Path(log)), mountpoint, {"fsname=recorder", *pyfuse3.default_options})
    try:
        trio.run(_serve)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
