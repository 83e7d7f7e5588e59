"""Which held pieces of one blob may be served at once, which have to be proved before, and what is damaged. Shell (log)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

from flyfs.core.bitmap import Bitmap
from flyfs.core.ids import PieceIndex
from flyfs.store.services import StoreServices
from flyfs.store.trust import BlobTrust

if TYPE_CHECKING:
    from flyfs.store.stored_blob import StoredBlob

_log = structlog.get_logger()


class Proofs:
    """What is known of one blob's pieces; its reader proves them.

    Attributes:
        ready: what may be served at once: what is held, less what is unproved.
        unproved: what has to be proved before; some of it may not even be held.
    """

    def __init__(self, stored: "StoredBlob", durable: Bitmap, trust: BlobTrust, services: StoreServices) -> None:
        self.ready = durable.without(trust.unproved)
        self.unproved = trust.unproved
        self._stored = stored
        self._trust = trust
        self._services = services

    # -- what the reader tells ----------------------------------------------------------------------------------------

    def doubted(self, pieces: Iterable[PieceIndex]) -> None:
        """The disk failed on them: they have to be proved again."""
        for piece in pieces:
            if piece in self._stored.have:
                self.ready.discard(piece)
                self._trust.doubt(piece)

    def proved(self, piece: PieceIndex) -> None:
        """It is right: it can be served."""
        self._trust.proved(piece)
        if piece in self._stored.have:
            self.ready.add(piece)

    def damaged(self, piece: PieceIndex, reason: str) -> None:
        """It is not what it should be: it goes, and stays unproved until it is written again, whatever its mark says."""
        stored = self._stored
        if piece not in stored.have:
            return
        self._services.trust.damaged += 1
        _log.warning("store.piece.damaged", blob=stored.blob.id, piece=piece, reason=reason)
        self._trust.doubt(piece)
        stored.drops.pieces_damaged((piece,))

    # -- what the blob tells ------------------------------------------------------------------------------------------

    def held(self, piece: PieceIndex) -> None:
        """It is a *have*, perhaps again."""
        if piece not in self.unproved:
            self.ready.add(piece)

    def gone(self, piece: PieceIndex) -> None:
        """It is no *have* any more; its room may be taken out of the data file."""
        self.ready.discard(piece)
        self._trust.changed()

    def data_changes(self) -> None:
        """Something is about to be written into the data file."""
        self._trust.changed()
        if self._stored.files.is_cut:  # behind our back; the write may extend it, and then zeros would stand where pieces were
            self.doubted(tuple(self._stored.have))
