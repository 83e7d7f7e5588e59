"""One blob of the store: what of it is here, reading it, and writing a proved piece. Shell."""

from collections.abc import Callable
from typing import Protocol

import trio

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.errors import Corrupt, Stale
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import Manifest, SignedDigests
from flyfs.store.blob_files import BlobFiles
from flyfs.store.open_blobs import OpenBlobs
from flyfs.store.page_cache import PageCache, read_into_cache, read_whole
from flyfs.store.read_back import Expected
from flyfs.store.space import Space
from flyfs.store.unread_pages import UnreadPages
from flyfs.store.writer import Writer

Listener = Callable[[PieceIndex, bool], None]
"""Called with (piece, durable): False when it is held, True when it survives a crash."""


class Ordering(Protocol):
    """Who keeps the order of writes; ``StoredBlob`` tells what happens to it."""

    def piece_started(self, stored: "StoredBlob", piece: PieceIndex) -> None:
        """It is about to be written."""

    def piece_ended(self, stored: "StoredBlob", piece: PieceIndex, *, written: bool) -> bool:
        """It is written whole, or could not be; True where it counts, False where it has to be written (again)."""
        ...

    def digests_added(self, stored: "StoredBlob", batch: SignedDigests) -> None:
        """The manifest grew."""

    def forgotten(self, stored: "StoredBlob") -> None:
        """What was written of it and is not durable does not count any more."""


class StoreServices:
    """What the blobs of one store share."""

    def __init__(
        self,
        *,
        ordering: Ordering,
        writer: Writer,
        space: Space,
        pages: PageCache,
        unread_pages: "UnreadPages[StoredBlob]",
        open_blobs: OpenBlobs,
    ) -> None:
        self.ordering = ordering
        self.writer = writer
        self.space = space
        self.pages = pages
        self.unread_pages = unread_pages
        self.open_blobs = open_blobs
        self.readers = trio.CapacityLimiter(8)  # enough to keep a disk's queue busy


