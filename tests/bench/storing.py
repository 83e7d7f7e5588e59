"""What a store alone is asked to do, in a process of its own: ``python -m tests.bench.storing WHAT JSON`` prints JSON. Shell."""

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.grid import piece_size_for
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import PAGE_PIECES, SignedDigests, piece_digest
from flyfs.core.signing import SigningKey
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from flyfs.transport.buffers import BufferPool, Loan
from flyfs.transport.bulk import receive_body, tune

_KEY = SigningKey(bytes(32))
_SMALL_BYTES = 4000


@dataclass(slots=True)
class _Body:
    into: memoryview | None


class _Syncs:
    """Counts what this process asks the disk to have for certain."""

    def __init__(self) -> None:
        self.count = 0
        os.fsync, os.fdatasync = (self._counted(sync) for sync in (os.fsync, os.fdatasync))

    def _counted(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def run(fd: int) -> None:
            self.count += 1
            sync(fd)

        return run


def _a_blob(name: str, size: int) -> Blob:
    return Blob(
        url=f"http://origin.test/{name}",
        principal="public",
        validator=Validator(ValidatorKind.ETAG, f'"{name}"'),
        size=size,
        generation=0,
        piece_size=piece_size_for(size),
    )


def _digests(blob: Blob, source: Path) -> list[SignedDigests]:
    with source.open("rb", buffering=0) as file:
        digests = [piece_digest(file.read(blob.grid.length_of(piece))) for piece in blob.grid]
    pages = range(0, len(digests), PAGE_PIECES)
    return [_KEY.sign(blob.id, first, b"".join(digests[first : first + PAGE_PIECES])) for first in pages]


def receive(directory: str, source: str) -> dict[str, float]:
    """A blob comes over a socket, and is durable in the end; the clock starts at its first byte."""
    size = os.stat(source).st_size
    blob = _a_blob("big", size)
    digests = _digests(blob, Path(source))
    syncs = _Syncs()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = os.fork()
        if sender == 0:
            _send(source, listener.getsockname(), size)
            os._exit(0)
        connection, _ = listener.accept()
    with connection:
        tune(connection)
        seconds = trio.run(_receive, Path(directory), blob, digests, connection)
    os.waitpid(sender, 0)
    return {"seconds": seconds, "syncs": syncs.count}


def _send(source: str, address: tuple[str, int], size: int) -> None:
    with socket.create_connection(address) as connection, open(source, "rb", buffering=0) as file:
        sent = 0
        while sent < size:
            sent += os.sendfile(connection.fileno(), file.fileno(), sent, size - sent)


async def _receive(directory: Path, blob: Blob, digests: list[SignedDigests], connection: socket.socket) -> float:
    buffers = BufferPool()
    start_s = time.perf_counter()
    async with Store.open(directory) as store:
        stored = await store.create(blob)
        for batch in digests:
            stored.add_digests(batch)
        with stored.pin():
            async with trio.open_nursery() as nursery:
                for piece in blob.grid:
                    loan = await buffers.lend(blob.grid.length_of(piece))
                    await receive_body(connection, _Body(loan.view), 0, len(loan.view))
                    nursery.start_soon(_write, stored, piece, loan)
    seconds = time.perf_counter() - start_s
    assert stored.durable.complete, "not all of it is durable"
    return seconds


async def _write(stored: StoredBlob, piece: PieceIndex, loan: Loan) -> None:
    with loan as view:
        await stored.write_piece(piece, view)


def make(directory: str, blobs: int) -> dict[str, float]:
    """A store of many small blobs, without waiting for the disk."""
    os.fsync = os.fdatasync = lambda _: None
    trio.run(_make, Path(directory), blobs)
    return {"blobs": blobs}


async def _make(directory: Path, blobs: int) -> None:
    content = memoryview(bytes(_SMALL_BYTES))
    digest = piece_digest(content)
    async with Store.open(directory) as store:
        for number in range(blobs):
            blob = _a_blob(str(number), _SMALL_BYTES)
            stored = await store.create(blob)
            stored.add_digests(_KEY.sign(blob.id, 0, digest))
            await stored.write_piece(PieceIndex(0), content)


def opening(directory: str) -> dict[str, float]:
    """Opens a store, and tells how long it took until it could be used."""
    return trio.run(_open, Path(directory))


async def _open(directory: Path) -> dict[str, float]:
    start_s = time.perf_counter()
    async with Store.open(directory) as store:
        seconds = time.perf_counter() - start_s
        figures = store.statistics()
        return {"seconds": seconds, "blobs": figures.blobs, "used": figures.used_bytes}


_ACTIONS: dict[str, Callable[..., dict[str, float]]] = {"receive": receive, "make": make, "opening": opening}

if __name__ == "__main__":
    print(json.dumps(partial(_ACTIONS[sys.argv[1]], **json.loads(sys.argv[2]))()))
