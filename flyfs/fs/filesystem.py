"""The mounted filesystem without FUSE: what each request means. Shell; the only thing of this room that ``fuse`` talks to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import trio

from flyfs.core.ids import Handle, Ino
from flyfs.fs.attributes import Attributes
from flyfs.fs.consistency import Freshness
from flyfs.fs.figures import Figures, Space
from flyfs.fs.inodes import InodeTable
from flyfs.fs.knowledge import Knowledge, Listener
from flyfs.fs.open_files import Opened, OpenFiles
from flyfs.fs.questions import Questions
from flyfs.fs.remotes import Remotes
from flyfs.fs.tree import Told, Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystemStatistics:
    """Figures of the tree.

    Attributes:
        open_files: handles.
        told_offline: answers from memory because nobody could be asked, since the start.
    """

    open_files: int
    told_offline: int


class FileSystem:
    """Answers requests about numbers and names. Everything raises ``FlyfsError`` where it has no answer.

    To be made inside the trio run.
    """

    def __init__(self, *, remotes: Remotes, figures: Figures, max_age_s: float, deadline_s: float, made_s: int) -> None:
        """Wires the parts.

        Args:
            remotes: who knows remote names.
            figures: who knows the daemon's figures.
            max_age_s: the consistency setting: 0 for ``strict``, S for ``ttl=S``, infinity for ``immutable``.
            deadline_s: how long a request may wait for the network.
            made_s: wall-clock time of the mount, seconds since 1970.
        """
        freshness = Freshness(max_age_s)
        self._figures = figures
        self._table = InodeTable(now=trio.current_time())
        questions = Questions(remotes, deadline_s=deadline_s)
        self._knowledge = Knowledge(self._table, questions, freshness)
        self._tree = Tree(
            table=self._table,
            knowledge=self._knowledge,
            questions=questions,
            figures=figures,
            freshness=freshness,
            made_s=made_s,
        )
        self._open_files = OpenFiles(table=self._table, knowledge=self._knowledge, remotes=remotes, deadline_s=deadline_s)
        self.read_nowait = self._open_files.read_nowait  # bound once: every read passes here
        self.told = self._table.told  # bound once: every row of a directory passes here

    async def lookup(self, parent: Ino, name: bytes) -> Attributes:
        """What ``name`` is in ``parent``; number 0 for certainly nothing."""
        return await self._tree.lookup(parent, name)

    async def attributes(self, ino: Ino) -> Attributes:
        """The attributes of a number."""
        return await self._tree.attributes(ino)

    def forget(self, ino: Ino, count: int) -> None:
        """The kernel forgot a number; a hint."""
        self._table.forget(ino, count)

    def open_directory(self, ino: Ino) -> Handle:
        """A handle for reading a directory."""
        return Handle(self._tree.node(ino).ino)

    async def rows(self, handle: Handle, position: int) -> Iterator[Told]:
        """The rows of a directory behind ``position``."""
        return await self._tree.rows(Ino(handle), position)

    async def open(self, ino: Ino) -> Opened:
        """Opens a file; the handle is its number."""
        return await self._open_files.open(self._tree.node(ino))

    async def read(self, handle: Handle, offset: int, size: int) -> memoryview | bytes:
        """Bytes of an open file, valid until the next await."""
        return await self._open_files.read(self._tree.node(Ino(handle)), offset, size)

    def release(self, handle: Handle) -> None:
        """One handle less; a hint."""
        self._open_files.release(Ino(handle))

    async def extended(self, ino: Ino, name: bytes) -> bytes | None:
        """The value of an extended attribute, None where there is none."""
        return await self._open_files.extended(self._tree.node(ino), name)

    def extended_names(self, ino: Ino) -> tuple[bytes, ...]:
        """The extended attributes of a number."""
        return self._open_files.extended_names(self._tree.node(ino))

    def space(self) -> Space:
        """Room in the store."""
        return self._figures.space()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tells ``listener`` what the kernel should forget; returns the function that ends it."""
        return self._knowledge.listen(listener)

    def close(self) -> None:
        """Lets go of all blobs; handles that come later find nothing open."""
        self._open_files.close()

    def statistics(self) -> FileSystemStatistics:
        """Figures of the tree."""
        return FileSystemStatistics(
            open_files=len(self._open_files),
            told_offline=self._knowledge.told_offline,
        )
