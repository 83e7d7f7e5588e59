"""Piece digests and who vouches for them. Pure.

A supernode signs digests in batches while it reads the origin; a complete page of 1,024 digests carries one signature.
Batches are portable: any peer may hand them on, because the signature binds them to the blob and the piece range.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from blake3 import blake3

from flyfs.core.errors import Corrupt
from flyfs.core.ids import BlobId, PieceIndex

DIGEST_BYTES = 32
PAGE_PIECES = 1024
_SIGNATURE_CONTEXT = b"flyfs digests 1\0"


def piece_digest(data: bytes | bytearray | memoryview) -> bytes:
    """BLAKE3-256 of one piece's bytes: 32 bytes, about 4 GB/s on one core."""
    return blake3(data).digest()


def piece_hasher() -> blake3:
    """Makes the same digest of bytes that come one after another (``update``, then ``digest``)."""
    return blake3()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDigests:
    """The digests of pieces ``first …`` of one blob, vouched for by one key.

    Attributes:
        first: the first piece; a batch never crosses a page border.
        digests: 32 bytes per piece.
        key: the signer's Ed25519 public key, 32 bytes.
        signature: 64 bytes over ``signed_bytes``.
    """

    blob_id: BlobId
    first: int
    digests: bytes
    key: bytes
    signature: bytes

    def __post_init__(self) -> None:
        count, rest = divmod(len(self.digests), DIGEST_BYTES)
        if rest or not count or self.first < 0 or self.first // PAGE_PIECES != (self.first + count - 1) // PAGE_PIECES:
            raise ValueError(f"not a digest batch: {len(self.digests)} bytes from piece {self.first}")

    def __len__(self) -> int:
        return len(self.digests) // DIGEST_BYTES

    @property
    def pieces(self) -> range:
        """The pieces this batch speaks of."""
        return range(self.first, self.first + len(self))

    def digest_of(self, piece: int) -> bytes:
        """The digest that this batch names for one of its pieces."""
        at = (piece - self.first) * DIGEST_BYTES
        return self.digests[at : at + DIGEST_BYTES]

    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        return digests_to_sign(self.blob_id, self.first, self.digests)


def digests_to_sign(blob_id: BlobId, first: int, digests: bytes) -> bytes:
    """The bytes a supernode signs for a batch: context, blob id, first piece, digests."""
    return _SIGNATURE_CONTEXT + bytes.fromhex(blob_id) + first.to_bytes(8, "little") + digests


class Fork(Corrupt):
    """Two valid signatures name different digests for one piece: the blob is retired, nobody is struck."""

    def __init__(self, message: str, batches: tuple[SignedDigests, ...] = ()) -> None:
        super().__init__(message)
        self.batches = batches
        """Both, where both are signed: they prove it to others."""


