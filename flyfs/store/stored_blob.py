"""One blob of the store: what of it is here, reading it, writing a proved piece, and letting pieces go. Shell."""

from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.errors import Corrupt, FlyfsError, Stale, Unavailable
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import Manifest, SignedDigests
from flyfs.store.arrivals import Arrivals
from flyfs.store.blob_files import BlobFiles
from flyfs.store.coldness import Coldness
from flyfs.store.drops import Drops
from flyfs.store.proofs import Proofs
from flyfs.store.provisional import Provisional
from flyfs.store.reader import PiecesLost
from flyfs.store.services import StoreServices
from flyfs.store.trust import BlobTrust
from flyfs.store.uses import NO_PIECES, Ahead, Use, Uses

Listener = Callable[[PieceIndex, bool], None]
"""Called with (piece, durable): False when it is held, True when it survives a crash."""

_log = structlog.get_logger()


class StoredBlob:
    """A blob with files in this store; ``Store`` makes it, one object per blob.

    Attributes:
        have: pieces that are proved and written, and may vanish in a crash. Only this object changes it.
        durable: pieces that survive one.
        manifest: the digests that are known.
        provisional: held pieces that came from the origin itself, of which nobody must hear yet.
        unread: what was fetched ahead, and not read or sent since (``UnreadPages``).
        arrivals, drops: what is on its way here, and out.
        proofs: what of ``have`` may be served at once.
        losses: how many pieces it lost so far: what is read at a place before and after one may be of two writes.
    """

    def __init__(self, files: BlobFiles, durable: Bitmap, manifest: Manifest, trust: BlobTrust, services: StoreServices) -> None:
        self.blob: Blob = files.blob
        self.have = durable.copy()
        self.durable = durable
        self.manifest = manifest
        self.provisional = Provisional()
        self.unread: dict[PieceIndex, int] = {}
        self.losses = 0
        self._size = files.blob.size
        self._piece_size = files.blob.piece_size
        self._files = files
        self._services = services
        self._pages = services.pages
        self._unsaved: list[SignedDigests] = []
        self._listeners: dict[object, Listener] = {}
        self._uses = Uses()
        self._coldness = Coldness(durable)
        self.arrivals = Arrivals(self, services)
        self.drops = Drops(self, self._uses, self._coldness, services)
        self.proofs = Proofs(self, durable, trust, services)
        self._ready = self.proofs.ready
        self._dropped = False

    # -- reading ----------------------------------------------------------------------------------------------------

    def read_nowait(self, offset: int, size: int) -> memoryview | None:
        """The bytes, where all of them may be served at once and are in the page cache; clipped to the blob.

        A view of the process' one static buffer, valid until the next await.
        """
        if offset + size > self._size:
            size = max(0, self._size - offset)
        ready = self._ready
        if ready.count != ready.length and not self._covers(ready, offset, size):
            return None
        if self.unread:
            self._used(offset, size)
        fd = self._files.data_fd
        if fd < 0:
            try:
                fd = self.fileno
            except FlyfsError:  # ``read`` says why
                return None
        view = self._pages.read_nowait(fd, offset, size)
        if view:
            self._coldness.used(offset // self._piece_size, (offset + size - 1) // self._piece_size)
        return view

    async def read(self, offset: int, size: int) -> memoryview | bytes:
        """The bytes, clipped to the blob, never short; may wait for the disk in a thread. A view is valid until the next await.

        Raises:
            PiecesLost: not all pieces are held, or some of them turned out damaged: fetch them.
            Stale: the blob was dropped and closed.
            Unavailable: the process has no descriptor left.
        """
        view = self.read_nowait(offset, size)
        if view is not None:
            return view
        size = max(0, min(size, self._size - offset))
        if not size:
            return b""
        self._mark_used(offset, offset + size)
        self._doubt_unsynced(offset, offset + size)
        return await self._services.reader.read(self, offset, size)

    async def bring_into_page_cache(self, start: int, stop: int) -> None:
        """After it, ``sendfile`` of held bytes does not wait for the disk; costs some µs where they are cached already.

        Use the pieces from before it until they were sent.

        Raises:
            PiecesLost, Stale, Unavailable: as ``read``.
        """
        if start >= stop:
            return
        if self.unread:
            self._used(start, stop - start)
        self._mark_used(start, stop)
        if not self._covers(self._ready, start, stop - start) or not self._pages.holds_nowait(self.fileno, start, stop):
            self._doubt_unsynced(start, stop)
            await self._services.reader.bring_into_page_cache(self, start, stop)

    def _mark_used(self, start: int, stop: int) -> None:
        if not self._covers(self.have, start, stop - start):
            raise PiecesLost(f"bytes {start} to {stop} of blob {self.blob.id} are not all held")
        self._coldness.used(start // self._piece_size, (stop - 1) // self._piece_size)

    def _doubt_unsynced(self, start: int, stop: int) -> None:
        """Memory has what no sync covers yet; where it has not, the kernel has written it, or could not and dropped it as clean.

        The next sync will tell, but too late for who reads now.
        """
        if self._pages.tells and self.have.count != self.durable.count:
            pieces = map(PieceIndex, self.blob.grid.covering(start, stop))
            digest_of = self.manifest.digest_of
            self.proofs.doubted(piece for piece in pieces if piece not in self.durable and digest_of(piece) is not None)

    @property
    def fileno(self) -> int:
        """The data file's descriptor, read and write; for whoever ``use``s the blob. Ask for it before you ask what is held.

        Raises:
            Stale: the blob was dropped and closed.
            PiecesLost: it has no files, or they were gone or damaged: nothing of it is held (any more).
            Unavailable: the process has no descriptor left.
        """
        if not self._files.is_open:
            if self._dropped:
                raise Stale(f"blob {self.blob.id} is gone from the store")
            if self._files.made:
                self._open_files()
            if not self._files.made:
                raise PiecesLost(f"there are no files of blob {self.blob.id}")
            if not self._uses:
                self._services.open_blobs.idle(self)
        return self._files.data_fd

    def _open_files(self) -> None:
        """Where they are not what they should be, the blob has no piece, until a new one brings new files."""
        try:
            self._files.open()
        except Corrupt as error:
            _log.warning("store.blob.damaged", blob=self.blob.id, reason=error.message)
            self._services.ordering.forgotten(self)
            self.pieces_lost(tuple(self.have))
            for piece in tuple(self.durable):
                self.durable.discard(piece)
            self._unsaved = list(self.manifest.all_batches())
            self._files.lose()

    def _covers(self, pieces: Bitmap, offset: int, size: int) -> bool:
        """Whether ``pieces`` has all of a range inside of the blob."""
        if size <= 0:
            return True
        first = offset // self._piece_size
        last = (offset + size - 1) // self._piece_size
        return first in pieces if first == last else pieces.has_all(range(first, last + 1))

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
            right, wrong = self.provisional.vouched(batch)
            self.drops.pieces_damaged(wrong)
            self._unsaved.append(batch)
            if self._files.made:
                self._services.ordering.digests_added(self, batch)
            for piece in [piece for piece in right if piece in self.have]:
                self._tell(piece, durable=False)  # from now on it is a *have* as any other

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
        if await self.arrivals.write(piece, data, proved=proved, demand=demand):
            self._tell(piece, durable=False)

    def piece_demanded(self, piece: PieceIndex) -> None:
        """A reader is blocked on it: where it waits to be written, it goes before others."""
        self.arrivals.demanded(piece)

    @property
    def lacks_files(self) -> bool:
        """Whether there is nothing to write into: there was no room for files yet, or they are gone. Opens them where it can."""
        if self._files.made and not self._files.is_open and not self._dropped:
            with suppress(Unavailable):  # the write tells
                self._open_files()
        return not self._files.made

    def is_written(self, piece: PieceIndex) -> bool:
        """Whether it is being written, or waits to be."""
        return piece in self.arrivals

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
        """They are a *have* again: the disk has them."""
        for piece in pieces:
            if piece not in self.have:
                self.piece_came(piece)
                self._services.space.regain(self.blob.id, self.blob.grid.length_of(piece))
                self._tell(piece, durable=False)

    def piece_came(self, piece: PieceIndex) -> None:
        """Its bytes are right, and in their place: it is a *have*."""
        self.proofs.proved(piece)
        self.hold(piece)

    def hold(self, piece: PieceIndex) -> None:
        """It is a *have*, and warm. All that changes ``have`` goes through here and through ``forget``."""
        self.have.add(piece)
        self.proofs.held(piece)
        self._coldness.used(piece, piece)

    def forget(self, piece: PieceIndex) -> None:
        """It is no *have*."""
        self.losses += 1
        self.have.discard(piece)
        self.proofs.gone(piece)
        self.provisional.piece_gone(piece)
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
