"""One task per blob: which peer holds which piece, and which pieces are on their way to whom. Pure."""

from collections.abc import Iterable

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.ids import BlobId, PeerId, PieceIndex

GRANT_LASTS_S = 2.0
"""How long a piece that was sent to a peer is taken to be on its way; then it is given out again."""


class Task:
    """What is known of one blob's distribution."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.holdings: dict[PeerId, Bitmap] = {}  # in the order of joining
        self.readers: set[PeerId] = set()
        self._grants: dict[PieceIndex, tuple[PeerId, float]] = {}
        self._redirected: set[tuple[PeerId, PieceIndex]] = set()

    def joined(self, peer: PeerId, have: Bitmap, *, reading: bool) -> None:
        """A peer told all that it holds."""
        self.holdings[peer] = have
        if reading:
            self.readers.add(peer)
        else:
            self.readers.discard(peer)

    def gained(self, peer: PeerId, pieces: Iterable[PieceIndex]) -> None:
        """A peer told of new pieces."""
        bitmap = self.holdings.get(peer)
        if bitmap is None:
            return
        for piece in pieces:
            bitmap.add(piece)
            self._grants.pop(piece, None)
            self._redirected.discard((peer, piece))

    def left(self, peer: PeerId) -> None:
        """A peer is gone, or does not take part any more."""
        self.holdings.pop(peer, None)
        self.readers.discard(peer)
        self._grants = {piece: grant for piece, grant in self._grants.items() if grant[0] != peer}
        self._redirected = {one for one in self._redirected if one[0] != peer}

    def granted(self, piece: PieceIndex, peer: PeerId, now: float) -> None:
        """The piece is being sent to ``peer``."""
        self._grants[piece] = (peer, now)
        self._redirected.discard((peer, piece))

    def redirected(self, piece: PieceIndex, peer: PeerId) -> None:
        """``peer`` was told to ask others for the piece; if it comes back, they could not help."""
        self._redirected.add((peer, piece))

    def was_redirected(self, piece: PieceIndex, peer: PeerId) -> bool:
        """Whether ``peer`` comes back for a piece."""
        return (peer, piece) in self._redirected

    def holders(self, piece: PieceIndex, but: PeerId) -> list[PeerId]:
        """Who has the piece, or is receiving it, other than ``but``, in the order of joining."""
        return [peer for peer, bitmap in self.holdings.items() if peer != but and piece in bitmap]

    def receiver(self, piece: PieceIndex, but: PeerId, now: float) -> PeerId | None:
        """To whom, other than ``but``, the piece is on its way."""
        peer, since = self._grants.get(piece, (None, 0.0))
        return peer if peer is not None and peer != but and now - since < GRANT_LASTS_S else None


class Tasks:
    """All tasks, by blob id."""

    def __init__(self) -> None:
        self._tasks: dict[BlobId, Task] = {}

    def begin(self, blob: Blob) -> Task:
        """The task of a blob, a new one where there was none."""
        task = self._tasks.get(blob.id)
        if task is None:
            task = self._tasks[blob.id] = Task(blob)
        return task

    def find(self, blob_id: BlobId) -> Task | None:
        """The task, None where nobody ever joined."""
        return self._tasks.get(blob_id)

    def left(self, peer: PeerId, blob_id: BlobId | None = None) -> None:
        """A peer left one task, or all."""
        for task in [self._tasks.get(blob_id)] if blob_id is not None else list(self._tasks.values()):
            if task is not None:
                task.left(peer)
                if not task.holdings:
                    del self._tasks[task.blob.id]

    def forget(self, blob_id: BlobId) -> None:
        """The blob is retired."""
        self._tasks.pop(blob_id, None)

    def __len__(self) -> int:
        return len(self._tasks)
