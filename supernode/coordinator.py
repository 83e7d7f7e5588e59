"""All that the supernode knows of its swarm: events in, decisions and news for peers out. Pure.

Everything here is rebuilt from what peers announce; nothing is ever written to a disk.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypeAlias

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from flyfs.core.masks import mask_of_range
from supernode.crowd import Crowd, Participant
from supernode.members import Member, Members
from supernode.scheduler import (
    FEWEST_NEIGHBOURS,
    FIRST_NEIGHBOURS,
    MOST_NEIGHBOURS,
    NEIGHBOURS,
    SPARE,
    Decision,
    Serve,
    choose_neighbours,
    decide_piece,
)
from supernode.seeding import Stock
from supernode.tasks import Task, Tasks

SETTLE_S = 0.03
"""Neighbours of those who come at the same time are named together, once they are all known."""

OFFERS_AT_ONCE = 20
"""Of one blob. Two lines of 2 Gbit/s to clients of 200 Mbit/s carry so many pieces side by side."""


@dataclass(frozen=True, slots=True)
class IntroducePeers:
    """Tell the peer at ``session`` that others take part in a blob, and how it is to behave."""

    session: int
    blob_id: BlobId
    neighbours: tuple[Member, ...]
    crowded: bool
    tell_every_s: float


@dataclass(frozen=True, slots=True)
class OfferPieces:
    """Tell the peer at ``session`` that it may ask for pieces which its crowd lacks."""

    session: int
    blob_id: BlobId
    pieces: tuple[PieceIndex, ...]


_LOOKED_AT = 64
"""Participants among whom somebody who can be reached is looked for."""

Command: TypeAlias = IntroducePeers | OfferPieces


@dataclass(frozen=True, slots=True)
class JoinDecision:
    """What follows from a join for who joins."""

    neighbours: tuple[Member, ...]
    crowded: bool
    tell_every_s: float


@dataclass(slots=True)
class _News:
    """What a participant is to be told, and when."""

    due: float
    neighbours: dict[PeerId, None] = field(default_factory=dict)
    settles: bool = False
    """It may need more neighbours."""


class Coordinator:
    """Members and tasks, and the decisions that need both; ``now`` is one monotonic clock."""

    def __init__(self) -> None:
        self.members = Members()
        self.tasks = Tasks()
        self.held_here: Callable[[BlobId], int] = lambda _: 0
        """Which pieces of a blob the supernode has itself (a mask); set once there is somebody who knows."""
        self._turn = 0
        self._news: dict[tuple[BlobId, PeerId], _News] = {}
        self._at_once: deque[tuple[BlobId, PeerId]] = deque()
        self._settling: deque[tuple[BlobId, PeerId]] = deque()  # by due time: each is put off by the same
        self._stirred: dict[BlobId, None] = {}  # tasks in which an offer may be due

    # -- events ------------------------------------------------------------------------------------------------------

    def peer_came(self, member: Member) -> None:
        """A peer opened its session."""
        self.members.came(member)

    def peer_left(self, peer_id: PeerId, session: int, now: float) -> None:
        """A connection ended; the peer's pieces count no more, unless it is connected anew."""
        if self.members.left(peer_id, session):
            for task in self.tasks.of_peer(peer_id):
                self.blob_left(peer_id, task.blob.id, now)

    def blob_joined(self, peer_id: PeerId, blob: Blob, have: Bitmap, *, reading: bool, now: float) -> JoinDecision:
        """A peer reads a blob, or offers what it holds of it."""
        task = self.tasks.begin(blob)
        me = self._take_part(task, peer_id, have, reading=reading, now=now)
        neighbours: list[Member] = []
        if reading:
            neighbours = self._meet(task, me, FIRST_NEIGHBOURS, MOST_NEIGHBOURS, now)
            self._put_off(task, me, now).settles = True
        me.crowd_told = me.crowd.crowded
        return JoinDecision(tuple(neighbours), me.crowd.crowded, me.crowd.tell_every_s)

    def blob_taken_over(self, blob: Blob, until: float) -> None:
        """Another supernode had the blob; those who hold some of it may come ``until`` then. A join follows."""
        self.tasks.begin(blob).offers_from = until

    def _take_part(self, task: Task, peer_id: PeerId, have: Bitmap, *, reading: bool, now: float) -> Participant:
        member = self.members.find(peer_id)
        self.tasks.joined(peer_id, task.blob.id)
        before = {crowd: crowd.crowded for crowd in task.crowds()}
        me = task.joined(peer_id, member.region if member else "", have, reading=reading)
        self._stirred[task.blob.id] = None
        self._crowds_changed(task, before, now, but=me)
        return me

    def _crowds_changed(self, task: Task, before: dict[Crowd, bool], now: float, but: Participant | None = None) -> None:
        """Readers who do not know that they are a crowd now, or none any more, are told at once."""
        for crowd, crowded in before.items():
            if crowd.crowded is not crowded:
                for peer in crowd.order:
                    one = task.find(peer)
                    if one is not None and one is not but and one.reading and one.crowd_told is not crowd.crowded:
                        self._tell_now(task, one, now)

    def peer_reached(self, member: Member, blob_ids: Iterable[BlobId], now: float) -> None:
        """A peer turned out to be where it says (``member`` has the address): whoever reads what it takes part in should know."""
        if self.members.find(member.peer_id) is None:
            return
        self.members.came(member)
        for blob_id in blob_ids:
            task = self.tasks.find(blob_id)
            me = task.find(member.peer_id) if task is not None else None
            if task is not None and me is not None:
                self._stirred[blob_id] = None
                for neighbour in sorted(me.neighbours):
                    self._introduce(task, neighbour, me, now)
                self._put_off(task, me, now).settles = True

    def peer_isolated(self, peer_id: PeerId, isolated: bool) -> None:
        """Whether nobody is sent to a peer: what it holds counts for nothing then, and others get it from elsewhere."""
        for task in self.tasks.of_peer(peer_id):
            me = task.find(peer_id)
            if me is not None:
                me.crowd.discounted(me, isolated)
                self._stirred[task.blob.id] = None

    def blob_left(self, peer_id: PeerId, blob_id: BlobId, now: float) -> None:
        """A peer does not take part in a blob any more."""
        task = self.tasks.find(blob_id)
        if task is None:
            return
        self._news.pop((blob_id, peer_id), None)
        before = {crowd: crowd.crowded for crowd in task.crowds()}
        for other in self.tasks.left(peer_id, blob_id):
            if other.reading and len(other.neighbours) < FEWEST_NEIGHBOURS:
                self._put_off(task, other, now).settles = True
        self._crowds_changed(task, before, now)
        self._stirred[blob_id] = None

    def pieces_gained(self, peer_id: PeerId, blob_id: BlobId, pieces: Iterable[PieceIndex]) -> None:
        """A peer holds more pieces of a blob that it takes part in."""
        task = self.tasks.find(blob_id)
        if task is not None:
            task.gained(peer_id, list(pieces))
            self._stirred[blob_id] = None

    def piece_asked(
        self, peer_id: PeerId, blob: Blob, piece: PieceIndex, now: float, *, ahead: int = 0, held: bool = True
    ) -> Decision:
        """A peer asks the supernode itself for a piece, which this has on its disk (``held``) or not; see ``piece_sent``."""
        task = self.tasks.find(blob.id)
        me = task.find(peer_id) if task is not None else None
        if me is None or task is None:
            if self.members.find(peer_id) is None:
                return Serve()
            task = self.tasks.begin(blob)  # its question came before its join
            me = self._take_part(task, peer_id, Bitmap(len(blob.grid)), reading=True, now=now)
        decision = decide_piece(task, me, piece, self.members, now, held=held)
        crowd = me.crowd
        crowd.asked(me, piece, ahead)
        if isinstance(decision, Serve):
            if crowd.seeding.is_offered(peer_id, piece):
                crowd.seeding.taken_up(peer_id, piece)
            else:
                crowd.seeding.sent(piece)
            crowd.granted(piece, peer_id, now)
            crowd.sending_began(piece, peer_id)
            me.redirected.pop(piece, None)
        else:
            me.redirected[piece] = me.redirected.get(piece, 0) + 1
        self._stirred[blob.id] = None
        return decision

    def lacking_ahead(self, blob_id: BlobId, piece: PieceIndex, ahead: int) -> int:
        """How many of the ``ahead`` pieces behind ``piece`` nobody holds up to the first that somebody does.

        The origin need not be read any further: who holds the rest hands it on.
        """
        task = self.tasks.find(blob_id)
        held = 0
        for crowd in task.crowds() if task is not None else ():
            held |= crowd.copies.held()
        behind = held >> (piece + 1)
        return min(ahead, (behind & -behind).bit_length() - 1) if behind else ahead

    def piece_sent(self, peer_id: PeerId, blob_id: BlobId, piece: PieceIndex, *, through: bool) -> None:
        """What ``piece_asked`` had served went ``through``, or did not."""
        task = self.tasks.find(blob_id)
        me = task.find(peer_id) if task is not None else None
        if task is None or me is None:
            return
        me.crowd.seeding.ended(peer_id, piece)
        me.crowd.sending_ended(piece, peer_id)
        if not through:
            me.crowd.ungranted(piece, peer_id)
        self._stirred[blob_id] = None

    def blob_retired(self, blob_id: BlobId) -> list[int]:
        """A blob is over: the sessions to tell."""
        task = self.tasks.find(blob_id)
        if task is None:
            return []
        peers = [one.peer_id for one in task.participants()]
        self.tasks.forget(blob_id)
        for peer in peers:
            self._news.pop((blob_id, peer), None)
        return [member.session for peer in peers if (member := self.members.find(peer)) is not None]

    # -- decisions ---------------------------------------------------------------------------------------------------

    def next_commands(self, now: float) -> list[Command]:
        """What to tell peers now; it counts as told."""
        commands: list[Command] = []
        while self._at_once:
            self._tell(self._at_once.popleft(), now, commands)
        while self._settling and self._due(self._settling[0]) <= now:
            self._tell(self._settling.popleft(), now, commands)
        while self._at_once:  # the neighbours that were just chosen
            self._tell(self._at_once.popleft(), now, commands)
        stirred, self._stirred = self._stirred, {}
        for blob_id in stirred:
            task = self.tasks.find(blob_id)
            if task is not None and task.offers_from > now:
                self._stirred[blob_id] = None
            elif task is not None:
                commands.extend(self._offers(task, now))
        return commands

    def next_deadline(self) -> float:
        """When ``next_commands`` has something to say although nothing happened; infinity for never."""
        return self._due(self._settling[0]) if self._settling else float("inf")

    def lapse(self, now: float) -> None:
        """Time passed: offers that nobody took up go to others with the next commands. To be called about once a second."""
        for task in self.tasks.all():
            if any(crowd.seeding.next_lapse() <= now for crowd in task.crowds()):
                self._stirred[task.blob.id] = None

    def _offers(self, task: Task, now: float) -> list[Command]:
        offers: dict[PeerId, list[PieceIndex]] = {}
        here = self.held_here(task.blob.id)
        room = OFFERS_AT_ONCE - sum(crowd.seeding.standing for crowd in task.crowds())
        for crowd in task.crowds():
            if crowd.crowded:
                lonely = not any(self.members.named(peer) for peer in islice(crowd.order, _LOOKED_AT))
                usable = partial(self._usable, task, even_by_leeches=lonely)
                made = crowd.seeding.next_offers(now, room, Stock(crowd.copies, here), crowd.order, usable)
                room -= len(made)
                for peer, piece in made:
                    offers.setdefault(peer, []).append(piece)
        return [
            OfferPieces(member.session, task.blob.id, tuple(pieces))
            for peer, pieces in offers.items()
            if (member := self.members.find(peer)) is not None
        ]

    def _usable(self, task: Task, peer: PeerId, *, even_by_leeches: bool) -> int:
        """What a reader wants and can hand on; a leech hands on nothing, but where there are only such, all have to be served."""
        one = task.find(peer)
        if one is None or not one.reading or not (even_by_leeches or self.members.named(peer) is not None):
            return 0
        wants = mask_of_range(one.wants) if one.wants else -1  # not known: what the others want
        return wants & ~(one.pieces | one.crowd.granted_to(peer))

    # -- introductions -----------------------------------------------------------------------------------------------

    def _meet(self, task: Task, me: Participant, count: int, most: int, now: float) -> list[Member]:
        """Finds a peer neighbours, who hear of it in their own time; those that it can dial."""
        self._turn += 1
        found = choose_neighbours(task, me, self.members, turn=self._turn, count=count, most=most)
        for other in found:
            me.neighbours.add(other.peer_id)
            other.neighbours.add(me.peer_id)
            self._introduce(task, other.peer_id, me, now)
        return [member for other in found if (member := self.members.named(other.peer_id)) is not None]

    def _introduce(self, task: Task, to: PeerId, newcomer: Participant, now: float) -> None:
        other = task.find(to)
        if other is not None and other.reading and self.members.named(newcomer.peer_id) is not None:
            self._put_off(task, other, now).neighbours[newcomer.peer_id] = None

    def _put_off(self, task: Task, one: Participant, now: float) -> _News:
        """What ``one`` will be told: in a crowd together with what else happens in the next moment, else at once."""
        key = (task.blob.id, one.peer_id)
        news = self._news.get(key)
        if news is None:
            news = self._news[key] = _News(now + SETTLE_S)
            (self._settling if one.crowd.crowded else self._at_once).append(key)
        return news

    def _tell_now(self, task: Task, one: Participant, now: float) -> None:
        self._put_off(task, one, now)
        self._at_once.append((task.blob.id, one.peer_id))

    def _due(self, key: tuple[BlobId, PeerId]) -> float:
        news = self._news.get(key)
        return 0.0 if news is None else news.due

    def _tell(self, key: tuple[BlobId, PeerId], now: float, commands: list[Command]) -> None:
        news = self._news.get(key)
        blob_id, peer_id = key
        task, member = self.tasks.find(blob_id), self.members.find(peer_id)
        me = task.find(peer_id) if task is not None else None
        if news is None or task is None or me is None or member is None:
            self._news.pop(key, None)
            return
        taking_part = [peer for peer in news.neighbours if peer in me.neighbours]
        neighbours = [one for peer in taking_part if (one := self.members.named(peer)) is not None]
        if news.settles:
            neighbours += self._meet(task, me, NEIGHBOURS - len(me.neighbours), NEIGHBOURS + SPARE, now)
        del self._news[key]
        if me.reading and (neighbours or me.crowd.crowded is not me.crowd_told):
            me.crowd_told = me.crowd.crowded
            commands.append(IntroducePeers(member.session, blob_id, tuple(neighbours), me.crowd.crowded, me.crowd.tell_every_s))
