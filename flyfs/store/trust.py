"""Which stored pieces have to be proved again before they are served. Pure.

A piece that was synced and marked is right as long as nobody but this store touched its file and the machine kept its word. A
clean stop records how each data file looked then, and the next start trusts what still looks so; a crash leaves no record, and
then nothing is trusted. What was not proved in one run is still not proved in the next, however clean the stop between them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from flyfs.core.bitmap import Bitmap
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.verify import Verify


@dataclass(frozen=True, slots=True)
class Stamp:
    """How a data file looks from outside: ``changed_ns`` (st_ctime) moves with each write, and no program can set it back."""

    size: int
    changed_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanBlob:
    """What a clean stop recorded of one blob.

    Attributes:
        size: of the data file.
        changed_ns: its change time, nanoseconds since 1970.
        unproved: bitmap of the pieces that nobody had proved yet, empty for none.
    """

    blob_id: BlobId
    size: int
    changed_ns: int
    unproved: bytes = b""


class BlobTrust:
    """What is to be proved of one blob, for as long as the store is open.

    Attributes:
        unproved: pieces to be proved before they are served. Damaged ones stay in it until they are written again, because the
            mark on the disk may outlive them.
        stamp: how the data file looked when nobody here had changed it yet; None from then on.
    """

    __slots__ = ("_doubted", "stamp", "unproved")

    def __init__(self, doubted: Bitmap, stamp: Stamp | None, *, prove: bool) -> None:
        """``doubted`` is what a record has to name as unproved, whether it is to be proved now (``prove``) or not."""
        self._doubted = doubted
        self.unproved = doubted if prove else Bitmap(doubted.length)
        self.stamp = stamp

    @property
    def doubted(self) -> bytes:
        """The bitmap of what was not proved, empty for nothing."""
        return self._doubted.to_bytes() if self._doubted.count else b""

    def doubt(self, piece: PieceIndex) -> None:
        """It has to be proved before it is served, whatever the policy."""
        self._doubted.add(piece)
        self.unproved.add(piece)

    def proved(self, piece: PieceIndex) -> None:
        """Its bytes are right."""
        if self._doubted.count:
            self._doubted.discard(piece)
            self.unproved.discard(piece)

    def changed(self) -> None:
        """The data file is written to, so it will look different in the end."""
        self.stamp = None


class Trust:
    """What is known of all blobs of one store.

    Attributes:
        damaged: pieces that turned out not to be right since the start.
    """

    def __init__(self, verify: Verify, recorded: Iterable[CleanBlob] = ()) -> None:
        """``recorded`` is what the last stop left, nothing after a crash."""
        self.damaged = 0
        self._verify = verify
        self._recorded = {one.blob_id: one for one in recorded}
        self._blobs: dict[BlobId, BlobTrust] = {}

    def loaded(self, blob_id: BlobId, durable: Bitmap, stamp: Stamp) -> BlobTrust:
        """A blob's files were read: ``durable`` of it can be served once it is proved. Decided once per blob and run."""
        known = self._blobs.get(blob_id)
        if known is None:
            doubted = durable.copy() if self._verify is Verify.ALWAYS else self._doubted(blob_id, durable, stamp)
            known = self._blobs[blob_id] = BlobTrust(doubted, stamp, prove=self._verify is not Verify.NEVER)
        return known

    def created(self, blob_id: BlobId, pieces: int) -> BlobTrust:
        """A blob begins: whatever it will hold is proved when it is written."""
        self.forget(blob_id)
        created = self._blobs[blob_id] = BlobTrust(Bitmap(pieces), None, prove=True)
        return created

    def forget(self, blob_id: BlobId) -> None:
        """The blob is gone."""
        self._blobs.pop(blob_id, None)
        self._recorded.pop(blob_id, None)

    def record(self, blob_ids: Iterable[BlobId], stamp_of: Callable[[BlobId], Stamp | None]) -> Iterator[CleanBlob]:
        """What to leave at a clean stop, when all that was written is synced.

        Args:
            blob_ids: the blobs of the store.
            stamp_of: how a data file looks now; asked only for what was written in this run, because others might have changed
                the rest meanwhile. None where it is gone.
        """
        for blob_id in blob_ids:
            trust = self._blobs.get(blob_id)
            if trust is None:
                if blob_id in self._recorded:
                    yield self._recorded[blob_id]
            elif (stamp := trust.stamp or stamp_of(blob_id)) is not None:
                yield CleanBlob(blob_id=blob_id, size=stamp.size, changed_ns=stamp.changed_ns, unproved=trust.doubted)

    def _doubted(self, blob_id: BlobId, durable: Bitmap, stamp: Stamp) -> Bitmap:
        recorded = self._recorded.get(blob_id)
        if recorded is None or Stamp(recorded.size, recorded.changed_ns) != stamp:
            return durable.copy()
        if not recorded.unproved:
            return Bitmap(durable.length)
        try:
            return durable.without(durable.without(Bitmap.from_bytes(recorded.unproved, durable.length)))
        except ValueError:  # of another grid
            return durable.copy()
