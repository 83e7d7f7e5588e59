"""Blobs, pieces, bitmaps and signed digests for tests. Same arguments, same bytes, in every run."""

import hashlib

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from flyfs.core.manifest import PAGE_PIECES, Manifest, SignedDigests, piece_digest
from flyfs.core.signing import SigningKey, verify
from flyfs.wire.messages import Hello, Neighbour, Welcome

KEY = SigningKey(bytes(range(32)))
"""The key of the supernode that all trust."""
OTHER_KEY = SigningKey(bytes(range(1, 33)))
"""A key that nobody trusts."""
PIECE_BYTES = 1024


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


def a_blob_id(name: str = "a") -> BlobId:
    """The id of some blob."""
    return BlobId(hashlib.sha256(name.encode()).hexdigest())


def a_peer_id(name: str = "a") -> PeerId:
    """The id of some peer; no two short names share the first eight digits, which logs show."""
    return PeerId(hashlib.md5(name.encode()).hexdigest())


def a_neighbour(name: str = "a", address: str = "127.0.0.1:7402") -> Neighbour:
    """A peer that a supernode introduces."""
    return Neighbour(peer_id=a_peer_id(name), address=address)


def bytes_of(blob: Blob, piece: int) -> bytes:
    """The right bytes of a piece: different in each blob and place."""
    return hashlib.shake_128(f"{blob.id}/{piece}".encode()).digest(blob.grid.length_of(PieceIndex(piece)))


def content_of(blob: Blob) -> bytes:
    """All bytes of a blob."""
    return b"".join(bytes_of(blob, piece) for piece in blob.grid)


def digests_of(blob: Blob, first: int = 0, stop: int | None = None, *, key: SigningKey = KEY) -> SignedDigests:
    """One signed batch for pieces ``[first, stop)``, to the end of the page by default."""
    end = min(len(blob.grid), (first // PAGE_PIECES + 1) * PAGE_PIECES) if stop is None else stop
    return key.sign(blob.id, first, b"".join(piece_digest(bytes_of(blob, piece)) for piece in range(first, end)))


def a_manifest(blob: Blob, *batches: SignedDigests) -> Manifest:
    """A manifest that knows ``batches``, verified."""
    manifest = Manifest(blob.id, len(blob.grid))
    for batch in batches:
        verify(batch, frozenset([KEY.public]))
        manifest.add(batch)
    return manifest


def drawn(picture: str) -> Bitmap:
    """The bitmap of a picture: ``"##.#"`` has pieces 0, 1 and 3 of four."""
    assert not set(picture) - {"#", "."}, picture
    return Bitmap.of(len(picture), [piece for piece, mark in enumerate(picture) if mark == "#"])


def picture_of(bitmap: Bitmap) -> str:
    """The picture of a bitmap: the inverse of ``drawn``."""
    return "".join("#" if piece in bitmap else "." for piece in range(bitmap.length))


def a_hello(name: str = "a", *, major: int = 1, address: str = "") -> Hello:
    """A peer's greeting."""
    return Hello(major=major, minor=0, peer_id=a_peer_id(name), role="peer", version="0.1.0", address=address)


def a_welcome(name: str = "b", *, major: int = 1) -> Welcome:
    """A supernode's greeting."""
    return Welcome(major=major, minor=0, peer_id=a_peer_id(name), role="supernode", version="0.1.0", key=KEY.public)
