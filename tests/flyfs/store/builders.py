"""Blobs, pieces and signed digests for the tests of the store."""

import hashlib

from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import PAGE_PIECES, SignedDigests, piece_digest
from flyfs.core.signing import SigningKey
from flyfs.store.stored_blob import StoredBlob

KEY = SigningKey(bytes(32))
PIECE_BYTES = 4096


def a_blob(pieces: float = 3, *, name: str = "a", piece_size: int = PIECE_BYTES) -> Blob:
    """A blob of ``pieces`` pieces; 2.5 has a last one of half the size."""
    return Blob(
        url=f"http://origin.test/{name}",
        principal="public",
        validator=Validator(ValidatorKind.ETAG, f'"{name}"'),
        size=int(pieces * piece_size),
        generation=0,
        piece_size=piece_size,
    )


def piece_of(blob: Blob, piece: int) -> memoryview:
    """The right bytes of a piece: different in each blob and place."""
    size = blob.grid.length_of(PieceIndex(piece))
    return memoryview(hashlib.shake_128(f"{blob.id}/{piece}".encode()).digest(size))


def bytes_of_blob(blob: Blob) -> bytes:
    return b"".join(piece_of(blob, piece) for piece in blob.grid)


def digests_of(blob: Blob, first: int = 0, stop: int | None = None) -> SignedDigests:
    """One batch for pieces ``first …`` of the first page."""
    stop = min(len(blob.grid), PAGE_PIECES) if stop is None else stop
    return KEY.sign(blob.id, first, b"".join(piece_digest(piece_of(blob, piece)) for piece in range(first, stop)))


async def fill(stored: StoredBlob, pieces: range | None = None) -> None:
    """Digests and bytes of ``pieces``, all by default."""
    if len(stored.blob.grid):
        stored.add_digests(digests_of(stored.blob))
    for piece in pieces if pieces is not None else range(len(stored.blob.grid)):
        await stored.write_piece(PieceIndex(piece), piece_of(stored.blob, piece))


def held(stored: StoredBlob) -> list[int]:
    return list(stored.have)
