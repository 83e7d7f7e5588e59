"""Where the pieces of one blob lie at the supernode, until they are handed out. Shell.

A supernode of its own keeps them in its store, and in memory what the store has no room for. An embedded one keeps digests
only: its daemon has the bytes, so a piece stays in memory until it was sent. What came without ranges, or without a length,
waits in a spool file, which ends with the last piece taken.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trio

from flyfs.core.errors import Corrupt, StoreFull
from flyfs.core.grid import PieceGrid
from flyfs.core.ids import PieceIndex
from flyfs.store.stored_blob import StoredBlob
from flyfs.transport.buffers import Loan
from flyfs.transport.link import Body, FileRange


@dataclass(frozen=True, slots=True)
class Lent:
    """A piece's bytes to be sent; ``done`` is called once, with whether they went through."""

    body: Body
    done: Callable[[bool], None]


class Shelf(Protocol):
    """Holds pieces that were proved."""

    @property
    def bare(self) -> bool:
        """Whether it may be replaced by a new one without any loss."""
        ...

    def holds(self, piece: PieceIndex) -> bool:
        """Whether the piece is here now."""
        ...

    async def put(self, piece: PieceIndex, loan: Loan, *, demand: bool = False) -> None:
        """Takes a piece over, and its buffer with it; a ``demand`` (a reader is blocked on it) before others.

        Raises:
            StoreFull: it can neither be stored nor kept in memory.
        """
        ...

    async def lend(self, piece: PieceIndex) -> Lent:
        """The bytes of a piece that is held."""
        ...

    def drop_unclaimed(self, since: float) -> None:
        """Lets go of pieces in buffers that came before ``since`` and are not being sent."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


@dataclass(slots=True)
class _Kept:
    loan: Loan
    since: float
    lent: int = 0


@dataclass(slots=True)
class MemoryShelf:
    """Pieces in their receive buffers, given up once they were sent."""

    _kept: dict[PieceIndex, _Kept] = field(default_factory=dict)
    _closed: bool = False

    @property
    def bare(self) -> bool:
        """Whether no piece is here."""
        return not self._kept

    def holds(self, piece: PieceIndex) -> bool:
        """Whether the piece waits to be sent."""
        return piece in self._kept

    async def put(self, piece: PieceIndex, loan: Loan, *, demand: bool = False) -> None:  # noqa: ARG002 - nothing has to wait
        """Keeps the buffer as it is."""
        self._kept[piece] = _Kept(loan, trio.current_time())

    async def lend(self, piece: PieceIndex) -> Lent:
        """The buffer itself."""
        kept = self._kept[piece]
        kept.lent += 1

        def done(through: bool) -> None:
            kept.lent -= 1
            if kept.lent == 0 and (through or self._closed):
                self._let_go(piece, kept)

        return Lent(kept.loan.view, done)

    def drop_unclaimed(self, since: float) -> None:
        """Lets go of what came before ``since`` and is not being sent."""
        for piece, kept in list(self._kept.items()):
            if kept.lent == 0 and kept.since < since:
                self._let_go(piece, kept)

    def _let_go(self, piece: PieceIndex, kept: _Kept) -> None:
        if self._kept.get(piece) is kept:
            del self._kept[piece]
        kept.loan.give_back()

    def close(self) -> None:
        """Gives all buffers back, those that are being sent once they were."""
        self._closed = True
        self.drop_unclaimed(float("inf"))


class StoreShelf:
    """Pieces in the supernode's store, sent with ``sendfile``; those that it has no room for elsewhere, until they were sent.

    Attributes:
        overflow: where those are; in memory, unless they lie in a spool file already.
    """

    def __init__(self, stored: StoredBlob, overflow: Shelf | None = None) -> None:
        self._stored = stored
        self.overflow = overflow or MemoryShelf()

    @property
    def bare(self) -> bool:
        """Whether the store has all that is here."""
        return self.overflow.bare

    def holds(self, piece: PieceIndex) -> bool:
        """Whether the store has the piece, or it waits to be sent."""
        return piece in self._stored.have or self.overflow.holds(piece)

    async def put(self, piece: PieceIndex, loan: Loan, *, demand: bool = False) -> None:
        """Writes the piece and gives the buffer back; where there is no room, that is the overflow's affair."""
        try:
            await self._stored.write_piece(piece, loan.view, proved=True, demand=demand)
        except StoreFull:
            await self.overflow.put(piece, loan, demand=demand)
        else:
            loan.give_back()

    async def lend(self, piece: PieceIndex) -> Lent:
        """Its place in the data file, brought into the page cache; or what the overflow lends."""
        if self.overflow.holds(piece):
            return await self.overflow.lend(piece)
        place = self._stored.blob.grid.range_of(piece)
        use = self._stored.use(range(piece, piece + 1))
        try:
            await self._stored.bring_into_page_cache(place.start, place.stop)
            body = FileRange(self._stored.fileno, place.start, place.stop)
        except BaseException:
            use.end()
            raise
        return Lent(body, lambda _: use.end())

    def drop_unclaimed(self, since: float) -> None:
        """Lets go of the overflow's buffers."""
        self.overflow.drop_unclaimed(since)

    def close(self) -> None:
        """Ends the overflow; the store closes its files by itself."""
        self.overflow.close()


