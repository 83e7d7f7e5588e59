"""The inode table: a number names a path at one version, so the kernel's page cache can never mix versions. Pure.

Numbers are derived, not drawn: 63 bits of a hash over (parent's number, name, version), the next free one where two collide.
The kernel counts what it was told (``looked_up``) and forgets; forgetting is a hint, unknown numbers never raise. What the
kernel does not hold any more is kept in a bounded memory of last use, so that knowledge outlives a pressed dentry cache.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import blake2b

from flyfs.core.ids import Ino
from flyfs.core.names import read_name
from flyfs.core.urls import RemoteUrl, canonical_authority
from flyfs.fs.versions import Facts, fits, merged

ROOT_INO = Ino(1)
IDLE_LIMIT = 16_384
"""Nodes kept though the kernel does not hold them: about 10 MB."""

_MASK = (1 << 63) - 1


class NodeKind(Enum):
    """Where in the tree a node is."""

    ROOT = auto()
    SCHEME = auto()
    """``http``, ``https``."""
    DIRECTORY = auto()
    """A remote directory; the topmost one is named by its authority."""
    FILE = auto()
    CONTROL_DIRECTORY = auto()
    CONTROL_FILE = auto()


class Node:
    """What a number stands for. Only the table changes it.

    Attributes:
        ino: the number.
        parent: the directory it is in, None for the root.
        name: as shown.
        kind: where in the tree it is.
        facts: what is known of it; of a static directory only the time it was made.
        listed: what a listing last told of it.
        remote_name: decoded name and query, where the shown name does not tell (a shortened one).
        text: a control file's content.
        lookups: how often the kernel was told the number and did not forget it.
        opens: how often it is open.
        key: what the number was derived from.
    """

    __slots__ = ("facts", "ino", "key", "kind", "listed", "lookups", "name", "opens", "parent", "remote_name", "text")

    def __init__(
        self,
        *,
        ino: Ino,
        key: bytes,
        parent: "Node | None",
        name: str,
        kind: NodeKind,
        facts: Facts,
        listed: Facts | None = None,
        remote_name: tuple[str, str] | None = None,
        text: bytes | None = None,
    ) -> None:
        self.ino = ino
        self.key = key
        self.parent = parent
        self.name = name
        self.kind = kind
        self.facts = facts
        self.listed = listed
        self.remote_name = remote_name
        self.text = text
        self.lookups = 0
        self.opens = 0

    def __repr__(self) -> str:
        return f"<Node {self.ino} {self.path} {self.kind.name.lower()}>"

    @property
    def path(self) -> str:
        """The path below the mountpoint, for people."""
        return f"{self.parent.path.rstrip('/')}/{self.name}" if self.parent else "/"

    @property
    def url(self) -> RemoteUrl:
        """The remote name; a directory's ends with a slash.

        Raises:
            ValueError: the node is not remote.
        """
        if self.kind not in (NodeKind.DIRECTORY, NodeKind.FILE) or self.parent is None:
            raise ValueError(f"{self.path} has no URL")
        if self.parent.kind is NodeKind.SCHEME:
            return RemoteUrl(self.parent.name, canonical_authority(self.parent.name, self.name), ("",))
        name, query = self.remote_name or read_name(self.name)
        url = self.parent.url.child(name, query)
        return url.as_directory() if self.kind is NodeKind.DIRECTORY else url


@dataclass(frozen=True, slots=True)
class Settled:
    """The node of a name for what is known now, and the one whose version is over, if there was one."""

    node: Node
    replaced: Node | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InodeStatistics:
    """How many nodes the kernel does not hold."""

    idle: int


def number_key(parent: Ino, name: str, version: str) -> bytes:
    """What a number is derived from: 16 bytes that differ wherever parent, name or version do."""
    raw = name.encode("utf-8", "surrogateescape")
    hasher = blake2b(parent.to_bytes(8, "little"), digest_size=16)
    hasher.update(len(raw).to_bytes(4, "little") + raw)
    hasher.update(version.encode("utf-8", "surrogateescape"))
    return hasher.digest()


def first_number(key: bytes) -> int:
    """The number a key stands for, unless that one is taken."""
    return int.from_bytes(key[:8], "little") & _MASK


class InodeTable:
    """All nodes by number, and the current node of each name."""

    def __init__(self, *, now: float, idle_limit: int = IDLE_LIMIT, number_of: Callable[[bytes], int] = first_number) -> None:
        self._idle_limit = idle_limit
        self._number_of = number_of
        self._serial = 0
        self._current: dict[tuple[Ino, str], Node] = {}
        self._idle: OrderedDict[Ino, None] = OrderedDict()
        self.root = Node(
            ino=ROOT_INO, key=b"root", parent=None, name="", kind=NodeKind.ROOT, facts=Facts(directory=True, as_of=now)
        )
        self._nodes: dict[Ino, Node] = {ROOT_INO: self.root}

    def find(self, ino: Ino) -> Node | None:
        """The node of a number."""
        return self._nodes.get(ino)

    def current(self, parent: Node, name: str) -> Node | None:
        """The node that ``name`` last was, whatever its age."""
        return self._current.get((parent.ino, name))

    def settle_static(self, parent: Node, name: str, kind: NodeKind, now: float) -> Node:
        """The node of a name that the tree itself provides."""
        found = self._current.get((parent.ino, name))
        return found or self._add(parent, name, kind, Facts(directory=True, as_of=now))

    def add_control_file(self, parent: Node, name: str, text: bytes, *, now: float, modified_s: int) -> Node:
        """A fresh node for a text that was rendered now, at the wall-clock time ``modified_s``."""
        self._serial += 1
        facts = Facts(directory=False, size=len(text), modified_s=modified_s, modified_exact=True, as_of=now)
        return self._add(parent, name, NodeKind.CONTROL_FILE, facts, text=text, version=f"control {self._serial}")

    def settle(
        self, parent: Node, name: str, facts: Facts, *, listed: bool, remote_name: tuple[str, str] | None = None
    ) -> Settled:
        """The node of a remote name, given what was learned of it; older knowledge never replaces newer.

        Args:
            parent: the directory.
            name: as shown.
            facts: what was learned.
            listed: whether a listing told it.
            remote_name: decoded name and query where ``name`` does not tell.
        """
        found = self._current.get((parent.ino, name))
        if found is not None:
            if fits(found.facts, found.listed, facts):
                found.facts = merged(found.facts, facts)
                if listed:
                    found.listed = facts
                return Settled(found)
            if facts.as_of < found.facts.as_of:
                return Settled(found)
        kind = NodeKind.DIRECTORY if facts.directory else NodeKind.FILE
        node = self._add(parent, name, kind, facts, listed=facts if listed else None, remote_name=remote_name)
        return Settled(node, found if found is not node else None)

    def gone(self, parent: Node, name: str) -> Node | None:
        """``name`` is certainly not there any more: the node it was, which stays for whoever has it open."""
        return self._current.pop((parent.ino, name), None)

    def looked_up(self, node: Node) -> None:
        """The kernel is being told the number."""
        if not node.lookups:
            self._idle.pop(node.ino, None)
        node.lookups += 1

    def told(self, ino: Ino) -> None:
        """As ``looked_up``, of a number; one that left meanwhile is fine."""
        node = self._nodes.get(ino)
        if node is not None:
            self.looked_up(node)

    def forget(self, ino: Ino, count: int) -> None:
        """The kernel forgot ``count`` of the times it was told ``ino``."""
        node = self._nodes.get(ino)
        if node is not None:
            node.lookups = max(node.lookups - count, 0)
            self._let_go(node)

    def opened(self, node: Node) -> None:
        """The node is open once more: it stays, whatever the kernel forgets."""
        node.opens += 1
        self._idle.pop(node.ino, None)

    def closed(self, node: Node) -> None:
        """The node is open once less."""
        node.opens = max(node.opens - 1, 0)
        self._let_go(node)

    def statistics(self) -> InodeStatistics:
        """How big the table is."""
        return InodeStatistics(idle=len(self._idle))

    def _add(
        self,
        parent: Node,
        name: str,
        kind: NodeKind,
        facts: Facts,
        *,
        listed: Facts | None = None,
        remote_name: tuple[str, str] | None = None,
        text: bytes | None = None,
        version: str | None = None,
    ) -> Node:
        key = number_key(parent.ino, name, version or facts.version_key)
        ino = Ino(self._number_of(key))
        while ino <= ROOT_INO or ((found := self._nodes.get(ino)) is not None and found.key != key):
            ino = Ino((ino + 1) & _MASK)
        node = self._nodes.get(ino)
        if node is None:
            node = Node(
                ino=ino,
                key=key,
                parent=parent,
                name=name,
                kind=kind,
                facts=facts,
                listed=listed,
                remote_name=remote_name,
                text=text,
            )
            self._nodes[ino] = node
            self._settle_down(node)
        else:  # the same path at the same version came back while its number is still held
            node.facts = merged(node.facts, facts)
            node.listed = listed or node.listed
        if kind is not NodeKind.CONTROL_FILE:
            self._current[parent.ino, name] = node
        return node

    def _let_go(self, node: Node) -> None:
        if node.kind is NodeKind.CONTROL_FILE and not node.lookups and not node.opens:
            self._idle.pop(node.ino, None)
            self._drop(node)  # nobody can ever be told this number again
        else:
            self._settle_down(node)

    def _settle_down(self, node: Node) -> None:
        """Moves a node that nobody holds to the idle ones, and drops the oldest of those beyond the limit."""
        if node.lookups or node.opens or node is self.root:
            return
        self._idle[node.ino] = None
        self._idle.move_to_end(node.ino)
        while len(self._idle) > self._idle_limit:
            left, _ = self._idle.popitem(last=False)
            self._drop(self._nodes[left])

    def _drop(self, node: Node) -> None:
        self._nodes.pop(node.ino, None)
        if node.parent is not None and self._current.get((node.parent.ino, node.name)) is node:
            del self._current[node.parent.ino, node.name]
