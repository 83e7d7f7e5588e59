"""The mounted tree: which names are where, what they show, and how long the kernel may keep it. Shell.

The root and the scheme directories list only what has been used, so that indexers cannot crawl the world.
"""

from collections.abc import Iterator
from typing import NamedTuple

import trio

from flyfs.core.errors import NotFound, Stale
from flyfs.core.ids import Ino
from flyfs.core.urls import SCHEMES, canonical_authority
from flyfs.fs.attributes import Attributes, absent, attributes_of
from flyfs.fs.consistency import CONSTANT_TIMEOUT_S, OFFLINE_TIMEOUT_S, Freshness
from flyfs.fs.control import CONTROL_NAME, CONTROL_NAMES, rendered
from flyfs.fs.directory_view import FIRST_POSITION, Row, name_position
from flyfs.fs.figures import Figures
from flyfs.fs.inodes import InodeTable, Node, NodeKind
from flyfs.fs.knowledge import Knowledge
from flyfs.fs.questions import Questions

_ROOT_NAMES: dict[str, NodeKind] = {**dict.fromkeys(SCHEMES, NodeKind.SCHEME), CONTROL_NAME: NodeKind.CONTROL_DIRECTORY}
_OWN_POSITION = 1
_PARENT_POSITION = 2


class Told(NamedTuple):
    """One row of a directory as the kernel is told it.

    Attributes:
        name: in bytes.
        attributes: of the number that the name stands for.
        position: where reading goes on behind it.
        counted: whether telling it is a lookup of the number; ``.`` and ``..`` are none.
    """

    name: bytes
    attributes: Attributes
    position: int
    counted: bool = True


class Tree:
    """Names and attributes."""

    def __init__(
        self,
        *,
        table: InodeTable,
        knowledge: Knowledge,
        questions: Questions,
        figures: Figures,
        freshness: Freshness,
        made_s: int,
    ) -> None:
        self._table = table
        self._knowledge = knowledge
        self._questions = questions
        self._figures = figures
        self._freshness = freshness
        self._made_s = made_s
        self._clock_s = made_s - trio.current_time()

    def node(self, ino: Ino) -> Node:
        """The node of a number.

        Raises:
            Stale: nobody knows the number (any more).
        """
        node = self._table.find(ino)
        if node is None:
            raise Stale(f"inode {ino} is not known")
        return node

    async def lookup(self, parent: Ino, raw_name: bytes) -> Attributes:
        """What ``raw_name`` is in the directory ``parent``; number 0 for certainly nothing. Counted as a lookup.

        Raises:
            FlyfsError: it cannot be known now.
        """
        directory = self.node(parent)
        name = raw_name.decode("utf-8", "surrogateescape")
        if directory.kind is not NodeKind.DIRECTORY:
            node = self._static(directory, name)
            return absent(CONSTANT_TIMEOUT_S) if node is None else self._tell(node)
        try:
            node, offline = await self._knowledge.resolve(directory, name)
        except NotFound:
            now = trio.current_time()
            since = self._knowledge.absent_since(directory, name)
            return absent(self._freshness.absent_timeout_s(now if since is None else since, now))
        return self._tell(node, offline_timeout_s=OFFLINE_TIMEOUT_S if offline else None)

    async def attributes(self, ino: Ino) -> Attributes:
        """The attributes of a number.

        Raises:
            Stale: the number is not known, or its version turned out to be over.
            FlyfsError: its size cannot be known now.
        """
        node = self.node(ino)
        if node.kind is NodeKind.FILE and node.facts.size is None:
            await self._knowledge.exact(node, read=False)
        return self._attributes(node)

    async def rows(self, ino: Ino, position: int) -> Iterator[Told]:
        """The rows of a directory behind ``position``; 0 is its start. Whoever tells a counted one says so to the table.

        Raises:
            FlyfsError: the directory cannot be listed.
        """
        directory = self.node(ino)
        if directory.kind is not NodeKind.DIRECTORY:
            return self._static_rows(directory, position)
        view = await self._knowledge.view(directory, go_on=position > 0)
        index = view.index_behind(position)
        await self._knowledge.learn_sizes(directory, view, index)
        return self._remote_rows(directory, view.rows[index:], position)

    # -- the parts ---------------------------------------------------------------------------------------------------

    def _static(self, directory: Node, name: str) -> Node | None:
        """A name that needs nobody to be asked, None where there is none."""
        now = trio.current_time()
        match directory.kind:
            case NodeKind.ROOT:
                kind = _ROOT_NAMES.get(name)
            case NodeKind.SCHEME:
                kind = NodeKind.DIRECTORY if _is_authority(directory.name, name) else None
            case NodeKind.CONTROL_DIRECTORY if directory.parent is self._table.root:
                kind = CONTROL_NAMES.get(name)
            case _:
                kind = None
        if kind is None:
            return None
        if kind is NodeKind.CONTROL_FILE:
            wall_s = int(now + self._clock_s)
            return self._table.add_control_file(directory, name, rendered(name, self._figures), now=now, modified_s=wall_s)
        return self._table.settle_static(directory, name, kind, now)

    def _static_rows(self, directory: Node, position: int) -> Iterator[Told]:
        yield from self._own_rows(directory, position)
        match directory.kind:
            case NodeKind.ROOT:
                names: tuple[str, ...] = tuple(_ROOT_NAMES)
            case NodeKind.SCHEME:
                names = self._questions.hosts(directory.name)
            case NodeKind.CONTROL_DIRECTORY if directory.parent is self._table.root:
                names = tuple(CONTROL_NAMES)
            case _:
                names = ()
        for place, raw, name in sorted((name_position(name.encode()), name.encode(), name) for name in names):
            node = self._static(directory, name) if place > position else None
            if node is not None:
                yield Told(raw, self._attributes(node), place)

    def _remote_rows(self, directory: Node, rows: list[Row], position: int) -> Iterator[Told]:
        yield from self._own_rows(directory, position)
        settle, freshness, made_s = self._knowledge.settle_row, self._freshness, self._made_s
        now = trio.current_time()  # once: this runs without an await until the kernel's buffer is full
        for row in rows:
            node = settle(directory, row)
            yield Told(row.raw, attributes_of(node, freshness, now, made_s=made_s), row.position, True)

    def _own_rows(self, directory: Node, position: int) -> Iterator[Told]:
        if position < _OWN_POSITION:
            yield Told(b".", self._attributes(directory), _OWN_POSITION, counted=False)
        if position < _PARENT_POSITION < FIRST_POSITION:
            yield Told(b"..", self._attributes(directory.parent or directory), _PARENT_POSITION, counted=False)

    def _tell(self, node: Node, *, offline_timeout_s: float | None = None) -> Attributes:
        self._table.looked_up(node)
        return self._attributes(node, offline_timeout_s=offline_timeout_s)

    def _attributes(self, node: Node, *, offline_timeout_s: float | None = None) -> Attributes:
        return attributes_of(node, self._freshness, trio.current_time(), made_s=self._made_s, offline_timeout_s=offline_timeout_s)


def _is_authority(scheme: str, name: str) -> bool:
    try:
        canonical_authority(scheme, name)
    except ValueError:
        return False
    return True
