"""A piece that the origin itself sent: written, and held for the readers of this process alone. Shell."""

from flyfs.core.errors import Corrupt
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import piece_digest
from flyfs.store.stored_blob import StoredBlob


async def write_provisional(stored: StoredBlob, piece: PieceIndex, data: memoryview, *, demand: bool = False) -> None:
    """Writes a piece of which no digest is known; one that is known is proved as ever.

    Raises:
        Corrupt: a digest is known, or came meanwhile, and is another one: nothing is kept.
        StoreFull, Stale, ValueError: as ``StoredBlob.write_piece``.
    """
    if piece in stored.have or stored.manifest.digest_of(piece) is not None:
        await stored.write_piece(piece, data, demand=demand)
        return
    digest = piece_digest(data)
    stored.provisional.piece_came(piece, digest)
    try:
        await stored.write_piece(piece, data, proved=True, demand=demand)
    finally:
        if piece not in stored.have:
            stored.provisional.piece_gone(piece)
    known = stored.manifest.digest_of(piece)
    if known is not None and known != digest:
        stored.drops.pieces_damaged([piece])
        raise Corrupt(f"piece {piece} of blob {stored.blob.id} is another one at the origin")
