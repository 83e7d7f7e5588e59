"""The blobs of one cache directory: found, made, dropped; kept within the space they may use. Shell."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import structlog
import trio

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.errors import Corrupt, StoreFull, Unavailable
from flyfs.core.ids import BlobId, PeerId
from flyfs.core.manifest import Manifest
from flyfs.core.verify import Verify
from flyfs.store.blob_files import BlobFiles
from flyfs.store.blob_scan import bytes_of
from flyfs.store.cache_directory import CacheDirectory
from flyfs.store.catalogue import Catalogue
from flyfs.store.eviction import Candidate, DropBlob, DropPieces, Eviction
from flyfs.store.holdings import Holding
from flyfs.store.memory import memory_bytes
from flyfs.store.open_blobs import OpenBlobs
from flyfs.store.page_cache import PageCache
from flyfs.store.services import StoreServices
from flyfs.store.space import Space, StoreStatistics
from flyfs.store.stored_blob import StoredBlob
from flyfs.store.sync_loop import SyncLoop
from flyfs.store.trust import BlobTrust, Trust
from flyfs.store.unread_pages import MEMORY_SHARE, UnreadPages
from flyfs.store.write_order import BATCH_BYTES, WriteOrder
from flyfs.store.write_queue import WriteQueue, unsynced_limit_bytes
from flyfs.store.writer import Writer

FLUSH_TIMEOUT_S: Final = 10.0
"""Leaving waits so long for the disk; what it did not mark by then is fetched again."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection came to; ``blobs`` are those that went whole."""

    blobs: int
    freed_bytes: int


