"""Pieces that came from their origin itself: right as far as the origin is, and nobody vouches for them yet. Pure.

Readers of this process get them. They are no *have* to anybody else, and not durable, until a signed digest says that they are
what the fleet has.
"""

from collections.abc import Iterator

from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import SignedDigests


class Provisional:
    """The digests that a blob's provisional pieces have."""

    __slots__ = ("_digests",)

    def __init__(self) -> None:
        self._digests: dict[PieceIndex, bytes] = {}

    def __contains__(self, piece: int) -> bool:
        return piece in self._digests

    def __iter__(self) -> Iterator[PieceIndex]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)

    def piece_came(self, piece: PieceIndex, digest: bytes) -> None:
        """It is being written, with bytes that have this digest."""
        self._digests[piece] = digest

    def piece_gone(self, piece: PieceIndex) -> None:
        """It is not held any more, or could not be written."""
        self._digests.pop(piece, None)

    def vouched(self, batch: SignedDigests) -> tuple[list[PieceIndex], list[PieceIndex]]:
        """The pieces that turn out to be right, and those that turn out to be wrong; neither is provisional any more."""
        right: list[PieceIndex] = []
        wrong: list[PieceIndex] = []
        for piece in [piece for piece in self._digests if piece in batch.pieces]:
            digest = self._digests.pop(piece)
            (right if digest == batch.digest_of(piece) else wrong).append(piece)
        return right, wrong
