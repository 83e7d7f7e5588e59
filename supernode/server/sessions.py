"""One connected peer, as the supernode serves it: messages in, answers out. Shell; every decision is the coordinator's."""

import itertools
from collections.abc import Callable, Sequence

import structlog
import trio

from flyfs.core.address import parse_address
from flyfs.core.bitmap import Bitmap, pieces_of
from flyfs.core.errors import RemoteProtocolError, Unavailable
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from flyfs.core.manifest import PAGE_PIECES
from flyfs.telemetry.counters import Counters
from flyfs.telemetry.latency import LatencyWindow
from flyfs.transport.greeting import Greeted
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import (
    Digests,
    Done,
    Elsewhere,
    Forked,
    GetDigests,
    GetPiece,
    Have,
    Hello,
    Hurry,
    Introduce,
    Join,
    Joined,
    Leave,
    List,
    Message,
    Neighbour,
    NotHeld,
    Offer,
    Piece,
    Ping,
    Reached,
    Report,
    Retire,
    Speeds,
    Stat,
    Warm,
    Warmth,
)
from supernode.cdn.adoption import Adoption, contradict
from supernode.cdn.cdn import Cdn
from supernode.cdn.feed import Feed
from supernode.coordinator import Coordinator, IntroducePeers, OfferPieces
from supernode.members import Member
from supernode.scheduler import Redirect
from supernode.server.dial_back import DialBack
from supernode.server.isolating import Isolating
from supernode.server.names import list_names, stat
from supernode.server.reachability import Claim
from supernode.server.spot_check import SpotCheck
from supernode.server.taking_over import TakingOver

LAPSES_EVERY_S = 1.0
"""How often offers that nobody took up are looked for."""

NEWS_TIMEOUT_S = 5.0
"""A peer that takes no news for this long is cut off."""

log = structlog.get_logger(__name__)


class Sessions:
    """All connected peers."""

    def __init__(
        self, coordinator: Coordinator, cdn: Cdn, counters: Counters, nursery: trio.Nursery, hello: Callable[[], Hello]
    ) -> None:
        """``nursery`` owns the tasks that tell peers news; ``hello`` greets the peers that are tried."""
        self._coordinator = coordinator
        coordinator.held_here = cdn.held
        self._cdn = cdn
        self._counters = counters
        self._nursery = nursery
        self._numbers = itertools.count(1)
        self._links: dict[int, Link] = {}
        self._stirred = trio.Event()
        self._peers: dict[int, PeerId] = {}
        self.demand_latency = LatencyWindow()
        self.dial_back = DialBack(hello)
        self.isolating = Isolating(
            coordinator.members, self.tell, SpotCheck(hello, self.find, cdn.buffers, nursery), coordinator.peer_isolated
        )
        self.taking_over = TakingOver(coordinator, cdn, Adoption(self._ask))

    async def session(self, greeted: Greeted) -> None:
        """One connection, until it ends."""
        number = next(self._numbers)
        self._links[number] = greeted.link
        self._peers[number] = greeted.hello.peer_id
        session = _Session(self, number, greeted)
        self._coordinator.peer_came(session.member())
        self.isolating.peer_came(session.member())
        leave = session.claim_address()
        try:
            await greeted.link.run(session.handle)
        finally:
            leave()
            del self._links[number], self._peers[number]
            self._coordinator.peer_left(greeted.hello.peer_id, number, trio.current_time())
            self.decide()
            if self._coordinator.members.find(greeted.hello.peer_id) is None:
                self.isolating.peer_left(greeted.hello.peer_id)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tries the addresses of peers, and tells them in time what the coordinator decides, for ever."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.dial_back.run)
            task_status.started()
            while True:
                self._stirred = trio.Event()
                now = trio.current_time()
                self._coordinator.lapse(now)
                self.decide()
                with trio.move_on_at(min(self._coordinator.next_deadline(), now + LAPSES_EVERY_S)):
                    await self._stirred.wait()

    def decide(self) -> None:
        """Something happened: tells peers what the coordinator makes of it."""
        due = self._coordinator.next_deadline()
        for command in self._coordinator.next_commands(trio.current_time()):
            match command:
                case IntroducePeers(session, blob_id, neighbours, crowded, tell_every_s):
                    named = self.name(self._peers[session], session, neighbours)
                    news: Message = Introduce(blob_id=blob_id, neighbours=named, crowded=crowded, tell_every_s=tell_every_s)
                    self.tell(session, news)
                case OfferPieces(session, blob_id, pieces):
                    self.tell(session, Offer(blob_id=blob_id, pieces=pieces))
        if self._coordinator.next_deadline() != due:
            self._stirred.set()

    @property
    def coordinator(self) -> Coordinator:
        """Who decides."""
        return self._coordinator

    @property
    def cdn(self) -> Cdn:
        """Who knows names and bytes."""
        return self._cdn

    def name(self, reader: PeerId, session: int, members: Sequence[Member]) -> tuple[Neighbour, ...]:
        """Those of ``members`` to whom a reader is sent."""
        return tuple(map(_neighbour, self.isolating.name(reader, session, members)))

    def served(self, size: int) -> None:
        """Counts payload that left."""
        self._counters.served_bytes += size

    def tell(self, session: int, message: Message) -> None:
        """Sends news to a peer, in the background."""
        link = self._links.get(session)
        if link is not None:
            self._nursery.start_soon(_tell, link, message)

    async def find(self, blob_id: BlobId) -> Feed | None:
        """The feed of a blob, None where nobody knows it."""
        task = self._coordinator.tasks.find(blob_id)
        return await self._cdn.find(blob_id, task.blob if task is not None else None)

    async def _ask(self, peer: PeerId, message: Message, timeout_s: float) -> Message:
        """Asks a peer. Raises FlyfsError where it is gone, or does not answer."""
        member = self._coordinator.members.find(peer)
        link = self._links.get(member.session) if member is not None else None
        if link is None:
            raise Unavailable(f"peer {peer[:8]} is not connected")
        return await link.request(message, timeout_s=timeout_s)

    def blob_retired(self, blob_id: BlobId, reason: str) -> None:
        """A blob contradicts itself: everybody who holds it is told."""
        for session in self._coordinator.blob_retired(blob_id):
            self.tell(session, Retire(blob_id=blob_id, reason=reason))


