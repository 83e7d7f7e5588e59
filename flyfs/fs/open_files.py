"""Open files: handles, reading, and what can be said of a file's blob. Shell.

A handle is its inode number: several opens share one blob with a count, and a number that this process never opened is opened
when it is first read, because a process before this one may have done so.
"""

from dataclasses import dataclass

import trio

from flyfs.core.errors import Corrupt, Stale, Unavailable
from flyfs.core.ids import Ino
from flyfs.fs.circuit import Circuit
from flyfs.fs.extended import (
    KIND,
    OF_CONTROL,
    OF_DIRECTORIES,
    OF_FILES,
    OF_FILES_AT_MOST,
    SIZE,
    URL,
    blob_values,
    url_value,
)
from flyfs.fs.inodes import InodeTable, Node, NodeKind
from flyfs.fs.knowledge import Knowledge
from flyfs.fs.remotes import OpenBlob, Remotes
from flyfs.fs.single_flight import SingleFlight

SHORT_READ_S = 0.45
_NOTHING = memoryview(b"")


@dataclass(frozen=True, slots=True)
class Opened:
    """How the kernel may treat an open file: ``direct`` keeps it out of the page cache."""

    direct: bool


class _Held:
    """A blob that handles share."""

    __slots__ = ("blob", "count", "node", "size")

    def __init__(self, node: Node, blob: OpenBlob) -> None:
        self.node = node
        self.blob = blob
        self.size = blob.blob.size
        self.count = 0


class OpenFiles:
    """What is open, by number."""

    def __init__(self, *, table: InodeTable, knowledge: Knowledge, remotes: Remotes, deadline_s: float) -> None:
        self._table = table
        self._knowledge = knowledge
        self._remotes = remotes
        self._held: dict[Ino, _Held] = {}
        # Where a read-ahead fails the kernel asks once more for the first page alone: both fit into the deadline,
        # and into a second once patience is short.
        self._circuit = Circuit[Ino](deadline_s=max(deadline_s - SHORT_READ_S, SHORT_READ_S), short_s=SHORT_READ_S)
        self._opening_lazily = SingleFlight[Ino, _Held]()

    def __len__(self) -> int:
        return sum(held.count for held in self._held.values())

    async def open(self, node: Node) -> Opened:
        """Opens a file's version, pinned from here on.

        Raises:
            Stale: the version is over; looking the name up again finds the new one.
            FlyfsError: the file cannot be opened now.
        """
        if node.kind is NodeKind.CONTROL_FILE:
            self._table.opened(node)
            return Opened(direct=True)
        await self._hold(node)
        return Opened(direct=False)

    def read_nowait(self, ino: Ino, offset: int, size: int) -> memoryview | None:
        """The bytes, where they are at hand; the view is valid until the next await. Never short inside the file."""
        held = self._held.get(ino)
        if held is None:
            return None
        left = held.size - offset
        if left < size:
            if left <= 0:
                return _NOTHING
            size = left
        view = held.blob.read_nowait(offset, size)
        return view if view is not None and len(view) == size else None

    async def read(self, node: Node, offset: int, size: int) -> memoryview | bytes:
        """The bytes, within the deadline; the result is valid until the next await. Never short inside the file.

        Raises:
            Unavailable: they did not come in time.
            FlyfsError: nobody can give them.
        """
        if node.text is not None:
            return node.text[offset : offset + size]
        held = self._held.get(node.ino) or await self._opening_lazily.fly(node.ino, lambda: self._hold(node))
        wanted = min(size, held.size - offset)
        if wanted <= 0:
            return _NOTHING
        mark = _moved(held.blob)
        if self._circuit.moved(node.ino, mark):
            self._knowledge.bytes_came(node)
        patience_s = self._circuit.patience_s(node.ino, mark, trio.current_time())
        if not self._knowledge.is_patient(node):  # another file, or a name, of this host timed out
            patience_s = min(patience_s, SHORT_READ_S)
        try:
            with trio.fail_after(patience_s):
                data = await held.blob.read(offset, wanted)
        except trio.TooSlowError:
            self._knowledge.bytes_timed_out(node)
            self._circuit.timed_out(node.ino, _moved(held.blob), trio.current_time())
            raise Unavailable(f"{node.path}: bytes from {offset} on did not come within {patience_s:g} s") from None
        if _moved(held.blob) != mark:
            self._knowledge.bytes_came(node)
        if len(data) != wanted:
            raise Corrupt(f"{node.path}: {len(data)} bytes at {offset} where {wanted} must be")
        return data

    def release(self, ino: Ino) -> None:
        """One handle less; what was never opened here is fine."""
        node = self._table.find(ino)
        if node is not None and node.kind is NodeKind.CONTROL_FILE:
            self._table.closed(node)
        held = self._held.get(ino)
        if held is None:
            return
        held.count -= 1
        self._table.closed(held.node)
        if held.count == 0:
            del self._held[ino]
            held.blob.close()

    async def extended(self, node: Node, name: bytes) -> bytes | None:
        """The value of an extended attribute, None where there is none.

        Raises:
            Stale: the file's version is over.
            FlyfsError: it cannot be known now.
        """
        if name not in (OF_FILES_AT_MOST if node.kind is NodeKind.FILE else self.extended_names(node)):
            return None
        if name == KIND:
            return node.kind.name.lower().replace("_", " ").encode()
        if name == URL:
            return url_value(node.url)
        if name == SIZE and node.facts.size is not None:
            return str(node.facts.size).encode()
        held = self._held.get(node.ino)
        if held is not None:
            return blob_values(held.blob.blob, held.blob.figures()).get(name)
        blob = await self._remotes.open(await self._knowledge.exact(node, read=False))
        try:
            return blob_values(blob.blob, blob.figures()).get(name)
        finally:
            blob.close()

    def extended_names(self, node: Node) -> tuple[bytes, ...]:
        """The extended attributes that a node lists, without asking anybody."""
        match node.kind:
            case NodeKind.FILE:
                held = self._held.get(node.ino)
                known = held is not None and held.blob.figures().digest is not None
                return OF_FILES_AT_MOST if known else OF_FILES
            case NodeKind.DIRECTORY:
                return OF_DIRECTORIES
            case _:
                return OF_CONTROL

    def close(self) -> None:
        """Lets go of everything, when the mount ends."""
        for held in self._held.values():
            held.blob.close()
        self._held.clear()

    async def _hold(self, node: Node) -> _Held:
        """One handle more."""
        if node.kind is not NodeKind.FILE:
            raise Stale(f"{node.path} is no file")
        file = await self._knowledge.exact(node, read=True)
        held = self._held.get(node.ino)
        if held is None:
            blob = await self._remotes.open(file)
            held = self._held.get(node.ino)
            if held is None:
                held = self._held[node.ino] = _Held(node, blob)
            else:  # another open was first while this one waited
                blob.close()
        held.count += 1
        self._table.opened(node)
        return held


def _moved(blob: OpenBlob) -> int:
    """A number that changes when pieces come, kept or not."""
    figures = blob.figures()
    return figures.have_pieces + figures.came_pieces
