# ruff: noqa: ARG002  # pyfuse3 decides what a handler is given
"""Every request of the kernel, translated for ``FileSystem`` and back. Shell; it holds no decision.

What is not defined here is answered by pyfuse3 with ENOSYS, which the kernel remembers and never asks again: access (the
kernel checks modes itself), flush, fsync, poll.
"""

import os
import stat
from collections.abc import Callable, Sequence
from typing import NoReturn

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, ReaddirToken, RequestContext, StatvfsData

from flyfs.core.grid import KIB
from flyfs.core.ids import Handle, Ino
from flyfs.fs.attributes import Attributes
from flyfs.fs.extended import is_supported
from flyfs.fs.filesystem import FileSystem
from flyfs.fuse.answering import answering, translated
from flyfs.fuse.errno_map import NO_ATTRIBUTE, NO_SUCH_ATTRIBUTES, READ_ONLY

PREFERRED_BYTES = 128 * KIB
"""``st_blksize``: programs that buffer by it read what the kernel's smallest read-ahead fetches anyway."""
SECTOR_BYTES = 512
"""``st_blocks`` counts these, whatever the filesystem."""
FRAGMENT_BYTES = 4096
NAME_MAX_BYTES = 255
_SECOND_NS = 1_000_000_000


class Operations(pyfuse3.Operations):
    """Handlers of one mount."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(
        self, filesystem: FileSystem, *, umask: int, uid: int, gid: int, on_start: Callable[[], None] = lambda: None
    ) -> None:
        """Takes what it translates for.

        Args:
            filesystem: who answers.
            umask: taken from mode 0555.
            uid: owner of everything.
            gid: group of everything.
            on_start: called when the kernel has agreed to talk.
        """
        super().__init__()
        self._filesystem = filesystem
        self._read_nowait = filesystem.read_nowait
        self._uid = uid
        self._gid = gid
        self._directory_mode = stat.S_IFDIR | (0o555 & ~umask)
        self._file_mode = stat.S_IFREG | (0o555 & ~umask)
        self._on_start = on_start
        self._row = EntryAttributes()  # rows are copied as they are told: one object serves all

    def init(self) -> None:
        """The kernel has agreed to talk."""
        self._on_start()

    # -- names -------------------------------------------------------------------------------------------------------

    @answering
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        """A name in a directory; number 0 lets the kernel remember that there is none."""
        return self._fill(EntryAttributes(), await self._filesystem.lookup(Ino(parent_inode), name))

    @answering
    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        """Attributes of a number."""
        return self._fill(EntryAttributes(), await self._filesystem.attributes(Ino(inode)))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """A hint that has no reply, not even an error."""
        try:
            for inode, count in inode_list:
                self._filesystem.forget(Ino(inode), count)
        except Exception as error:  # as ``answering``, but there is nobody to tell
            translated("forget", error)

    # -- directories -------------------------------------------------------------------------------------------------

    @answering
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        """A handle for reading a directory."""
        return self._filesystem.open_directory(Ino(inode))

    @answering
    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        """Rows with attributes, until the kernel's buffer is full."""
        filesystem, row, fill, reply = self._filesystem, self._row, self._fill, pyfuse3.readdir_reply
        for told in await filesystem.rows(Handle(fh), start_id):
            attributes = told.attributes
            if not reply(token, told.name, fill(row, attributes), told.position):
                break
            if told.counted:
                filesystem.told(attributes.ino)

    async def releasedir(self, fh: int) -> None:
        """Nothing is held for a directory."""

    # -- files -------------------------------------------------------------------------------------------------------

    @answering
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        """The handle is the number; what a number stands for never changes, so the page cache is kept."""
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
            self._refuse()
        opened = await self._filesystem.open(Ino(inode))
        return FileInfo(fh=inode, direct_io=opened.direct, keep_cache=not opened.direct)

    async def read(self, fh: int, off: int, size: int) -> memoryview | bytes:  # type: ignore[override]  # any buffer will do
        """Bytes; nothing is awaited between filling the store's buffer and replying from it."""
        try:
            view = self._read_nowait(Ino(fh), off, size)
            return view if view is not None else await self._filesystem.read(Handle(fh), off, size)
        except Exception as error:
            raise translated("read", error) from error

    @answering
    async def release(self, fh: int) -> None:
        """A hint."""
        self._filesystem.release(Handle(fh))

    # -- about files -------------------------------------------------------------------------------------------------

    @answering
    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        """An extended attribute."""
        if not is_supported(name):
            raise FUSEError(NO_SUCH_ATTRIBUTES)
        value = await self._filesystem.extended(Ino(inode), name)
        if value is None:
            raise FUSEError(NO_ATTRIBUTE)
        return value

    @answering
    async def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        """The names of the extended attributes."""
        return self._filesystem.extended_names(Ino(inode))

    @answering
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        """Room in the store, from memory."""
        space = self._filesystem.space()
        told = StatvfsData()
        told.f_bsize = PREFERRED_BYTES
        told.f_frsize = FRAGMENT_BYTES
        told.f_blocks = space.total_bytes // FRAGMENT_BYTES
        told.f_bfree = told.f_bavail = space.free_bytes // FRAGMENT_BYTES
        told.f_namemax = NAME_MAX_BYTES
        return told

    # -- writes of every kind ----------------------------------------------------------------------------------------

    async def _refuse_write(self, *request: object) -> NoReturn:
        self._refuse()

    @staticmethod
    def _refuse() -> NoReturn:
        raise FUSEError(READ_ONLY)

    setattr = mknod = mkdir = unlink = rmdir = symlink = rename = link = _refuse_write  # type: ignore[assignment]  # never returns
    write = create = setxattr = removexattr = _refuse_write  # type: ignore[assignment]  # never returns

    # -- values ------------------------------------------------------------------------------------------------------

    def _fill(self, entry: EntryAttributes, attributes: Attributes) -> EntryAttributes:
        """``entry`` with ``attributes``; everything that varies is written."""
        entry.st_ino = attributes.ino
        entry.entry_timeout = attributes.entry_timeout_s
        entry.attr_timeout = attributes.attribute_timeout_s
        entry.st_mode = self._directory_mode if attributes.directory else self._file_mode
        entry.st_nlink = 1
        entry.st_uid = self._uid
        entry.st_gid = self._gid
        entry.st_size = attributes.size
        entry.st_blksize = PREFERRED_BYTES
        entry.st_blocks = -(-attributes.size // SECTOR_BYTES)
        modified_ns = attributes.modified_s * _SECOND_NS
        entry.st_atime_ns = modified_ns
        entry.st_mtime_ns = modified_ns
        entry.st_ctime_ns = modified_ns
        return entry
