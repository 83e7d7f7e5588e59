"""What of a blob may be offered to others: pieces that we can prove to them. Pure, but for looking into the store's own objects.

A piece from the origin itself is nobody's word but ours; and what an unknown supernode once signed (an embedded one, another
fleet's) is worth nothing to a peer that does not know its key. Whoever is offered such a piece takes us for a liar.
"""

from collections.abc import Collection

from flyfs.core.bitmap import Bitmap
from flyfs.core.ids import PieceIndex
from flyfs.store.stored_blob import StoredBlob


def offered(stored: StoredBlob, keys: Collection[bytes]) -> Bitmap:
    """The pieces that are held, and that one of ``keys`` vouches for; while no key is known, that any does."""
    have = stored.have.copy()
    for piece in stored.provisional:
        have.discard(piece)
    if not keys or stored.manifest.keys.issubset(keys):
        return have
    size = -(-have.length // 8)
    proved = int.from_bytes(have.to_bytes(), "little") & stored.manifest.vouched_by(keys)
    return Bitmap.from_bytes(proved.to_bytes(size, "little"), have.length)


def is_offered(stored: StoredBlob, piece: PieceIndex, keys: Collection[bytes]) -> bool:
    """Whether ``offered`` has the piece."""
    if piece not in stored.have or piece in stored.provisional:
        return False
    if not keys or stored.manifest.keys.issubset(keys):
        return True
    batch = stored.manifest.batch_for(piece)
    return batch is not None and batch.key in keys


def unproved_pages(stored: StoredBlob, keys: Collection[bytes], page_pieces: int) -> list[int]:
    """The manifest pages in which pieces are held that are not offered: where a supernode's word is wanted."""
    if not stored.provisional and stored.manifest.keys.issubset(keys):
        return []
    may = offered(stored, keys)
    return sorted({piece // page_pieces for piece in stored.have if piece not in may})
