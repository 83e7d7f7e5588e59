"""Reads what lies on the disk, in threads; proves it first where it has to be proved again. Shell.

A piece that turns out damaged is given up, and whoever wanted it hears that it is lost. A reader that gives up does not wait for
the disk: its thread finds out by itself, and what it read is thrown away.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import Protocol, TypeVar

import trio

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.errors import Corrupt
from flyfs.core.grid import ByteRange
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import Manifest
from flyfs.store import effects
from flyfs.store.faults import ENDS_EARLY, UNKNOWN, fault_of, unreadable
from flyfs.store.page_cache import read_into_cache, read_whole

T = TypeVar("T")

READERS = 8
"""Enough to keep a disk's queue busy; more would wait for each other."""


class PiecesLost(Corrupt):
    """Pieces that were held turned out damaged, or went meanwhile: they are no *have* any more, and can be fetched again."""


class Proofs(Protocol):
    """What has to be proved of a blob, and what came of it."""

    @property
    def unproved(self) -> Bitmap:
        """Pieces that have to be proved before they are served; some of them may not be held."""
        ...

    def doubted(self, pieces: Iterable[PieceIndex]) -> None:
        """They have to be proved again."""
        ...

    def proved(self, piece: PieceIndex) -> None:
        """It is right."""
        ...

    def damaged(self, piece: PieceIndex, reason: str) -> None:
        """It is not: it must not be a *have* any more."""
        ...


class Held(Protocol):
    """A blob's pieces in its data file."""

    @property
    def blob(self) -> Blob:
        """What it is."""
        ...

    @property
    def manifest(self) -> Manifest:
        """Its digests."""
        ...

    @property
    def have(self) -> Bitmap:
        """The pieces that can be read."""
        ...

    @property
    def proofs(self) -> Proofs:
        """Which of them have to be proved before."""
        ...

    @property
    def fileno(self) -> int:
        """The data file's descriptor."""
        ...

    def use(self, pieces: range) -> AbstractContextManager[object]:
        """Keeps the descriptor, and what is held of ``pieces``."""
        ...


class Reader:
    """Reads for all blobs of a store.

    Attributes:
        waits: how often somebody waited for the disk since the start.
    """

    def __init__(self) -> None:
        self.waits = 0
        self._threads = trio.CapacityLimiter(READERS)
        self._proofs: dict[tuple[int, PieceIndex], trio.Event] = {}  # by the blob's identity: being proved

    async def read(self, held: Held, offset: int, size: int) -> bytes:
        """The bytes, all of them.

        Raises:
            PiecesLost: some of them are not held any more.
        """
        return await self._from_disk(held, offset, offset + size, lambda fd: read_whole(fd, offset, size))

    async def bring_into_page_cache(self, held: Held, start: int, stop: int) -> None:
        """After it, reading ``[start, stop)`` does not wait for the disk. Raises as ``read``."""
        await self._from_disk(held, start, stop, lambda fd: read_into_cache(fd, start, stop))

    async def _from_disk(self, held: Held, start: int, stop: int, call: Callable[[int], T]) -> T:
        pieces = held.blob.grid.covering(start, stop)
        self.waits += 1
        with held.use(pieces):
            fd = held.fileno  # before anything else: where its files are gone, so are its pieces
            await self._prove(held, fd, pieces)
            with suppress(OSError):  # one of them is damaged, or the fault passes
                return await self._in_thread(call, fd)
            held.proofs.doubted(map(PieceIndex, pieces))
            await self._prove(held, fd, pieces)
            try:
                return await self._in_thread(call, fd)
            except OSError as error:
                for piece in map(PieceIndex, pieces):
                    held.proofs.damaged(piece, unreadable(error))
                raise _lost(held, pieces) from error

    async def _prove(self, held: Held, fd: int, pieces: range) -> None:
        """Proves those of ``pieces`` that have to be. Raises PiecesLost."""
        for piece in map(PieceIndex, pieces):
            while piece in held.have and piece in held.proofs.unproved:
                flight = self._proofs.get((id(held), piece))
                if flight is None:
                    await self._prove_piece(held, fd, piece)
                else:
                    await flight.wait()
        if not held.have.has_all(pieces):
            raise _lost(held, pieces)

    async def _prove_piece(self, held: Held, fd: int, piece: PieceIndex) -> None:
        flight = self._proofs[id(held), piece] = trio.Event()
        place, digest = held.blob.grid.range_of(piece), held.manifest.digest_of(piece)
        try:
            if digest is None:
                fault: str | None = UNKNOWN
            else:
                fault = await self._in_thread(lambda fd: _fault_of(fd, place, digest), fd)
            if fault == ENDS_EARLY:
                await self._restore_length(held, fd)
        finally:
            del self._proofs[id(held), piece]
            flight.set()
        if piece not in held.proofs.unproved:  # dropped meanwhile, and written again
            return
        if fault is None:
            held.proofs.proved(piece)
        else:
            held.proofs.damaged(piece, fault)

    async def _restore_length(self, held: Held, fd: int) -> None:
        """Somebody cut the file. Only one of the blob's size is a blob's file, but then what is behind the cut reads as zeros."""
        held.proofs.doubted(tuple(held.have))
        with suppress(OSError):
            await trio.to_thread.run_sync(effects.restore_length, fd, held.blob.size, limiter=self._threads)

    async def _in_thread(self, call: Callable[[int], T], fd: int) -> T:
        return await trio.to_thread.run_sync(call, fd, limiter=self._threads, abandon_on_cancel=True)


def _fault_of(fd: int, place: ByteRange, digest: bytes) -> str | None:
    """In a thread."""
    os.posix_fadvise(fd, place.start, len(place), os.POSIX_FADV_WILLNEED)
    try:
        return fault_of(fd, place.start, place.stop, digest)
    except OSError as error:
        return unreadable(error)


def _lost(held: Held, pieces: range) -> PiecesLost:
    return PiecesLost(f"pieces {pieces.start} to {pieces.stop - 1} of blob {held.blob.id} are not all held")