async def _tell(link: Link, message: Message) -> None:
    with trio.move_on_after(NEWS_TIMEOUT_S) as scope:
        try:
            await link.send(message)
        except Unavailable:
            return
    if scope.cancelled_caught:
        link.close("it takes no news")


class _Session:
    """One connection."""

    def __init__(self, sessions: Sessions, number: int, greeted: Greeted) -> None:
        self._sessions = sessions
        self._number = number
        self._hello = greeted.hello
        self._host = greeted.host
        self._peer = greeted.hello.peer_id
        self._claim = Claim(self._peer, advertised(greeted.hello, greeted.host))
        self._joined: set[BlobId] = set()

    async def handle(self, _: Link, message: Message) -> Answer | None:
        """Serves one message."""
        match message:
            case GetPiece():
                return await self._piece(message)
            case Stat():
                return Answer(await stat(self._sessions.cdn.names, message))
            case List():
                return Answer(await list_names(self._sessions.cdn.names, message))
            case Join():
                return Answer(self._join(message))
            case GetDigests(blob_id=blob_id, page=page):
                return Answer(await self._digests(blob_id, page))
            case Warm(blob=blob, wait_s=wait_s):
                self._sessions.cdn.know(blob)
                return Answer(Warmth(held=await self._sessions.cdn.warm(blob, wait_s)))
            case Ping():
                return Answer(Done())
            case _:
                await self._happened(message)
                return None

    async def _happened(self, message: Message) -> None:
        """Takes an event."""
        match message:
            case Have():
                self._gained(message)
            case Leave(blob_id=blob_id):
                self._joined.discard(blob_id)
                self._sessions.coordinator.blob_left(self._peer, blob_id, trio.current_time())
                self._sessions.decide()
            case Hurry(blob_id=blob_id, piece=piece):
                feed = await self._sessions.find(blob_id)
                if feed is not None and piece < len(feed.blob.grid):
                    feed.hurried(PieceIndex(piece))
            case Report() | Speeds():
                self._sessions.isolating.told(self._peer, message)
            case Forked():
                await self._forked(message)
            case _:
                raise Unavailable(f"a supernode does not serve {type(message).__name__}")

    # -- where the peer is reached -----------------------------------------------------------------------------------

    def claim_address(self) -> Callable[[], None]:
        """Has the peer's address tried; gives what ends that. A leech claims none."""
        if not self._claim.address:
            return lambda: None
        return self._sessions.dial_back.peer_came(self._claim, self._host, self._dialled_back)

    def _dialled_back(self, reason: str | None) -> None:
        """The peer was reached (None), or was not."""
        self._sessions.tell(self._number, Reached(address=self._claim.address, reason=reason or ""))
        member = self._sessions.coordinator.members.find(self._peer)
        if member is not None and member.session == self._number:
            self._sessions.isolating.peer_came(self.member())
            self._sessions.coordinator.peer_reached(self.member(), self._joined, trio.current_time())
            self._sessions.decide()
            for blob_id in self._joined:
                self._sessions.taking_over.holder_came(blob_id)

    # -- blobs -----------------------------------------------------------------------------------------------------

    def _join(self, message: Join) -> Message:
        blob = message.blob
        self._sessions.cdn.know(blob)
        try:
            have = Bitmap.from_bytes(message.have, len(blob.grid))
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from error
        self._sessions.coordinator.peer_came(self.member())
        self._sessions.taking_over.peer_joins(blob)
        now = trio.current_time()
        decision = self._sessions.coordinator.blob_joined(self._peer, blob, have, reading=message.reading, now=now)
        self._sessions.taking_over.holder_came(blob.id)
        self._joined.add(blob.id)
        self._sessions.decide()
        neighbours = self._sessions.name(self._peer, self._number, decision.neighbours)
        return Joined(neighbours=neighbours, crowded=decision.crowded, tell_every_s=decision.tell_every_s)

    def member(self) -> Member:
        """The peer, as others may be told of it."""
        return Member(
            peer_id=self._peer,
            session=self._number,
            address=self._claim.address if self._sessions.dial_back.reaches(self._claim) else "",
            location=self._hello.location,
            version=self._hello.version,
        )

    def _gained(self, message: Have) -> None:
        task = self._sessions.coordinator.tasks.find(message.blob_id)
        if task is None or message.durable:  # that was told before
            return
        try:
            pieces = list(pieces_of(message.runs, len(task.blob.grid)))
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from error
        self._sessions.coordinator.pieces_gained(self._peer, message.blob_id, pieces)
        self._sessions.decide()

    async def _forked(self, message: Forked) -> None:
        feed = await self._sessions.find(message.blob_id)
        if feed is not None and contradict(feed, message.batches):
            feed.forked(f"two signed digests for one piece of blob {message.blob_id}")

    async def _digests(self, blob_id: BlobId, page: int) -> Message:
        feed = await self._sessions.find(blob_id)
        if feed is None:
            return Digests(batches=())
        if page * PAGE_PIECES < len(feed.blob.grid):
            await self._sessions.taking_over.before_digests(feed, page)
        return Digests(batches=feed.digests(page))

    async def _piece(self, message: GetPiece) -> Answer:
        feed = await self._sessions.find(message.blob_id)
        if feed is None or message.piece >= len(feed.blob.grid):
            return Answer(NotHeld())
        piece, ahead = PieceIndex(message.piece), min(message.ahead, len(feed.blob.grid))
        await self._sessions.taking_over.before_serving(feed, piece, ahead, self._peer)
        asked_at = trio.current_time()
        held = feed.shelf.holds(piece)
        decision = self._sessions.coordinator.piece_asked(self._peer, feed.blob, piece, asked_at, ahead=ahead, held=held)
        self._sessions.decide()
        named = decision.holders if isinstance(decision, Redirect) else ()
        if holders := self._sessions.name(self._peer, self._number, named):  # else all are out of bounds for it: it is served
            return Answer(Elsewhere(holders=holders))
        ahead = self._sessions.coordinator.lacking_ahead(feed.blob.id, piece, ahead)
        try:
            lent = await feed.lend(piece, demand=message.demand, ahead=ahead, background=message.background)
        except BaseException:
            self._sent(feed, piece, through=False)
            raise
        if message.demand:
            self._sessions.demand_latency.add(trio.current_time() - asked_at)
        size = feed.blob.grid.length_of(piece)

        def after(through: bool) -> None:
            lent.done(through)
            self._sent(feed, piece, through=through)
            if through:
                self._sessions.served(size)

        proof = feed.proof(piece) if message.proof else None
        return Answer(Piece(piece=piece, length=size, proof=proof), lent.body, after)

    def _sent(self, feed: Feed, piece: PieceIndex, *, through: bool) -> None:
        self._sessions.coordinator.piece_sent(self._peer, feed.blob.id, piece, through=through)
        self._sessions.decide()


def advertised(hello: Hello, host: str) -> str:
    """Where a peer is reached: what it says, with the address it came from where it names only a port (``:7402``)."""
    try:
        address = parse_address(hello.address.replace("0.0.0.0:", f"{host}:", 1).replace("[::]:", f"[{host}]:", 1))
    except ValueError:
        return ""
    return str(address)


def _neighbour(member: Member) -> Neighbour:
    return Neighbour(peer_id=member.peer_id, address=member.address, location=member.location)
