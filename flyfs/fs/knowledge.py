"""What the mount knows of remote names, and asks where it does not know: nodes, files, listings, absences. Shell.

Between two awaits the inode table, the views and the absences agree with each other; every method re-reads them after an
await, because another handler may have learned more meanwhile. Three answers exist: a node, ``NotFound``, and ``Unavailable``;
while nobody can be asked, what was known less than 10 minutes ago stands in for the third.
"""

from collections.abc import Callable
from typing import Protocol

import structlog
import trio

from flyfs.core.errors import FlyfsError, NotFound, Stale, Unavailable
from flyfs.core.ids import Ino
from flyfs.core.names import read_name
from flyfs.core.remote import RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl
from flyfs.fs.consistency import Freshness, valid_offline
from flyfs.fs.directory_view import DirectoryView, Row, view_of
from flyfs.fs.inodes import InodeTable, Node, NodeKind
from flyfs.fs.questions import Questions
from flyfs.fs.recent import Recent
from flyfs.fs.single_flight import SingleFlight
from flyfs.fs.versions import answered_facts, fits

log = structlog.get_logger()

FILES_LIMIT = 4096
"""Exact answers kept: 1.5 KB each."""
ABSENCES_LIMIT = 16_384
ROWS_LIMIT = 65_536
"""Rows of listings kept: about 0.6 KB each."""
INLINE_ROWS = 500
"""A longer listing is made into a view in a thread: the loop must not stand for more than 5 ms."""
SIZES_AHEAD = 256
"""Rows whose missing sizes are asked for at a time: more than fit into one reply of the kernel's directory reading."""
SIZES_AT_ONCE = 32


class Listener(Protocol):
    """Whoever must know that the kernel was told something that is over."""

    def entry_changed(self, parent: Ino, name: bytes) -> None:
        """The name in ``parent`` stands for another number, or for none."""
        ...

    def attributes_changed(self, ino: Ino) -> None:
        """The number's time or size is known more exactly than it was told."""
        ...