class Store:
    """Made by ``open``. All methods are called on the event loop."""

    def __init__(
        self, directory: CacheDirectory, nursery: trio.Nursery, trust: Trust, *, limit_bytes: int | None, can_punch: bool
    ) -> None:
        """``open`` calls this; the nursery is for removing what was set aside."""
        self._directory = directory
        self._nursery = nursery
        self._trust = trust
        self._catalogue = Catalogue()
        self._objects: WeakValueDictionary[BlobId, StoredBlob] = (
            WeakValueDictionary()
        )  # one object per blob, while anybody has it
        self._one_changes_names = trio.Lock()
        self._one_sweeps = trio.CapacityLimiter(1)
        memory = memory_bytes()
        max_unsynced_bytes = unsynced_limit_bytes(memory)
        order = WriteOrder(batch_bytes=min(BATCH_BYTES, max_unsynced_bytes // 4))  # a sync must be due before writers wait for it
        self._writer = Writer(WriteQueue(max_unsynced_bytes=max_unsynced_bytes), order)
        unread_pages: UnreadPages[StoredBlob] = UnreadPages(keep_bytes=memory // MEMORY_SHARE)
        self.sync_loop: Final = SyncLoop(order, unread_pages, progressed=self._writer.room_came)
        self._open_blobs = OpenBlobs()
        self.one_scrubs: Final = trio.Lock()
        self._space = Space(
            catalogue=self._catalogue,
            limit_bytes=limit_bytes,
            disk=directory.disk,
            can_punch=can_punch,
            candidates=self._candidates,
            evict=self._evict,
        )
        self._shrinking: StoredBlob | None = None  # kept in memory: a big one that loses pieces will lose more
        self._losses: list[Callable[[BlobId], None]] = []
        self._services = StoreServices(
            ordering=self.sync_loop,
            writer=self._writer,
            space=self._space,
            pages=PageCache(),
            unread_pages=unread_pages,
            open_blobs=self._open_blobs,
            begin=self._begin,
            lost=self._tell_loss,
            trust=trust,
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: Path, *, limit_bytes: int | None = None, verify: Verify = Verify.FIRST_USE, owner: str = ""
    ) -> "AsyncGenerator[Store, None]":
        """The store of ``directory``, which is made where there is none; flushed and closed on leaving.

        Reads two small files per blob, not their digests or data. An exception of the body leaves as it is, not in a group.

        Args:
            directory: belongs to this process until the end.
            limit_bytes: what held pieces may take, None for what the disk has.
            verify: when pieces are proved again before they are served.
            owner: what this process is, for whoever finds the directory in use.

        Raises:
            ConfigError: another process has the directory, another version made it, or it cannot be used.
        """
        failure: Exception | None = None
        opened = await trio.to_thread.run_sync(CacheDirectory, directory, owner)
        try:
            can_punch = await trio.to_thread.run_sync(opened.can_punch)
            trust = Trust(verify, await trio.to_thread.run_sync(opened.take_clean_record))
            blobs = await trio.to_thread.run_sync(opened.scan)
            async with trio.open_nursery() as nursery:
                store = cls(opened, nursery, trust, limit_bytes=limit_bytes, can_punch=can_punch)
                for found in blobs:
                    store._catalogue.add(found.blob, found.used_bytes, used_at_s=found.used_at_s)
                nursery.start_soon(store.sync_loop.run)
                nursery.start_soon(store._writer.run)
                nursery.start_soon(store._space.run)
                nursery.start_soon(store._sweep)
                try:
                    yield store
                except Exception as error:  # raised again below, outside of the nursery, which would wrap it
                    failure = error
                finally:
                    await store._leave()
                nursery.cancel_scope.cancel()
        finally:
            opened.close()
        if failure is not None:
            raise failure

    @property
    def directory(self) -> Path:
        """Where it lies."""
        return self._directory.path

    @property
    def peer_id(self) -> PeerId:
        """Made once per directory."""
        return self._directory.peer_id

    def blob_ids(self) -> list[BlobId]:
        """All blobs, the least recently used first."""
        return [blob_id for blob_id, _ in self._catalogue.by_age()]

    def blobs(self) -> list[Blob]:
        """What all blobs are, from memory, the least recently used first."""
        return self._catalogue.blobs()

    def find(self, blob_id: BlobId) -> StoredBlob | None:
        """The blob, None where it is not here; the first time it reads the bitmap and the digests.

        A blob whose files are damaged is dropped, and is not here.

        Raises:
            Unavailable: the process is short of descriptors or memory.
        """
        blob = self._catalogue.find(blob_id, time.time())
        return None if blob is None else self._load(blob)

    def look(self, blob_id: BlobId) -> StoredBlob | None:
        """As ``find``, for somebody who does not use the blob: its age stays what it is."""
        blob = self._catalogue.peek(blob_id)
        return None if blob is None else self._load(blob)

    def has(self, blob_id: BlobId) -> bool:
        """Whether the blob is here, from memory."""
        return blob_id in self._catalogue

    def holdings(self) -> list[Holding]:
        """What is held, for people, from memory; the least recently used first."""
        return self._catalogue.holdings(self._is_in_use)

    def _load(self, blob: Blob) -> StoredBlob | None:
        """The blob's one object; None where its files are damaged, and so go."""
        blob_id = blob.id
        stored = self._objects.get(blob_id)
        if stored is not None:
            return stored
        files = BlobFiles(self._directory.blobs_fd, blob)
        try:
            durable, manifest = files.load()
        except Corrupt as error:
            _log.warning("store.blob.damaged", blob=blob_id, reason=error.message)
            self._catalogue.remove(blob_id)
            self._trust.forget(blob_id)
            self._nursery.start_soon(self._remove_files, blob_id)
            return None
        last = durable.length > 0 and durable.length - 1 in durable
        self._catalogue.set_used(blob_id, bytes_of(blob, durable.count, last=last))
        return self._object(files, durable, manifest, self._trust.loaded(blob_id, durable, files.stamp))

    async def create(self, blob: Blob) -> StoredBlob:
        """The blob, empty where it is new; one of the same id but another piece size is replaced.

        Where there is no room for its files, it has none, is not told of as here, and gets them when a piece is written.

        Raises:
            Unavailable: as ``find``.
        """
        stored = self._find_same(blob)
        if stored is None:
            if blob.id in self._catalogue or blob.id in self._objects:
                await self.drop(blob.id)
            stored = self._find_same(blob)  # somebody may have been faster
            if stored is None:
                pieces = len(blob.grid)
                stored = self._object(
                    BlobFiles.unmade(self._directory.blobs_fd, blob),
                    Bitmap(pieces),
                    Manifest(blob.id, pieces),
                    self._trust.created(blob.id, pieces),
                )
        with suppress(StoreFull):
            await self._begin(stored)
        return stored

    async def drop(self, blob_id: BlobId) -> None:
        """The blob is gone at once, and for good when this returns; who uses it reads on.

        That it is not here is fine. A disk that refuses is logged: the blob may then be back after a restart.
        """
        known = blob_id in self._catalogue
        size = self._catalogue.remove(blob_id)
        self._trust.forget(blob_id)
        stored = self._objects.pop(blob_id, None)
        if stored is not None:
            stored.drop()
            self.sync_loop.drop(stored)
        self._space.going(size)
        try:
            await self._remove_files(blob_id)
        finally:
            self._space.gone(size)
        if known:
            self._tell_loss(blob_id)

    def listen_losses(self, listener: Callable[[BlobId], None]) -> None:
        """Calls ``listener`` on the loop for each blob that went, or that lost pieces which it held."""
        self._losses.append(listener)

    @property
    def capacity_bytes(self) -> int:
        """What the store may hold in all, as limit and disk are now."""
        return self._space.capacity_bytes

    @property
    def reads_through(self) -> bool:
        """Whether the last piece could not be kept for want of room."""
        return self._space.refused

    async def collect(self, to_bytes: int | None) -> Collected:
        """Lets the least recently used go until ``to_bytes`` are held (None: what the limit allows), and removes leftovers.

        Blobs in use stay, less what nobody is in or wants next; so more may be left.
        """
        blobs, used_bytes = len(self._catalogue), self._catalogue.used_bytes
        await self._space.collect(to_bytes)
        await self._sweep()
        return Collected(blobs=blobs - len(self._catalogue), freed_bytes=used_bytes - self._catalogue.used_bytes)

    @property
    def disk_waits(self) -> int:
        """How often somebody waited for the disk since the start, to read from it."""
        return self._services.reader.waits

    def statistics(self) -> StoreStatistics:
        """The figures now, from memory."""
        return replace(self._space.statistics(), damaged=self._trust.damaged)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _find_same(self, blob: Blob) -> StoredBlob | None:
        found = self.find(blob.id) or self._objects.get(blob.id)  # which may have no files yet
        return found if found is not None and found.blob == blob else None

    def _object(self, files: BlobFiles, durable: Bitmap, manifest: Manifest, trust: BlobTrust) -> StoredBlob:
        stored = StoredBlob(files, durable, manifest, trust, self._services)
        self._objects[stored.blob.id] = stored
        if files.is_open:
            self._open_blobs.idle(stored)
        return stored

    async def _begin(self, stored: StoredBlob) -> None:
        """Makes the files of a blob that has none. Raises StoreFull where there is no room for them."""
        if stored.files.made:
            return
        await self._space.wait_for_blob_room()
        async with self._one_changes_names:
            if stored.files.made or stored.dropped:  # while we waited
                return
            try:
                files = await trio.to_thread.run_sync(self._create_files, stored.blob)
            except OSError as error:
                raise self._space.kernel_refused(error.strerror or str(error)) from error
            if stored.dropped:
                files.close()  # its successor, or the next start, sets them aside
                return
            self._catalogue.add(stored.blob, used_at_s=time.time())
            stored.got_files(files)

    def _tell_loss(self, blob_id: BlobId) -> None:
        for listener in self._losses:
            listener(blob_id)

    def _create_files(self, blob: Blob) -> BlobFiles:
        """In a thread."""
        self._directory.set_aside(blob.id)  # what a drop has not moved yet, or an earlier attempt left
        try:
            return BlobFiles.create(self._directory.blobs_fd, blob)
        except OSError:
            self._directory.set_aside(blob.id)
            raise

    def _is_in_use(self, blob_id: BlobId) -> bool:
        stored = self._objects.get(blob_id)
        return stored is not None and stored.in_use

    # -- eviction -----------------------------------------------------------------------------------------------------

    def _candidates(self) -> Iterator[Candidate]:
        for blob_id, used_bytes in self._catalogue.by_age():
            stored = self._objects.get(blob_id)
            if stored is not None and stored.in_use:
                yield Candidate(blob_id=blob_id, droppable_bytes=min(stored.drops.droppable_bytes, used_bytes), in_use=True)
            else:
                yield Candidate(blob_id=blob_id, droppable_bytes=used_bytes)

    async def _evict(self, eviction: Eviction) -> None:
        """Lets go what was planned, unless somebody has begun to use it meanwhile."""
        blob = self._catalogue.peek(eviction.blob_id)
        if blob is None:
            return
        match eviction:
            case DropBlob(blob_id):
                stored = self._objects.get(blob_id)
                if stored is None or not stored.in_use:
                    _log.debug("store.blob.evicted", blob=blob_id)
                    await self.drop(blob_id)
            case DropPieces(blob_id, size_bytes):
                try:
                    stored = self._shrinking = self._load(blob)
                except Unavailable as error:  # no descriptor is left: then it keeps its pieces for now
                    _log.debug("store.eviction.failed", blob=blob_id, reason=error.message)
                    return
                if stored is not None:
                    freed_bytes = await stored.drops.drop_coldest(size_bytes)
                    _log.debug("store.pieces.evicted", blob=blob_id, freed_bytes=freed_bytes)

    async def _remove_files(self, blob_id: BlobId) -> None:
        """Moves a blob's files away, unless they are its successor's, and removes them."""
        try:
            async with self._one_changes_names:
                if blob_id in self._catalogue or not await trio.to_thread.run_sync(self._directory.set_aside, blob_id):
                    return
            await trio.to_thread.run_sync(self._directory.sync_set_aside, blob_id)
        except OSError as error:
            _log.error("store.drop.failed", blob=blob_id, reason=error.strerror)
        await self._sweep()

    async def _sweep(self) -> None:
        try:
            await trio.to_thread.run_sync(self._directory.sweep, limiter=self._one_sweeps)
        except OSError as error:  # the next start tries again
            _log.warning("store.sweep.failed", reason=error.strerror)

    async def _leave(self) -> None:
        await self._writer.stop()
        with trio.move_on_after(FLUSH_TIMEOUT_S, shield=True) as patience:
            await self.sync_loop.flush()
        await self.sync_loop.stop()
        if patience.cancelled_caught:
            _log.warning("store.flush.timeout", timeout_s=FLUSH_TIMEOUT_S)
        self._open_blobs.close()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._leave_records, not patience.cancelled_caught)

    def _leave_records(self, clean: bool) -> None:
        """In a thread, when nothing is written any more: what the next start wants to know."""
        self._directory.tell_used(self._catalogue.found())
        if clean:
            blob_ids = [blob_id for blob_id, _ in self._catalogue.by_age()]
            self._directory.leave_clean_record(self._trust.record(blob_ids, self._directory.stamp_of))