class Spool:
    """An unlinked temporary file that content is read into, whose length or order the origin decides."""

    def __init__(self, directory: Path) -> None:
        """Raises StoreFull where no file can be made."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=directory)
            Path(name).unlink()
        except OSError as error:
            raise StoreFull(f"no room for a spool file in {directory}: {error.strerror}") from error
        self.fileno = handle

    async def write(self, offset: int, data: memoryview) -> None:
        """Writes ``data`` at ``offset``. Raises StoreFull."""
        try:
            await trio.to_thread.run_sync(_write_all, self.fileno, offset, data)
        except OSError as error:
            raise StoreFull(f"the spool file cannot grow: {error.strerror}") from error

    async def read(self, offset: int, into: memoryview) -> None:
        """Fills ``into`` from ``offset``. Raises Corrupt where the disk does not give it back."""
        count = await trio.to_thread.run_sync(os.preadv, self.fileno, [into], offset)
        if count != len(into):
            raise Corrupt(f"a spool file gave {count} of {len(into)} bytes")

    def close(self) -> None:
        """Ends the file."""
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1


def _write_all(fileno: int, offset: int, data: memoryview) -> None:
    while data:
        count = os.pwrite(fileno, data, offset)
        data, offset = data[count:], offset + count


class SpoolShelf:
    """Pieces in a spool file; each is held until it was sent once."""

    def __init__(self, spool: Spool, grid: PieceGrid, emptied: Callable[[], None]) -> None:
        self._spool = spool
        self._grid = grid
        self._held: set[PieceIndex] = set()
        self._left = set(grid)
        """What was not sent yet, here or still to come."""
        self._lent = 0
        self._closed = False
        self._emptied = emptied

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    @property
    def bare(self) -> bool:
        """Whether everything was sent."""
        return not self._left and not self._lent

    def holds(self, piece: PieceIndex) -> bool:
        """Whether the piece is in the file, and was not sent yet."""
        return piece in self._held

    async def put(self, piece: PieceIndex, loan: Loan, *, demand: bool = False) -> None:  # noqa: ARG002 - one read fills a spool
        """Writes the piece and gives the buffer back."""
        with loan as view:
            await self._spool.write(self._grid.range_of(piece).start, view)
        self._held.add(piece)

    async def lend(self, piece: PieceIndex) -> Lent:
        """Its place in the spool file."""
        place = self._grid.range_of(piece)
        self._lent += 1

        def done(through: bool) -> None:
            self._lent -= 1
            if through:
                self._held.discard(piece)
                self._left.discard(piece)
            self.end_if_sent()

        return Lent(FileRange(self._spool.fileno, place.start, place.stop), done)

    def drop_unclaimed(self, since: float) -> None:
        """Nothing is kept in buffers."""

    def close(self) -> None:
        """Ends the spool file, once nothing is being sent from it."""
        self._closed = True
        self._held.clear()
        if not self._lent:
            self._spool.close()

    def all_came(self) -> None:
        """Nothing more comes: it has served its purpose once what is here was sent."""
        self._left &= self._held
        self.end_if_sent()

    def end_if_sent(self) -> None:
        """Tells that it has served its purpose, where that is so."""
        if self._closed:
            self.close()
        elif self.bare:
            self._emptied()
