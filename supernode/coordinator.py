"""All that the supernode knows of its swarm: events in, decisions and introductions out. Pure.

Everything here is rebuilt from what peers announce; nothing is ever written to a disk.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from supernode.members import Member, Members
from supernode.scheduler import Decision, Serve, choose_neighbours, decide_piece
from supernode.tasks import Tasks


@dataclass(frozen=True, slots=True)
class IntroducePeer:
    """Tell the peer at ``session`` that ``newcomer`` takes part in a blob."""

    session: int
    blob_id: BlobId
    newcomer: Member


@dataclass(frozen=True, slots=True)
class JoinDecision:
    """What follows from a join: neighbours for the newcomer, and news for them."""

    neighbours: tuple[Member, ...]
    introductions: tuple[IntroducePeer, ...]


class Coordinator:
    """Members and tasks, and the decisions that need both."""

    def __init__(self) -> None:
        self.members = Members()
        self.tasks = Tasks()

    def peer_came(self, member: Member) -> None:
        """A peer opened its session."""
        self.members.came(member)

    def peer_left(self, peer_id: PeerId, session: int) -> None:
        """A connection ended; the peer's pieces count no more, unless it is connected anew."""
        if self.members.left(peer_id, session):
            self.tasks.left(peer_id)

    def blob_joined(self, peer_id: PeerId, blob: Blob, have: Bitmap, *, reading: bool) -> JoinDecision:
        """A peer reads a blob, or offers what it holds of it."""
        task = self.tasks.begin(blob)
        task.joined(peer_id, have, reading=reading)
        if not reading:
            return JoinDecision((), ())
        neighbours = choose_neighbours(task, peer_id, self.members)
        newcomer = self.members.named(peer_id)
        introductions = [
            IntroducePeer(neighbour.session, blob.id, newcomer)
            for neighbour in neighbours
            if newcomer is not None and neighbour.peer_id in task.readers
        ]
        return JoinDecision(tuple(neighbours), tuple(introductions))

    def peer_reached(self, member: Member, blob_ids: Iterable[BlobId]) -> list[IntroducePeer]:
        """A peer turned out to be where it says (``member`` has the address): whoever reads what it takes part in should know."""
        if self.members.find(member.peer_id) is None:
            return []
        self.members.came(member)
        if self.members.named(member.peer_id) is None:
            return []
        introductions: list[IntroducePeer] = []
        for blob_id in blob_ids:
            task = self.tasks.find(blob_id)
            if task is not None and member.peer_id in task.holdings:
                neighbours = choose_neighbours(task, member.peer_id, self.members)
                introductions += [
                    IntroducePeer(neighbour.session, blob_id, member)
                    for neighbour in neighbours
                    if neighbour.peer_id in task.readers
                ]
        return introductions

    def blob_left(self, peer_id: PeerId, blob_id: BlobId) -> None:
        """A peer does not take part in a blob any more."""
        self.tasks.left(peer_id, blob_id)

    def pieces_gained(self, peer_id: PeerId, blob_id: BlobId, pieces: Iterable[PieceIndex]) -> None:
        """A peer holds more pieces. Raises IndexError where the blob has no such piece."""
        task = self.tasks.find(blob_id)
        if task is not None:
            task.gained(peer_id, pieces)

    def piece_asked(self, peer_id: PeerId, blob: Blob, piece: PieceIndex, now: float) -> Decision:
        """A peer asks the supernode itself for a piece."""
        task = self.tasks.begin(blob)
        decision = decide_piece(task, piece, peer_id, self.members, now)
        if isinstance(decision, Serve):
            task.granted(piece, peer_id, now)
        else:
            task.redirected(piece, peer_id)
        return decision

    def blob_retired(self, blob_id: BlobId) -> list[int]:
        """A blob is over: the sessions to tell."""
        task = self.tasks.find(blob_id)
        if task is None:
            return []
        self.tasks.forget(blob_id)
        return [member.session for peer in task.holdings if (member := self.members.find(peer)) is not None]
