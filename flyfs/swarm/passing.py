"""Pieces that the store has no room for, in memory for a moment. Pure.

A kernel reads a piece in several requests, and a prefetched one a while after it came. They are never announced, served to
nobody else, and the least recently used ones go first. No reader depends on one being here: whoever waits for a piece takes
its share as the piece comes by (``reading``).
"""

from flyfs.core.blob import Blob
from flyfs.core.grid import MIB
from flyfs.core.ids import BlobId, PieceIndex

PASSING_BYTES = 16 * MIB
"""A quarter of the receive buffers: some reads ahead of some readers, of pieces of 1 MiB."""


class Passing:
    """Proved pieces of all blobs, within a budget of bytes; the newest is kept however large it is."""

    def __init__(self, budget_bytes: int = PASSING_BYTES) -> None:
        self.budget_bytes = budget_bytes
        self.held_bytes = 0
        self._pieces: dict[tuple[BlobId, PieceIndex], bytes] = {}  # the least recently used first

    def put(self, blob_id: BlobId, piece: PieceIndex, data: memoryview) -> None:
        """Keeps a copy."""
        self._remove((blob_id, piece))
        self._pieces[blob_id, piece] = bytes(data)
        self.held_bytes += len(data)
        while self.held_bytes > self.budget_bytes and len(self._pieces) > 1:
            self._remove(next(iter(self._pieces)))

    def find(self, blob_id: BlobId, piece: PieceIndex) -> bytes | None:
        """The piece, if it is here still."""
        data = self._pieces.pop((blob_id, piece), None)
        if data is not None:
            self._pieces[blob_id, piece] = data
        return data

    def read(self, blob: Blob, offset: int, size: int) -> memoryview | None:
        """The bytes, clipped to the blob, where all of them are here."""
        if not self._pieces:
            return None
        stop = min(offset + size, blob.size)
        pieces = blob.grid.covering(offset, stop)
        found = [self.find(blob.id, PieceIndex(piece)) for piece in pieces]
        if not found or None in found:
            return None
        start = pieces.start * blob.piece_size
        whole = found[0] if len(found) == 1 else b"".join(data for data in found if data is not None)
        return memoryview(whole or b"")[offset - start : stop - start]

    def forget(self, blob_id: BlobId) -> None:
        """Nobody reads the blob any more."""
        for key in [key for key in self._pieces if key[0] == blob_id]:
            self._remove(key)

    def _remove(self, key: tuple[BlobId, PieceIndex]) -> None:
        data = self._pieces.pop(key, None)
        if data is not None:
            self.held_bytes -= len(data)