class StoredBlob:
    """A blob with files in this store; ``Store`` makes it, one object per blob.

    Attributes:
        have: pieces that are proved and written, and may vanish in a crash. Only this object changes it.
        durable: pieces that survive one.
        manifest: the digests that are known.
        unread: what was fetched ahead, and not read or sent since (``UnreadPages``).
    """

    def __init__(self, files: BlobFiles, durable: Bitmap, manifest: Manifest, services: StoreServices) -> None:
        self.blob: Blob = files.blob
        self.have = durable.copy()
        self.durable = durable
        self.manifest = manifest
        self.unread: dict[PieceIndex, int] = {}
        self._size = files.blob.size
        self._piece_size = files.blob.piece_size
        self._files = files
        self._services = services
        self._pages = services.pages
        self._flights: dict[PieceIndex, trio.Event] = {}  # pieces that are being written
        self._unsaved: list[SignedDigests] = []
        self._listeners: dict[object, Listener] = {}
        self._pins = 0
        self._dropped = False

    # -- reading ----------------------------------------------------------------------------------------------------

    def read_nowait(self, offset: int, size: int) -> memoryview | None:
        """The bytes, where all of them are held and in the page cache; clipped to the blob.

        A view of the process' one static buffer, valid until the next await.
        """
        if offset + size > self._size:
            size = max(0, self._size - offset)
        have = self.have
        if have.count != have.length and not self._holds(offset, size):
            return None
        if self.unread:
            self._used(offset, size)
        fd = self._files.data_fd
        if fd < 0:
            if self._dropped:
                return None
            fd = self.fileno
        return self._pages.read_nowait(fd, offset, size)

    async def read(self, offset: int, size: int) -> memoryview | bytes:
        """The bytes, clipped to the blob, never short; may wait for the disk in a thread. A view is valid until the next await.

        Raises:
            ValueError: not all pieces are held.
            Corrupt: the disk failed, or the file was truncated: drop the blob, or fetch the bytes elsewhere.
            Stale: the blob was dropped and closed.
        """
        view = self.read_nowait(offset, size)
        if view is not None:
            return view
        size = max(0, min(size, self._size - offset))
        if not self._holds(offset, size):
            raise ValueError(f"not all of {offset}+{size} is held of blob {self.blob.id}")
        self.pin()
        try:
            data = await trio.to_thread.run_sync(read_whole, self.fileno, offset, size, limiter=self._services.readers)
        except OSError as error:
            raise Corrupt(f"the disk cannot read blob {self.blob.id}: {error.strerror}") from error
        finally:
            self.unpin()
        if len(data) != size:
            raise Corrupt(f"the data file of blob {self.blob.id} was truncated")
        return data

    async def bring_into_page_cache(self, start: int, stop: int) -> None:
        """After it, ``sendfile`` of held bytes does not wait for the disk; costs some µs where they are cached already.

        Raises:
            Corrupt, Stale: as ``read``.
        """
        if self.unread:
            self._used(start, stop - start)
        if self._pages.holds_nowait(self.fileno, start, stop):
            return
        self.pin()
        try:
            end = await trio.to_thread.run_sync(read_into_cache, self.fileno, start, stop, limiter=self._services.readers)
        except OSError as error:
            raise Corrupt(f"the disk cannot read blob {self.blob.id}: {error.strerror}") from error
        finally:
            self.unpin()
        if end < stop:
            raise Corrupt(f"the data file of blob {self.blob.id} was truncated")

    @property
    def fileno(self) -> int:
        """The data file's descriptor, read and write; pin the blob while you use it.

        Raises:
            Stale: the blob was dropped and closed.
            Corrupt: its files are damaged or gone.
            Unavailable: the process has no descriptor left.
        """
        if not self._files.is_open:
            if self._dropped:
                raise Stale(f"blob {self.blob.id} is gone from the store")
            self._files.open()
            if not self._pins:
                self._services.open_blobs.idle(self)
        return self._files.data_fd

    def _holds(self, offset: int, size: int) -> bool:
        if size <= 0:
            return True
        first = offset // self._piece_size
        last = (offset + size - 1) // self._piece_size
        return first in self.have if first == last else self.have.has_all(range(first, last + 1))

    def _used(self, offset: int, size: int) -> None:
        for piece in range(offset // self._piece_size, -(-(offset + size) // self._piece_size)):
            if piece in self.unread:
                self._services.unread_pages.piece_used(self, PieceIndex(piece))

    # -- writing ----------------------------------------------------------------------------------------------------

    def add_digests(self, batch: SignedDigests) -> None:
        """Remembers digests that the caller has verified; they are saved before the pieces they prove are marked durable.

        Raises:
            Fork: they contradict what is known: the blob has to be retired.
            ValueError: they do not fit this blob.
        """
        if self.manifest.add(batch) and not self._dropped:
            self._unsaved.append(batch)
            self._services.ordering.digests_added(self, batch)

    async def write_piece(self, piece: PieceIndex, data: memoryview, *, proved: bool = False, demand: bool = False) -> None:
        """Proves a piece, writes it, and tells the listeners; returns at once where it is held.

        ``data`` must stay as it is until this returns, also when it is cancelled. A piece without a known digest (``proved``)
        is held, but never durable before ``add_digests`` brings one. A ``demand`` (a reader is blocked on it) goes before others.

        Raises:
            Corrupt: ``data`` is not the piece.
            StoreFull: there is no room, or the disk refuses: nothing is kept.
            Stale: the blob was dropped.
            ValueError: the grid has no such piece, or a proved one has another length.
        """
        length = self.blob.grid.length_of(piece)
        while True:
            if self._dropped:
                raise Stale(f"blob {self.blob.id} is gone from the store")
            if piece in self.have:
                return
            flight = self._flights.get(piece)
            if flight is None:
                break
            if demand:
                self.piece_demanded(piece)
            await flight.wait()
        if not proved:
            self.manifest.prove(piece, data)
        if len(data) != length:
            raise ValueError(f"piece {piece} of blob {self.blob.id} has {length} bytes, not {len(data)}")
        flight = self._flights[piece] = trio.Event()
        self.pin()
        try:
            await self._write(piece, data, demand=demand)
        finally:
            del self._flights[piece]
            flight.set()
            self.unpin()
        if piece in self.have:  # else a sync failed since it was written, and took it back
            self._tell(piece, durable=False)

    def piece_demanded(self, piece: PieceIndex) -> None:
        """A reader is blocked on it: where it waits to be written, it goes before others."""
        self._services.writer.demanded(self, piece)

    async def _write(self, piece: PieceIndex, data: memoryview, *, demand: bool) -> None:
        """Room, bytes, then the word of the write order that they count."""
        services = self._services
        await services.space.promise(len(data))
        kept = False
        try:
            while not kept:
                if self._dropped:
                    raise Stale(f"blob {self.blob.id} is gone from the store")
                place = (self.fileno, piece * self._piece_size)
                kept = await services.writer.write(self, piece, place, data, demand=demand)
        except OSError as error:  # whatever the disk's reason: the bytes cannot be kept, and can be read through
            raise services.space.refuse(error.strerror or str(error)) from error
        finally:
            if not kept:
                services.space.give_back(len(data))

    def write_begins(self, piece: PieceIndex) -> None:
        """The writer has taken it from the queue."""
        self._services.ordering.piece_started(self, piece)

    def write_ended(self, piece: PieceIndex, *, written: bool, demand: bool) -> bool:
        """The writer wrote it whole, or could not; True where it counts: it is held from now on."""
        counts = self._services.ordering.piece_ended(self, piece, written=written)
        if counts:  # before anything else happens: a sync that fails next must find it held
            self._services.space.keep(self.blob.id, self.blob.grid.length_of(piece))
            self.have.add(piece)
            if not demand:
                self._services.unread_pages.piece_came(self, piece)
        return counts

    # -- who uses it ------------------------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Calls ``listener`` on the loop for each piece that gets held or durable, until the returned function is called."""
        key = object()
        self._listeners[key] = listener

        def end() -> None:
            self._listeners.pop(key, None)

        return end

    @property
    def pinned(self) -> bool:
        """Whether somebody reads it, or writes are under way: it is not evicted and keeps its descriptors."""
        return self._pins > 0

    def pin(self) -> None:
        """One more user."""
        self._pins += 1
        if self._pins == 1:
            self._services.open_blobs.in_use(self)

    def unpin(self) -> None:
        """One user less; each pin is undone exactly once."""
        assert self._pins, "unpinned more often than pinned"
        self._pins -= 1
        if self._pins:
            return
        if self._dropped:
            self._services.open_blobs.gone(self)
            self._files.close()
            return
        self._services.space.used(self.blob.id)
        if self._files.is_open:
            self._services.open_blobs.idle(self)
        else:
            self._services.open_blobs.gone(self)

    def _tell(self, piece: PieceIndex, *, durable: bool) -> None:
        for listener in tuple(self._listeners.values()):
            listener(piece, durable)

    # -- for the store and its sync loop ----------------------------------------------------------------------------

    @property
    def dropped(self) -> bool:
        """Whether it is gone from the store; readers that pinned it go on reading."""
        return self._dropped

    @property
    def unsaved_digests(self) -> tuple[SignedDigests, ...]:
        """Batches that are not on the disk yet."""
        return tuple(self._unsaved)

    @property
    def files(self) -> BlobFiles:
        """For a thread that syncs, marks or reads back; pin the blob meanwhile."""
        return self._files

    def places(self, runs: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
        """Where (first, count) runs of pieces lie in the data file: [start, stop)."""
        size = self._piece_size
        return [(first * size, min((first + count) * size, self._size)) for first, count in runs]

    def expected(self, pieces: tuple[PieceIndex, ...]) -> list[Expected]:
        """Where these pieces lie, and how to tell that they are right; without those whose digest is not known."""
        found: list[Expected] = []
        for piece in pieces:
            digest = self.manifest.digest_of(piece)
            if digest is not None:
                place = self.blob.grid.range_of(piece)
                found.append(Expected(piece=piece, start=place.start, stop=place.stop, digest=digest))
        return found

    def is_written(self, piece: PieceIndex) -> bool:
        """Whether it is being written, or waits to be."""
        return piece in self._flights

    def digests_saved(self, count: int) -> None:
        """The first ``count`` unsaved batches are on the disk."""
        del self._unsaved[:count]

    def pieces_marked(self, pieces: tuple[PieceIndex, ...]) -> None:
        """They are durable now."""
        for piece in pieces:
            self.durable.add(piece)
        for piece in pieces:
            self._tell(piece, durable=True)

    def pieces_lost(self, pieces: tuple[PieceIndex, ...]) -> None:
        """They are no *have* any more."""
        for piece in pieces:
            if self.have.discard(piece):
                self._services.space.lose(self.blob.id, self.blob.grid.length_of(piece))
                self._services.unread_pages.piece_used(self, piece)

    def pieces_regained(self, pieces: tuple[PieceIndex, ...]) -> None:
        """They are a *have* again."""
        for piece in pieces:
            if self.have.add(piece):
                self._services.space.regain(self.blob.id, self.blob.grid.length_of(piece))
                self._tell(piece, durable=False)

    def drop(self) -> None:
        """It is gone from the store; descriptors close with the last user."""
        self._dropped = True
        self._unsaved.clear()
        self._services.unread_pages.blob_dropped(self)
        if not self._pins:
            self._services.open_blobs.gone(self)
            self._files.close()

    def close_descriptors(self) -> None:
        """Nobody uses it. What cannot become durable (no digest came) is forgotten, so that memory and disk agree."""
        if not self._dropped and self.have.count != self.durable.count:
            self._services.ordering.forgotten(self)
            self.pieces_lost(tuple(piece for piece in self.have if piece not in self.durable))
        self._files.close()
