"""The blobs of one cache directory: found, made, dropped; kept within the space they may use. Shell."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import structlog
import trio

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.errors import Corrupt
from flyfs.core.ids import BlobId, PeerId
from flyfs.core.manifest import Manifest
from flyfs.store.blob_files import BlobFiles
from flyfs.store.cache_directory import CacheDirectory, bytes_of
from flyfs.store.catalogue import Catalogue
from flyfs.store.memory import memory_bytes
from flyfs.store.open_blobs import OpenBlobs
from flyfs.store.page_cache import PageCache
from flyfs.store.space import Space, StoreStatistics
from flyfs.store.stored_blob import StoredBlob, StoreServices
from flyfs.store.sync_loop import SyncLoop
from flyfs.store.unread_pages import MEMORY_SHARE, UnreadPages
from flyfs.store.write_order import BATCH_BYTES, WriteOrder
from flyfs.store.write_queue import WriteQueue, unsynced_limit_bytes
from flyfs.store.writer import Writer

FLUSH_TIMEOUT_S: Final = 10.0
"""Leaving waits so long for the disk; what it did not mark by then is fetched again."""

_log = structlog.get_logger()


class Store:
    """Made by ``open``. All methods are called on the event loop."""

    def __init__(self, directory: CacheDirectory, nursery: trio.Nursery, *, limit_bytes: int | None) -> None:
        """``open`` calls this; the nursery is for removing what was set aside."""
        self._directory = directory
        self._nursery = nursery
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
        self._space = Space(
            catalogue=self._catalogue,
            limit_bytes=limit_bytes,
            disk_bytes=directory.disk_bytes,
            is_pinned=self._is_pinned,
            evict=self._evict,
        )
        self._services = StoreServices(
            ordering=self.sync_loop,
            writer=self._writer,
            space=self._space,
            pages=PageCache(),
            unread_pages=unread_pages,
            open_blobs=self._open_blobs,
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path, *, limit_bytes: int | None = None) -> "AsyncGenerator[Store, None]":
        """The store of ``directory``, which is made where there is none; flushed and closed on leaving.

        Reads two small files per blob, not their digests or data. An exception of the body leaves as it is, not in a group.

        Args:
            directory: belongs to this process until the end.
            limit_bytes: what held pieces may take, None for what the disk has.

        Raises:
            ConfigError: another process has the directory, another version made it, or it cannot be used.
        """
        failure: Exception | None = None
        opened = await trio.to_thread.run_sync(CacheDirectory, directory)
        try:
            async with trio.open_nursery() as nursery:
                store = cls(opened, nursery, limit_bytes=limit_bytes)
                for blob, used_bytes, _ in await trio.to_thread.run_sync(_scan, opened):
                    store._catalogue.add(blob, used_bytes)
                nursery.start_soon(store.sync_loop.run)
                nursery.start_soon(store._writer.run)
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
        blob = self._catalogue.find(blob_id)
        if blob is None:
            return None
        stored = self._objects.get(blob_id)
        if stored is not None:
            return stored
        files = BlobFiles(self._directory.blobs_fd, blob)
        try:
            durable, manifest = files.load()
        except Corrupt as error:
            _log.warning("store.blob.damaged", blob=blob_id, reason=error.message)
            self._catalogue.remove(blob_id)
            self._nursery.start_soon(self._remove_files, blob_id)
            return None
        last = durable.length > 0 and durable.length - 1 in durable
        self._catalogue.set_used(blob_id, bytes_of(blob, durable.count, last=last))
        return self._object(files, durable, manifest)

    async def create(self, blob: Blob) -> StoredBlob:
        """The blob with its files, empty where it is new; one of the same id but another piece size is replaced.

        Raises:
            StoreFull: there is no room for it.
            Unavailable: as ``find``.
        """
        stored = self._find_same(blob)
        if stored is not None:
            return stored
        if blob.id in self._catalogue:
            await self.drop(blob.id)
        await self._space.promise(0)
        async with self._one_changes_names:
            stored = self._find_same(blob)  # somebody may have been faster
            if stored is not None:
                return stored
            try:
                files = await trio.to_thread.run_sync(self._create_files, blob)
            except OSError as error:
                raise self._space.refuse(error.strerror or str(error)) from error
            self._catalogue.add(blob)
            pieces = len(blob.grid)
            return self._object(files, Bitmap(pieces), Manifest(blob.id, pieces))

    async def drop(self, blob_id: BlobId) -> None:
        """The blob is gone at once, and for good when this returns; who pinned it reads on until it unpins.

        That it is not here is fine. A disk that refuses is logged: the blob may then be back after a restart.
        """
        self._catalogue.remove(blob_id)
        stored = self._objects.pop(blob_id, None)
        if stored is not None:
            stored.drop()
            self.sync_loop.drop(stored)
        await self._remove_files(blob_id)

    def statistics(self) -> StoreStatistics:
        """The figures now, from memory."""
        return self._space.statistics()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _find_same(self, blob: Blob) -> StoredBlob | None:
        found = self.find(blob.id)
        return found if found is not None and found.blob == blob else None

    def _object(self, files: BlobFiles, durable: Bitmap, manifest: Manifest) -> StoredBlob:
        stored = StoredBlob(files, durable, manifest, self._services)
        self._objects[stored.blob.id] = stored
        self._open_blobs.idle(stored)
        return stored

    def _is_pinned(self, blob_id: BlobId) -> bool:
        stored = self._objects.get(blob_id)
        return stored is not None and stored.pinned

    def _create_files(self, blob: Blob) -> BlobFiles:
        """In a thread."""
        self._directory.set_aside(blob.id)  # what a drop has not moved yet, or an earlier attempt left
        try:
            return BlobFiles.create(self._directory.blobs_fd, blob)
        except OSError:
            self._directory.set_aside(blob.id)
            raise

    async def _evict(self, blob_id: BlobId) -> None:
        _log.info("store.blob.evicted", blob=blob_id)
        await self.drop(blob_id)

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
        await trio.to_thread.run_sync(self._directory.sweep, limiter=self._one_sweeps)

    async def _leave(self) -> None:
        await self._writer.stop()
        with trio.move_on_after(FLUSH_TIMEOUT_S, shield=True) as patience:
            await self.sync_loop.flush()
        await self.sync_loop.stop()
        if patience.cancelled_caught:
            _log.warning("store.flush.timeout", timeout_s=FLUSH_TIMEOUT_S)
        self._open_blobs.close()
        try:
            self._directory.tell_used(self._catalogue.found())
        except OSError as error:
            _log.warning("store.times.failed", reason=error.strerror)


def _scan(directory: CacheDirectory) -> list[tuple[Blob, int, float]]:
    """In a thread: all blobs, the least recently used first."""
    return sorted(directory.scan(), key=lambda found: found[2])
