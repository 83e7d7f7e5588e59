"""One task per blob: who takes part, in which region, and who knows whom. Pure."""

from collections.abc import Collection, Iterator

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from flyfs.core.masks import mask_of
from supernode.crowd import Crowd, Participant


class Task:
    """What is known of one blob's distribution."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self._participants: dict[PeerId, Participant] = {}
        self._crowds: dict[str, Crowd] = {}
        self.offers_from = 0.0
        """Not before then anything is offered: who takes a blob over does not know yet what is held."""

    def __len__(self) -> int:
        return len(self._participants)

    def find(self, peer: PeerId) -> Participant | None:
        """A peer's part, None where it takes none."""
        return self._participants.get(peer)

    def participants(self) -> Iterator[Participant]:
        """All who take part, in the order of joining."""
        return iter(self._participants.values())

    def crowds(self) -> Iterator[Crowd]:
        """Those who take part, by region."""
        return iter(self._crowds.values())

    def joined(self, peer: PeerId, region: str, have: Bitmap, *, reading: bool) -> Participant:
        """A peer told all that it holds."""
        known = self._participants.get(peer)
        if known is not None and known.crowd.region != region:  # its host was moved, and it connected again
            self.left(peer)
            known = None
        if known is None:
            crowd = self._crowds.get(region)
            if crowd is None:
                crowd = self._crowds[region] = Crowd(region, len(self.blob.grid))
            known = self._participants[peer] = Participant(peer, crowd)
            crowd.joined(known)
        known.crowd.told(known, have.mask, reading=reading)
        return known

    def gained(self, peer: PeerId, pieces: Collection[PieceIndex]) -> None:
        """A peer told of new pieces."""
        known = self._participants.get(peer)
        if known is not None:
            known.crowd.gained(known, mask_of(pieces))
            for piece in pieces:
                known.redirected.pop(piece, None)

    def left(self, peer: PeerId) -> list[Participant]:
        """A peer is gone, or does not take part any more: its neighbours, who have one less now."""
        known = self._participants.pop(peer, None)
        if known is None:
            return []
        known.crowd.left(known)
        if not len(known.crowd):
            del self._crowds[known.crowd.region]
        neighbours = [other for each in sorted(known.neighbours) if (other := self._participants.get(each)) is not None]
        for other in neighbours:
            other.neighbours.discard(peer)
        return neighbours

    def holders(self, piece: PieceIndex, but: PeerId) -> Iterator[PeerId]:
        """Who told that it has the piece, other than ``but``, in the order of joining."""
        return (peer for peer, one in self._participants.items() if peer != but and one.pieces >> piece & 1)


class Tasks:
    """All tasks, by blob id."""

    def __init__(self) -> None:
        self._tasks: dict[BlobId, Task] = {}
        self._of_peer: dict[PeerId, set[BlobId]] = {}

    def begin(self, blob: Blob) -> Task:
        """The task of a blob, a new one where there was none."""
        task = self._tasks.get(blob.id)
        if task is None:
            task = self._tasks[blob.id] = Task(blob)
        return task

    def find(self, blob_id: BlobId) -> Task | None:
        """The task, None where nobody takes part."""
        return self._tasks.get(blob_id)

    def joined(self, peer: PeerId, blob_id: BlobId) -> None:
        """A peer takes part in a blob."""
        self._of_peer.setdefault(peer, set()).add(blob_id)

    def of_peer(self, peer: PeerId) -> list[Task]:
        """What a peer takes part in."""
        return [task for blob_id in sorted(self._of_peer.get(peer, ())) if (task := self._tasks.get(blob_id)) is not None]

    def left(self, peer: PeerId, blob_id: BlobId) -> list[Participant]:
        """A peer left one task: its neighbours there."""
        blobs = self._of_peer.get(peer, set())
        blobs.discard(blob_id)
        if not blobs:
            self._of_peer.pop(peer, None)
        task = self._tasks.get(blob_id)
        if task is None:
            return []
        neighbours = task.left(peer)
        if not len(task):
            del self._tasks[blob_id]
        return neighbours

    def forget(self, blob_id: BlobId) -> None:
        """The blob is retired."""
        task = self._tasks.pop(blob_id, None)
        for participant in task.participants() if task is not None else ():
            self.left(participant.peer_id, blob_id)

    def all(self) -> list[Task]:
        """Every task."""
        return list(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)
