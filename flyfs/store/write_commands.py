"""What the write order wants done with the disk; each command is answered by one event. Pure values."""

from dataclasses import dataclass

from flyfs.core.ids import BlobId, PieceIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncBlob:
    """Bring the data file to the disk; answered by ``sync_finished`` or ``sync_failed``."""

    blob_id: BlobId
    pieces: tuple[PieceIndex, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkDurable:
    """Append the digests that wait; then, where there are ``pieces``, replace the bitmap.

    Answered by ``mark_finished`` or ``mark_failed``.
    """

    blob_id: BlobId
    pieces: tuple[PieceIndex, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWriteback:
    """Let the disk begin to write pieces ``[first, stop)``, and do not wait for it.

    Answered by ``writeback_started``, or by ``sync_failed`` where it could not even begin.
    """

    blob_id: BlobId
    first: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProveAgain:
    """Read back what the disk has of ``pieces``, past the page cache; answered by ``pieces_proved``."""

    blob_id: BlobId
    pieces: tuple[PieceIndex, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmarkPieces:
    """Replace the bitmap by one without ``pieces``; answered by ``unmark_finished`` or ``unmark_failed``."""

    blob_id: BlobId
    pieces: tuple[PieceIndex, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FreePieces:
    """Give the room of ``pieces`` back: no mark on the disk speaks of them. Answered by ``free_ended``."""

    blob_id: BlobId
    pieces: tuple[PieceIndex, ...]


Command = SyncBlob | MarkDurable | StartWriteback | ProveAgain | UnmarkPieces | FreePieces