class Manifest:
    """The digests known of one blob, with the batches that prove them.

    Batches must have been verified (``signing.verify``) before they are added: this object only remembers.
    """

    def __init__(self, blob_id: BlobId, pieces: int) -> None:
        self.blob_id = blob_id
        self.pieces = pieces
        self._batches: dict[int, list[SignedDigests]] = {}  # page → batches by first piece
        self._digests: dict[int, bytearray] = {}  # page → 32 bytes for each of its pieces, zero where unknown
        self.keys: set[bytes] = set()
        """Whose signatures there are among the batches, or were."""

    def add(self, batch: SignedDigests) -> bool:
        """Remembers a verified batch; True where it says something new.

        A batch that covers others replaces them, so a complete page ends as one batch. What another key vouches for already
        is new all the same: not everybody trusts every key.

        Raises:
            ValueError: it is of another blob or leaves the grid.
            Fork: it contradicts a digest that is known already.
        """
        if batch.blob_id != self.blob_id or batch.pieces.stop > self.pieces:
            raise ValueError(f"a batch of {batch.blob_id} {batch.pieces} does not fit {self.blob_id} with {self.pieces} pieces")
        page = batch.first // PAGE_PIECES
        at = batch.first % PAGE_PIECES * DIGEST_BYTES
        stop = at + len(batch.digests)
        known = self._digests.get(page)
        if known is None:
            known = self._digests[page] = bytearray(min(PAGE_PIECES, self.pieces - page * PAGE_PIECES) * DIGEST_BYTES)
        elif any(known[at:stop]):
            self._refuse_fork(batch, known[at:stop])
        known[at:stop] = batch.digests
        self.keys.add(batch.key)
        return self._insert(self._batches.setdefault(page, []), batch)

    @staticmethod
    def _insert(batches: list[SignedDigests], batch: SignedDigests) -> bool:
        """Keeps ``batches`` sorted by first piece, without those that the new one covers."""
        start = bisect_left(batches, batch.first, key=lambda one: one.first)
        stop = start
        while stop < len(batches) and batches[stop].pieces.stop <= batch.pieces.stop:
            stop += 1
        covering = (batches[start - 1 : start], batches[start : start + 1])
        same_key = [old for around in covering for old in around if old.key == batch.key]
        if any(old.first <= batch.first and batch.pieces.stop <= old.pieces.stop for old in same_key):
            return False
        batches[start:stop] = [batch]
        return True

    def _refuse_fork(self, batch: SignedDigests, known: bytearray) -> None:
        if bytes(known) == batch.digests:
            return
        for offset in range(0, len(known), DIGEST_BYTES):
            old = bytes(known[offset : offset + DIGEST_BYTES])
            if any(old) and old != batch.digests[offset : offset + DIGEST_BYTES]:
                piece = PieceIndex(batch.first + offset // DIGEST_BYTES)
                before = self.batch_for(piece)
                told = (before, batch) if before is not None else ()
                raise Fork(f"two signed digests for piece {piece} of blob {batch.blob_id}", told)

    def knows(self, batch: SignedDigests) -> bool:
        """Whether every digest of ``batch`` is known already, and the same; such a batch need not be verified again."""
        page = self._digests.get(batch.first // PAGE_PIECES)
        at = batch.first % PAGE_PIECES * DIGEST_BYTES
        return page is not None and bytes(page[at : at + len(batch.digests)]) == batch.digests

    def digest_of(self, piece: PieceIndex) -> bytes | None:
        """The digest of ``piece``, None where it is not known yet."""
        page = self._digests.get(piece // PAGE_PIECES)
        if page is None:
            return None
        at = piece % PAGE_PIECES * DIGEST_BYTES
        digest = bytes(page[at : at + DIGEST_BYTES])
        return digest if any(digest) else None

    def batch_for(self, piece: PieceIndex) -> SignedDigests | None:
        """The batch that vouches for ``piece``, None where there is none."""
        batches = self._batches.get(piece // PAGE_PIECES, [])
        at = bisect_right(batches, int(piece), key=lambda one: one.first)
        return next((batch for batch in reversed(batches[:at]) if piece in batch.pieces), None)

    def vouched_by(self, keys: Collection[bytes]) -> int:
        """The pieces that one of ``keys`` vouches for, as the number whose bits they are."""
        found = 0
        for batches in self._batches.values():
            for batch in batches:
                if batch.key in keys:
                    found |= ((1 << len(batch)) - 1) << batch.first
        return found

    def batches(self, page: int) -> tuple[SignedDigests, ...]:
        """All batches known of one page, by first piece."""
        return tuple(self._batches.get(page, ()))

    def all_batches(self) -> Iterator[SignedDigests]:
        """All batches known, page by page."""
        return (batch for page in sorted(self._batches) for batch in self._batches[page])

    def prove(self, piece: PieceIndex, data: bytes | bytearray | memoryview) -> None:
        """Returns where ``data`` is exactly the piece.

        Raises:
            Corrupt: it is not, or its digest is not known.
        """
        digest = self.digest_of(piece)
        if digest is None:
            raise Corrupt(f"no digest known for piece {piece} of blob {self.blob_id}")
        if piece_digest(data) != digest:
            raise Corrupt(f"piece {piece} of blob {self.blob_id} does not match its digest")
