"""Pieces of one blob that come: proved, given room, written; then they are held. Shell.

``writer`` decides when they are written, ``space`` whether there is room; here is who waits for whom.
"""

from typing import TYPE_CHECKING

import trio

from flyfs.core.errors import Corrupt, Stale, Unavailable
from flyfs.core.ids import PieceIndex
from flyfs.store.services import StoreServices

if TYPE_CHECKING:
    from flyfs.store.stored_blob import StoredBlob


class Arrivals:
    """What comes of one blob.

    Attributes:
        proved_pieces: how many came and were right, kept or not.
    """

    def __init__(self, stored: "StoredBlob", services: StoreServices) -> None:
        self.proved_pieces = 0
        self._stored = stored
        self._services = services
        self._writes: dict[PieceIndex, trio.Event] = {}  # set when they have ended

    def __contains__(self, piece: PieceIndex) -> bool:
        """Whether it is being written, or waits to be."""
        return piece in self._writes

    async def write(self, piece: PieceIndex, data: memoryview, *, proved: bool, demand: bool) -> bool:
        """See ``StoredBlob.write_piece``; gives whether this call brought it."""
        stored = self._stored
        length = stored.blob.grid.length_of(piece)
        while True:
            self._refuse_if_dropped()
            if piece in stored.have:
                return False
            on_its_way = self._on_its_way(piece)
            if on_its_way is None:
                break
            if demand:
                self.demanded(piece)
            await on_its_way.wait()
        if not proved:
            stored.manifest.prove(piece, data)
        if len(data) != length:
            raise ValueError(f"piece {piece} of blob {stored.blob.id} has {length} bytes, not {len(data)}")
        self.proved_pieces += 1
        ended = self._writes[piece] = trio.Event()
        with stored.use():
            try:
                await self._write_into_room(piece, data, demand=demand)
            finally:
                del self._writes[piece]
                ended.set()
        return piece in stored.have  # else a sync failed since it was written, and took it back

    def demanded(self, piece: PieceIndex) -> None:
        """A reader is blocked on it: where it waits to be written, it goes before others."""
        self._services.writer.demanded(self, piece)

    def _refuse_if_dropped(self) -> None:
        if self._stored.dropped:
            raise Stale(f"blob {self._stored.blob.id} is gone from the store")

    def _on_its_way(self, piece: PieceIndex) -> trio.Event | None:
        """What to wait for before the piece can be written: another write of it, or its room to be free."""
        drops = self._stored.drops
        return drops.end_of(piece) if piece in drops else self._writes.get(piece)

    async def _write_into_room(self, piece: PieceIndex, data: memoryview, *, demand: bool) -> None:
        """Room, bytes, then the word of the write order that they count."""
        space = self._services.space
        if self._stored.lacks_files:
            await self._services.begin(self._stored)
        await space.promise(len(data))
        kept = False
        try:
            while not kept:
                self._refuse_if_dropped()
                kept = await self._write(piece, data, demand=demand)
        except OSError as error:  # whatever the disk's reason: the bytes cannot be kept, and can be read through
            raise space.kernel_refused(error.strerror or str(error)) from error
        except (Corrupt, Unavailable) as error:  # our own files, not the piece
            raise space.kernel_refused(error.message) from error
        finally:
            if not kept:
                space.give_back(len(data))

    async def _write(self, piece: PieceIndex, data: memoryview, *, demand: bool) -> bool:
        """Once more where the kernel sees less room than the rule did, and something could be evicted."""
        write = self._services.writer.write
        place = (self._stored.fileno, piece * self._stored.blob.piece_size)
        try:
            return await write(self, piece, place, data, demand=demand)
        except OSError as error:
            if not await self._services.space.make_more_room(error, len(data)):
                raise
            return await write(self, piece, place, data, demand=demand)

    # -- what the writer tells ----------------------------------------------------------------------------------------

    def write_begins(self, piece: PieceIndex) -> None:
        """The writer has taken it from the queue."""
        self._stored.proofs.data_changes()
        self._services.ordering.piece_started(self._stored, piece)

    def write_ended(self, piece: PieceIndex, *, written: bool, demand: bool) -> bool:
        """The writer wrote it whole, or could not; True where it counts: it is held from now on."""
        stored, services = self._stored, self._services
        counts = services.ordering.piece_ended(stored, piece, written=written)
        if counts:  # before anything else happens: a sync that fails next must find it held
            services.space.keep(stored.blob.id, stored.blob.grid.length_of(piece))
            stored.piece_came(piece)
            if not demand:
                services.unread_pages.piece_came(stored, piece)
        return counts
