"""One connected peer, as the supernode serves it: messages in, answers out. Shell; every decision is the coordinator's."""

import itertools
from collections.abc import Callable, Sequence

import structlog
import trio

from flyfs.core.address import parse_address
from flyfs.core.bitmap import Bitmap, pieces_of
from flyfs.core.blob import Blob
from flyfs.core.errors import RemoteProtocolError, Unavailable
from flyfs.core.grid import KIB
from flyfs.core.ids import PUBLIC, BlobId, PeerId, PieceIndex
from flyfs.core.manifest import PAGE_PIECES
from flyfs.core.remote import RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl, parse_url
from flyfs.telemetry.counters import Counters
from flyfs.telemetry.latency import LatencyWindow
from flyfs.transport.greeting import Greeted
from flyfs.transport.link import Answer, Link
from flyfs.wire.codec import MAX_FRAME_BYTES
from flyfs.wire.messages import (
    Digests,
    DirectoryFound,
    Done,
    Elsewhere,
    FileFound,
    Forked,
    GetDigests,
    GetPiece,
    Have,
    Hello,
    Introduce,
    Join,
    Joined,
    Leave,
    List,
    Listed,
    Message,
    Neighbour,
    NotHeld,
    Piece,
    Ping,
    Reached,
    Report,
    Retire,
    Speeds,
    Stat,
)
from supernode.cdn.adoption import Adoption, contradict
from supernode.cdn.cdn import Cdn
from supernode.cdn.feed import Feed
from supernode.cdn.names import page_of
from supernode.coordinator import Coordinator, IntroducePeer
from supernode.members import Member
from supernode.scheduler import Redirect
from supernode.server.dial_back import DialBack
from supernode.server.isolating import Isolating
from supernode.server.reachability import Claim
from supernode.server.spot_check import SpotCheck
from supernode.server.taking_over import TakingOver

