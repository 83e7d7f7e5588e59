"""One blob of the store: what of it is here, reading it, writing a proved piece, and letting pieces go. Shell."""

from collections.abc import Callable, Iterable

import trio

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.errors import Corrupt, Stale
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import Manifest, SignedDigests
from flyfs.store.arrivals import Arrivals
from flyfs.store.blob_files import BlobFiles
from flyfs.store.coldness import Coldness
from flyfs.store.drops import Drops
from flyfs.store.page_cache import read_into_cache, read_whole
from flyfs.store.services import StoreServices
from flyfs.store.uses import NO_PIECES, Ahead, Use, Uses

Listener = Callable[[PieceIndex, bool], None]
"""Called with (piece, durable): False when it is held, True when it survives a crash."""


class StoredBlob:
    """A blob with files in this store; ``Store`` makes it, one object per blob.

    Attributes:
        have: pieces that are proved and written, and may vanish in a crash. Only this object changes it.
        durable: pieces that survive one.
        manifest: the digests that are known.
        unread: what was fetched ahead, and not read or sent since (``UnreadPages``).
        drops: what is on its way out.
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
        self._unsaved: list[SignedDigests] = []
        self._listeners: dict[object, Listener] = {}
        self._uses = Uses()
        self._coldness = Coldness(durable)
        self._arrivals = Arrivals(self, services)
        self.drops = Drops(self, self._uses, self._coldness, services)
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
            if self._dropped or not self._files.made:
                return None
            fd = self.fileno
        view = self._pages.read_nowait(fd, offset, size)
        if view:
            self._coldness.used(offset // self._piece_size, (offset + size - 1) // self._piece_size)
        return view

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
        if not size:
            return b""
        pieces = self.blob.grid.covering(offset, offset + size)
        with self.use(pieces):
            self._coldness.used(pieces[0], pieces[-1])
            try:
                data = await trio.to_thread.run_sync(read_whole, self.fileno, offset, size, limiter=self._services.readers)
            except OSError as error:
                raise Corrupt(f"the disk cannot read blob {self.blob.id}: {error.strerror}") from error
        if len(data) != size:
            raise Corrupt(f"the data file of blob {self.blob.id} was truncated")
        return data

    async def bring_into_page_cache(self, start: int, stop: int) -> None:
        """After it, ``sendfile`` of held bytes does not wait for the disk; costs some µs where they are cached already.

        Use the pieces from before it until they were sent.

        Raises:
            Corrupt, Stale: as ``read``.
        """
        if start >= stop:
            return
        if self.unread:
            self._used(start, stop - start)
        self._coldness.used(start // self._piece_size, (stop - 1) // self._piece_size)
        if self._pages.holds_nowait(self.fileno, start, stop):
            return
        with self.use():
            try:
                end = await trio.to_thread.run_sync(read_into_cache, self.fileno, start, stop, limiter=self._services.readers)
            except OSError as error:
                raise Corrupt(f"the disk cannot read blob {self.blob.id}: {error.strerror}") from error
        if end < stop:
            raise Corrupt(f"the data file of blob {self.blob.id} was truncated")

    @property
    def fileno(self) -> int:
        """The data file's descriptor, read and write; for whoever ``use``s the blob.

        Raises:
            Stale: the blob was dropped and closed.
            Corrupt: its files are damaged or gone.
            Unavailable: the process has no descriptor left.
        """
        if not self._files.is_open:
            if self._dropped:
                raise Stale(f"blob {self.blob.id} is gone from the store")
            self._files.open()
            if not self._uses:
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
            if self._files.made:
                self._services.ordering.digests_added(self, batch)

    async def write_piece(self, piece: PieceIndex, data: memoryview, *, proved: bool = False, demand: bool = False) -> None:
        """Proves a piece, writes it, and tells the listeners; returns at once where it is held.

        ``data`` must stay as it is until this returns, also when it is cancelled. A piece without a known digest (``proved``)
        is held, but never durable before ``add_digests`` brings one. A ``demand`` (a reader is blocked on it) goes before others.

        Raises:
            Corrupt: ``data`` is not the piece.
            StoreFull: it is the piece, but there is no room, or the disk refuses: it is not kept.
            Stale: the blob was dropped.
            ValueError: the grid has no such piece, or a proved one has another length.
        """
        if await self._arrivals.write(piece, data, proved=proved, demand=demand):
            self._tell(piece, durable=False)

    def piece_demanded(self, piece: PieceIndex) -> None:
        """A reader is blocked on it: where it waits to be written, it goes before others."""
        self._arrivals.demanded(piece)

    def is_written(self, piece: PieceIndex) -> bool:
        """Whether it is being written, or waits to be."""
        return piece in self._arrivals

    # -- letting pieces go --------------------------------------------------------------------------------------------

    async def drop_pieces(self, pieces: Iterable[PieceIndex], *, damaged: bool = False) -> int:
        """Those of ``pieces`` that are held are held no more, from now on; when this returns, their room is free.

        Cancelled, it goes on without the caller.

        Args:
            pieces: any of this blob; those that somebody is in lose their marks, and keep their room.
            damaged: they must not count again, whatever becomes of their room.

        Returns:
            The bytes that count no more. Where the disk does not take a mark back, a sound piece is held again.
        """
        return await self.drops.drop(pieces, damaged=damaged)

    # -- who uses it ------------------------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Calls ``listener`` on the loop for each piece that gets held or durable, until the returned function is called."""
        key = object()
        self._listeners[key] = listener

        def end() -> None:
            self._listeners.pop(key, None)

        return end

    @property
    def in_use(self) -> bool:
        """Whether somebody reads it, or writes are under way: it does not go whole."""
        return self._uses.block_eviction

    def use(self, pieces: range = NO_PIECES, *, ahead: Ahead | None = None) -> Use:
        """Keeps the blob here, and all of ``pieces`` that are held, and what ``ahead`` gives when somebody asks."""
        return self._begin(Use(self, pieces, ahead=ahead))

    def pin(self) -> Use:
        """Keeps the blob whole: nothing that is held of it goes."""
        return self.use(range(len(self.blob.grid)))

    def keep_open(self) -> Use:
        """Keeps the descriptors, while the blob is here; it may go."""
        return self._begin(Use(self, NO_PIECES, blocks_eviction=False))

    def _begin(self, use: Use) -> Use:
        if self._uses.begin(use):
            self._services.open_blobs.in_use(self)
        return use

    def use_ended(self, use: Use) -> None:
        """``Use.end`` calls this."""
        if use.blocks_eviction and not self._dropped:  # syncing it, or making room in it, makes it no younger
            self._services.space.used(self.blob.id)
        if not self._uses.end(use):
            return
        if self._dropped:
            self._services.open_blobs.gone(self)
            self._files.close()
        elif self._files.is_open:
            self._services.open_blobs.idle(self)
        else:
            self._services.open_blobs.gone(self)

    def _tell(self, piece: PieceIndex, *, durable: bool) -> None:
        for listener in tuple(self._listeners.values()):
            listener(piece, durable)

    # -- for the store and its sync loop ----------------------------------------------------------------------------

    @property
    def dropped(self) -> bool:
        """Whether it is gone from the store; who uses it goes on reading."""
        return self._dropped

    @property
    def unsaved_digests(self) -> tuple[SignedDigests, ...]:
        """Batches that are not on the disk yet."""
        return tuple(self._unsaved)

    def got_files(self, files: BlobFiles) -> None:
        """There is room now; the digests that came meanwhile can be saved."""
        self._files = files
        for batch in self._unsaved:
            self._services.ordering.digests_added(self, batch)
        if not self._uses:
            self._services.open_blobs.idle(self)

    @property
    def files(self) -> BlobFiles:
        """For a thread that syncs, marks or reads back; keep the blob open meanwhile. While none are ``made`` it has no piece."""
        return self._files

    def places(self, runs: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
        """Where (first, count) runs of pieces lie in the data file: [start, stop)."""
        size = self._piece_size
        return [(first * size, min((first + count) * size, self._size)) for first, count in runs]

    def digests_saved(self, count: int) -> None:
        """The first ``count`` unsaved batches are on the disk."""
        del self._unsaved[:count]

    def pieces_marked(self, pieces: tuple[PieceIndex, ...]) -> None:
        """They are durable now, but for those that were dropped meanwhile."""
        marked = [piece for piece in pieces if piece not in self.drops]
        for piece in marked:
            self.durable.add(piece)
        for piece in marked:
            self._tell(piece, durable=True)

    def pieces_lost(self, pieces: tuple[PieceIndex, ...]) -> None:
        """They are no *have* any more."""
        for piece in pieces:
            if piece in self.have:
                self.forget(piece)
                self._services.space.lose(self.blob.id, self.blob.grid.length_of(piece))
        if pieces:
            self._services.lost(self.blob.id)

    def pieces_regained(self, pieces: tuple[PieceIndex, ...]) -> None:
        """They are a *have* again."""
        for piece in pieces:
            if piece not in self.have:
                self.hold(piece)
                self._services.space.regain(self.blob.id, self.blob.grid.length_of(piece))
                self._tell(piece, durable=False)

    def hold(self, piece: PieceIndex) -> None:
        """It is a *have*, and warm."""
        self.have.add(piece)
        self._coldness.used(piece, piece)

    def forget(self, piece: PieceIndex) -> None:
        """It is no *have*."""
        self.have.discard(piece)
        self._coldness.gone(piece)
        if self.unread:
            self._services.unread_pages.piece_used(self, piece)

    def drop(self) -> None:
        """It is gone from the store; descriptors close with the last user."""
        self._dropped = True
        self._unsaved.clear()
        self._services.unread_pages.blob_dropped(self)
        self.drops.abandon()
        if not self._uses:
            self._services.open_blobs.gone(self)
            self._files.close()

    def close_descriptors(self) -> None:
        """Nobody uses it. What cannot become durable (no digest came) is forgotten, so that memory and disk agree."""
        if not self._dropped and self.have.count != self.durable.count:
            self._services.ordering.forgotten(self)
            self.pieces_lost(tuple(piece for piece in self.have if piece not in self.durable))
        self._files.close()