class Knowledge:
    """Remote names as nodes."""

    def __init__(self, table: InodeTable, questions: Questions, freshness: Freshness) -> None:
        self._table = table
        self._questions = questions
        self._freshness = freshness
        self._files = Recent[Ino, tuple[RemoteFile, float]](FILES_LIMIT)
        self._absences = Recent[tuple[Ino, str], float](ABSENCES_LIMIT)
        self._views = Recent[Ino, DirectoryView](ROWS_LIMIT)
        self._making_views = SingleFlight[Ino, DirectoryView]()
        self._asking_sizes = trio.CapacityLimiter(SIZES_AT_ONCE)
        self._listeners: list[Listener] = []
        self.told_offline = 0
        """How often something was told from memory because nobody could be asked."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tells ``listener`` of every change from now on; returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # -- names -------------------------------------------------------------------------------------------------------

    async def resolve(self, parent: Node, name: str) -> tuple[Node, bool]:
        """The node of ``name`` in a remote directory, and whether it is told from memory because nobody can be asked.

        Raises:
            NotFound: it is certainly not there; ``absent_since`` tells as of when.
            FlyfsError: it cannot be known now.
        """
        now = trio.current_time()
        node = self._known(parent, name, now, valid=self._freshness.fresh)
        if node is not None:
            return node, False
        since = self._absences.get((parent.ino, name))
        if since is not None and self._freshness.absent_fresh(since, now):
            raise NotFound(f"{parent.url.redacted()} has no {name}")
        remote_name = self._remote_name(parent, name)
        if remote_name is None:
            raise NotFound(f"{name!r} names nothing")
        url = parent.url.child(*remote_name)
        try:
            known = not self._questions.is_patient(url) and self._known(parent, name, now, valid=valid_offline) is not None
            answer = await self._questions.stat(url, max_age_s=self._freshness.question_age_s, pin=True, known=known)
        except NotFound:
            self._learned_absence(parent, name)
            raise
        except Unavailable as error:
            return self._known_offline(parent, name, error), True
        return self._learned(parent, name, answer, remote_name), False

    def absent_since(self, parent: Node, name: str) -> float | None:
        """As of when ``name`` was certainly not in ``parent``."""
        return self._absences.get((parent.ino, name))

    def settle_row(self, parent: Node, row: Row) -> Node:
        """The node of a listed name."""
        node = self._table.current(parent, row.name)
        if node is not None and node.listed is row.facts:
            return node  # nothing new: by far the most rows
        settled = self._table.settle(parent, row.name, row.facts, listed=True, remote_name=row.remote_name)
        if settled.replaced is not None:
            self._entry_changed(settled.replaced)
        return settled.node

    def _known(self, parent: Node, name: str, now: float, *, valid: Callable[[float, float], bool]) -> Node | None:
        """The node of what is known, where that is valid and complete."""
        view = self._views.get(parent.ino)
        row = view.find(name) if view is not None and valid(view.as_of, now) else None
        node = self.settle_row(parent, row) if row is not None else self._table.current(parent, name)
        if node is None or not valid(node.facts.as_of, now):
            return None
        since = self._absences.get((parent.ino, name))
        if since is not None and since >= node.facts.as_of:
            return None
        return None if node.kind is NodeKind.FILE and node.facts.size is None else node

    def _known_offline(self, parent: Node, name: str, error: Unavailable) -> Node:
        """What may be told of a name while nobody can be asked; raises ``error`` where that is nothing."""
        now = trio.current_time()
        node = self._known(parent, name, now, valid=valid_offline)
        since = self._absences.get((parent.ino, name))
        if node is not None:
            self.told_offline += 1
            return node
        if since is not None and valid_offline(since, now):
            self.told_offline += 1
            raise NotFound(f"{parent.url.redacted()} had no {name} when it could be asked last")
        raise error

    def _remote_name(self, parent: Node, name: str) -> tuple[str, str] | None:
        """Decoded name and query of a shown name, None for what no URL can mean."""
        view = self._views.get(parent.ino)
        row = view.find(name) if view is not None else None
        if row is not None and row.remote_name is not None:
            return row.remote_name
        found = self._table.current(parent, name)
        if found is not None and found.remote_name is not None:
            return found.remote_name
        decoded, query = read_name(name)
        segments = decoded.split("/")
        if "\0" in decoded + query or any(segment in (".", "..") for segment in segments):
            return None
        if "" in segments and not (decoded == "" and query):
            return None
        return decoded, query

    # -- files -------------------------------------------------------------------------------------------------------

    async def exact(self, node: Node, *, read: bool) -> RemoteFile:
        """The file that a node stands for, asked for as the consistency setting demands.

        Args:
            node: a file.
            read: whether the caller is about to read.

        Raises:
            Stale: the node's version is over; the kernel is told and looks the name up again.
            NotFound: the name is certainly gone.
            FlyfsError: it cannot be known now.
        """
        held = self._files.get(node.ino)
        current = node.parent is not None and self._table.current(node.parent, node.name) is node
        if held is not None and current and self._freshness.fresh(held[1], trio.current_time()):
            return held[0]
        try:
            known = held is not None and valid_offline(held[1], trio.current_time())
            file = await self._ask_exactly(node, read=read, known=known)
        except Unavailable:
            if held is None or not valid_offline(held[1], trio.current_time()):
                raise
            self.told_offline += 1
            return held[0]
        if file.blob is None:
            raise Unavailable(f"{node.path}: its length is not known yet")
        return file

    async def _ask_exactly(self, node: Node, *, read: bool, known: bool) -> RemoteFile:
        parent, url = node.parent, node.url
        if parent is None:
            raise ValueError(f"{node.path} is no file")
        told = (node.facts.size, node.facts.modified_s)
        try:
            answer = await self._questions.stat(url, max_age_s=self._freshness.question_age_s, read=read, pin=True, known=known)
            facts = answered_facts(answer, trio.current_time() - answer.age_s)
            if facts.as_of < node.facts.as_of and not fits(node.facts, node.listed, facts):
                # A listing told something newer than this answer: only the origin can say which of them is true.
                answer = await self._questions.stat(url, max_age_s=0.0, read=read, pin=True)
        except NotFound:
            self._learned_absence(parent, node.name)
            raise
        current = self._learned(parent, node.name, answer, node.remote_name)
        if current is not node or isinstance(answer, RemoteDirectory):
            raise Stale(f"{node.path}: another version is there now")
        if node.lookups and told != (node.facts.size, node.facts.modified_s):
            for listener in self._listeners:
                listener.attributes_changed(node.ino)
        return answer

    def _learned(
        self, parent: Node, name: str, answer: RemoteFile | RemoteDirectory, remote_name: tuple[str, str] | None
    ) -> Node:
        as_of = trio.current_time() - answer.age_s
        self._absences.drop((parent.ino, name))
        settled = self._table.settle(
            parent, name, answered_facts(answer, as_of), listed=False, remote_name=_kept(name, remote_name)
        )
        if settled.replaced is not None:
            self._entry_changed(settled.replaced)
        if isinstance(answer, RemoteFile) and answer.blob is not None and settled.node.facts.blob_id == answer.blob.id:
            self._files.put(settled.node.ino, (answer, as_of))
        return settled.node

    def _learned_absence(self, parent: Node, name: str) -> None:
        self._absences.put((parent.ino, name), trio.current_time())
        gone = self._table.gone(parent, name)
        if gone is not None:
            self._entry_changed(gone)

    def _entry_changed(self, over: Node) -> None:
        if over.lookups and over.parent is not None:
            for listener in self._listeners:
                listener.entry_changed(over.parent.ino, over.name.encode("utf-8", "surrogateescape"))

    def is_patient(self, node: Node) -> bool:
        """Whether nothing timed out on the file's host lately."""
        return self._questions.is_patient(node.url)

    def bytes_came(self, node: Node) -> None:
        """A reader of the file waited, and was served."""
        self._questions.bytes_came(node.url)

    def bytes_timed_out(self, node: Node) -> None:
        """A reader of the file waited in vain."""
        self._questions.timed_out(node.url)

    # -- directories -------------------------------------------------------------------------------------------------

    async def view(self, directory: Node, *, go_on: bool) -> DirectoryView:
        """The rows of a remote directory.

        Args:
            directory: a remote directory.
            go_on: reading it began before, so that the rows it began with are fine however old they are.

        Raises:
            FlyfsError: the origin does not list it, or cannot be asked now.
        """
        held = self._views.get(directory.ino)
        if held is not None and (go_on or self._freshness.fresh(held.as_of, trio.current_time())):
            return held
        try:
            return await self._making_views.fly(directory.ino, lambda: self._make_view(directory))
        except Unavailable:
            if held is None or not valid_offline(held.as_of, trio.current_time()):
                raise
            self.told_offline += 1
            return held

    async def _make_view(self, directory: Node) -> DirectoryView:
        listing = await self._questions.list(directory.url, max_age_s=self._freshness.question_age_s)
        as_of = trio.current_time() - listing.age_s
        if len(listing.entries) > INLINE_ROWS:
            view = await trio.to_thread.run_sync(view_of, listing, as_of)
        else:
            view = view_of(listing, as_of)
        self._views.put(directory.ino, view, weight=len(view.rows) + 1)
        return view

    async def learn_sizes(self, directory: Node, view: DirectoryView, index: int) -> None:
        """Asks for the sizes that a listing does not tell, from row ``index`` on, as many as are soon shown.

        What fails is shown with size 0 and asked for again when somebody looks the name up.
        """
        now = trio.current_time()
        url = directory.url
        unknown = [
            row
            for row in view.rows[index : index + SIZES_AHEAD]
            if not row.facts.directory and row.facts.size is None and not self._size_known(directory, row, now)
        ]
        if not unknown or not self._questions.is_patient(url):
            return
        with trio.move_on_after(self._questions.patience_s(url)) as waiting:
            async with trio.open_nursery() as nursery:
                for row in unknown:
                    nursery.start_soon(self._learn_size, directory, row, url)
        if waiting.cancelled_caught:
            self._questions.timed_out(url)  # the rest of the directory is not waited for

    def _size_known(self, directory: Node, row: Row, now: float) -> bool:
        node = self._table.current(directory, row.name)
        return node is not None and node.facts.size is not None and self._freshness.fresh(node.facts.as_of, now)

    async def _learn_size(self, directory: Node, row: Row, url: RemoteUrl) -> None:
        remote_name = row.remote_name or read_name(row.name)
        try:
            async with self._asking_sizes:
                if not self._questions.is_patient(url):
                    return
                answer = await self._questions.stat(url.child(*remote_name), max_age_s=self._freshness.question_age_s)
        except FlyfsError as error:
            log.debug("fs.size.unknown", name=row.name, why=str(error))
            return
        self._learned(directory, row.name, answer, row.remote_name)


def _kept(name: str, remote_name: tuple[str, str] | None) -> tuple[str, str] | None:
    """The remote name where it must be kept with the node, because the shown name does not tell it."""
    return None if remote_name is None or read_name(name) == remote_name else remote_name