_LISTING_PAGE_BYTES = MAX_FRAME_BYTES - 4 * KIB
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
        self._cdn = cdn
        self._counters = counters
        self._nursery = nursery
        self._numbers = itertools.count(1)
        self._links: dict[int, Link] = {}
        self._peers: dict[int, PeerId] = {}
        self.demand_latency = LatencyWindow()
        self.dial_back = DialBack(hello)
        self.isolating = Isolating(coordinator.members, self.tell, SpotCheck(hello, self.find, cdn.buffers, nursery))
        self.taking_over = TakingOver(coordinator, cdn, Adoption(self._ask))

    async def session(self, greeted: Greeted) -> None:
        """One connection, until it ends."""
        number = next(self._numbers)
        self._links[number] = greeted.link
        self._peers[number] = greeted.hello.peer_id
        session = _Session(self, number, greeted)
        leave = session.claim_address()
        try:
            await greeted.link.run(session.handle)
        finally:
            leave()
            del self._links[number], self._peers[number]
            self._coordinator.peer_left(greeted.hello.peer_id, number)
            if self._coordinator.members.find(greeted.hello.peer_id) is None:
                self.isolating.peer_left(greeted.hello.peer_id)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tries the addresses of peers, for ever."""
        await self.dial_back.run(task_status=task_status)

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

    def introduce(self, introduction: IntroducePeer) -> None:
        """Tells a peer of another one."""
        reader = self._peers.get(introduction.session)
        if reader is None:
            return
        neighbours = self.name(reader, introduction.session, [introduction.newcomer])
        if neighbours:
            self.tell(introduction.session, Introduce(blob_id=introduction.blob_id, neighbours=neighbours))

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
                return Answer(await self._stat(message))
            case List():
                return Answer(await self._list(message))
            case Join():
                return Answer(self._join(message))
            case Have(blob_id=blob_id, runs=runs, durable=durable):
                if not durable:
                    self._gained(blob_id, runs)
                return None
            case Leave(blob_id=blob_id):
                self._joined.discard(blob_id)
                self._sessions.coordinator.blob_left(self._peer, blob_id)
                return None
            case Report() | Speeds():
                self._sessions.isolating.told(self._peer, message)
                return None
            case Forked():
                await self._forked(message)
                return None
            case GetDigests(blob_id=blob_id, page=page):
                return Answer(await self._digests(blob_id, page))
            case Ping():
                return Answer(Done())
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
            self._sessions.isolating.peer_came(self._member())
            self._introduce(self._sessions.coordinator.peer_reached(self._member(), self._joined))
            for blob_id in self._joined:
                self._sessions.taking_over.holder_came(blob_id)

    def _introduce(self, introductions: Sequence[IntroducePeer]) -> None:
        for introduction in introductions:
            self._sessions.introduce(introduction)

    # -- names -----------------------------------------------------------------------------------------------------

    async def _stat(self, message: Stat) -> Message:
        url = _url(message.url, message.principal)
        found, age_s = await self._sessions.cdn.names.stat(url, max_age_s=message.max_age_s, read=message.read, pin=message.pin)
        match found:
            case RemoteFile(blob=blob, modified_s=modified_s, sequential=sequential):
                return FileFound(blob=blob, modified_s=modified_s, age_s=age_s, sequential=sequential)
            case RemoteDirectory():
                return DirectoryFound(age_s=age_s)

    async def _list(self, message: List) -> Message:
        url = _url(message.url, message.principal).as_directory()
        names = self._sessions.cdn.names
        if message.serial:
            listing, age_s = names.listing_of(url, message.serial), 0.0
        else:
            listing, age_s = await names.list(url, max_age_s=message.max_age_s)
        entries = tuple(page_of(listing.entries, message.start, _LISTING_PAGE_BYTES))
        return Listed(
            serial=listing.serial,
            start=message.start,
            entries=entries,
            more=message.start + len(entries) < len(listing.entries),
            skipped=listing.skipped,
            age_s=age_s,
        )

    # -- blobs -----------------------------------------------------------------------------------------------------

    def _join(self, message: Join) -> Message:
        blob = message.blob
        self._sessions.cdn.know(blob)
        try:
            have = Bitmap.from_bytes(message.have, len(blob.grid))
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from error
        if self._sessions.coordinator.members.find(self._peer) is None:
            self._sessions.isolating.peer_came(self._member())
        self._sessions.coordinator.peer_came(self._member())
        self._sessions.taking_over.peer_joins(blob)
        decision = self._sessions.coordinator.blob_joined(self._peer, blob, have, reading=message.reading)
        self._sessions.taking_over.holder_came(blob.id)
        self._joined.add(blob.id)
        self._introduce(decision.introductions)
        return Joined(neighbours=self._sessions.name(self._peer, self._number, decision.neighbours))

    def _member(self) -> Member:
        return Member(
            peer_id=self._peer,
            session=self._number,
            address=self._claim.address if self._sessions.dial_back.reaches(self._claim) else "",
            location=self._hello.location,
            version=self._hello.version,
        )

    def _gained(self, blob_id: BlobId, runs: Sequence[tuple[int, int]]) -> None:
        task = self._sessions.coordinator.tasks.find(blob_id)
        if task is None:
            return
        try:
            pieces = list(pieces_of(runs, len(task.blob.grid)))
        except ValueError as error:
            raise RemoteProtocolError(str(error)) from error
        self._sessions.coordinator.pieces_gained(self._peer, blob_id, pieces)

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
        if holders := self._holders(feed.blob, piece):
            return Answer(Elsewhere(holders=holders))
        asked_at = trio.current_time()
        lent = await feed.lend(piece, demand=message.demand, ahead=ahead)
        if message.demand:
            self._sessions.demand_latency.add(trio.current_time() - asked_at)
        size = feed.blob.grid.length_of(piece)

        def after(through: bool) -> None:
            lent.done(through)
            if through:
                self._sessions.served(size)

        proof = feed.proof(piece) if message.proof else None
        return Answer(Piece(piece=piece, length=size, proof=proof), lent.body, after)

    def _holders(self, blob: Blob, piece: PieceIndex) -> tuple[Neighbour, ...]:
        """Whom the peer should ask instead; nobody where it is to be served, or where all of them are out of bounds for it."""
        decision = self._sessions.coordinator.piece_asked(self._peer, blob, piece, trio.current_time())
        if not isinstance(decision, Redirect):
            return ()
        return self._sessions.name(self._peer, self._number, decision.holders)


def advertised(hello: Hello, host: str) -> str:
    """Where a peer is reached: what it says, with the address it came from where it names only a port (``:7402``)."""
    try:
        address = parse_address(hello.address.replace("0.0.0.0:", f"{host}:", 1).replace("[::]:", f"[{host}]:", 1))
    except ValueError:
        return ""
    return str(address)


def _neighbour(member: Member) -> Neighbour:
    return Neighbour(peer_id=member.peer_id, address=member.address, location=member.location)


def _url(text: str, principal: str) -> RemoteUrl:
    if principal != PUBLIC:
        raise Unavailable("this supernode serves public content only")
    try:
        return parse_url(text)
    except ValueError as error:
        raise RemoteProtocolError(str(error)) from error
