"""Connections to the peers that the supernode introduced: one per peer, for all blobs. Shell.

Whoever dialled asks; the other side serves. Both peers of a pair may have dialled each other: then each asks over its own
connection, and a peer that nobody can reach still fetches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
import trio

from flyfs.core.address import parse_address
from flyfs.core.bitmap import pieces_of
from flyfs.core.errors import FlyfsError, ProtocolError, Unanswered, Unavailable
from flyfs.core.ids import BlobId, PeerId
from flyfs.core.location import region_of
from flyfs.limit.host_limit import UNLIMITED, HostLimit
from flyfs.limit.turns import Urgency
from flyfs.swarm.download import Download
from flyfs.swarm.shunned import Shunned
from flyfs.transport.greeting import dial
from flyfs.transport.link import Answer, Handler, Link
from flyfs.wire.messages import Follow, GetPiece, Have, Hello, Holdings, Message, Neighbour, Shun

FOLLOW_TIMEOUT_S = 5.0
RETRY_AFTER_S = 30.0
"""How long a neighbour that could not be reached, or misbehaved, is left alone (research: p2p bounds, 3.6)."""

MAX_NEIGHBOURS = 64
"""Connections we open; more introductions are forgotten, the supernode serves instead."""

log = structlog.get_logger(__name__)


class Downloads(Protocol):
    """Where the downloads are found."""

    def download(self, blob_id: BlobId) -> Download | None:
        """The running download of a blob."""
        ...

    def unreachable(self, peer: PeerId, blob_id: BlobId, fault: str) -> None:
        """A neighbour could not be reached, or broke the protocol: the supernode should know."""
        ...


@dataclass(slots=True)
class _Contact:
    neighbour: Neighbour
    blobs: dict[BlobId, None] = field(default_factory=dict)
    link: Link | None = None
    nursery: trio.Nursery | None = None


class Neighbours:
    """All connections we opened to other peers."""

    def __init__(self, hello: Callable[[], Hello], downloads: Downloads, limit: HostLimit = UNLIMITED) -> None:
        self._hello = hello
        self._limit = limit
        self._downloads = downloads
        self._contacts: dict[PeerId, _Contact] = {}
        self.shunned = Shunned()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Owns the connections."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None  # downloads end at the same time, in any order

    @property
    def connected(self) -> list[Neighbour]:
        """Neighbours with a live connection, for ``status``."""
        return [contact.neighbour for contact in self._contacts.values() if contact.link is not None]

    def meet(self, blob_id: BlobId, neighbours: Sequence[Neighbour]) -> None:
        """Gets in touch with ``neighbours`` for a blob; those shunned for now are left out, and all once ``run`` has ended."""
        if self._nursery is None:
            return
        for neighbour in neighbours:
            contact = self._contacts.get(neighbour.peer_id)
            if contact is None:
                if not self._worth_calling(neighbour):
                    continue
                contact = self._contacts[neighbour.peer_id] = _Contact(neighbour)
                self._nursery.start_soon(self._stay_in_touch, contact)
            if blob_id not in contact.blobs:
                contact.blobs[blob_id] = None
                if contact.link is not None and contact.nursery is not None:
                    contact.nursery.start_soon(self._follow, contact, contact.link, blob_id)

    def _worth_calling(self, neighbour: Neighbour) -> bool:
        shunned = self.shunned.has(neighbour.peer_id, trio.current_time())
        return bool(neighbour.address) and len(self._contacts) < MAX_NEIGHBOURS and not shunned

    def shun(self, message: Shun) -> None:
        """A supernode says that a peer is isolated, or that this is over."""
        peer = message.peer_id
        if not message.for_s:
            self.shunned.pardon(peer)
            return
        contact = self._contacts.get(peer)
        address = contact.neighbour.address if contact is not None else ""
        self.shunned.shun(peer, address, message.reason, trio.current_time(), message.for_s)
        log.info("swarm.neighbour.isolated", peer=peer, address=address, reason=message.reason, for_s=round(message.for_s, 1))
        if contact is not None and contact.link is not None:
            contact.link.close("isolated")
        elif contact is not None:
            contact.blobs.clear()  # it is being dialled: that ends with the greeting

    def part(self, blob_id: BlobId) -> None:
        """A blob is not read any more: neighbours that are there for nothing else are left."""
        for contact in list(self._contacts.values()):
            contact.blobs.pop(blob_id, None)
            if not contact.blobs and contact.link is not None:
                contact.link.close("no common blob any more")

    async def fetch(self, peer: PeerId, message: GetPiece, into: memoryview, *, timeout_s: float, urgency: Urgency) -> Message:
        """Asks a neighbour for a piece. Raises Unanswered where there is no connection or no answer in time."""
        contact = self._contacts.get(peer)
        if contact is None or contact.link is None:
            raise Unanswered(f"no connection to peer {peer[:8]}")
        return await contact.link.request(message, timeout_s=timeout_s, into=into, urgency=urgency)

    async def _stay_in_touch(self, contact: _Contact) -> None:
        peer = contact.neighbour.peer_id
        try:
            async with dial(parse_address(contact.neighbour.address), self._hello(), self._limit) as dialled:
                if dialled.welcome.peer_id != peer:
                    raise Unavailable(f"{contact.neighbour.address} is another peer than announced")
                async with trio.open_nursery() as nursery:
                    contact.link, contact.nursery = dialled.link, nursery
                    if not contact.blobs:
                        dialled.link.close("no common blob any more")
                    for blob_id in contact.blobs:
                        nursery.start_soon(self._follow, contact, dialled.link, blob_id)
                    try:
                        await dialled.link.run(self._handler(peer))
                    except ProtocolError as error:
                        self._shun(contact, "protocol", error)
                    finally:
                        contact.nursery = None  # it closes, and takes no more tasks
                    nursery.cancel_scope.cancel()
        except (FlyfsError, ValueError) as error:
            self._shun(contact, "unreachable", error)
        finally:
            del self._contacts[peer]
            for blob_id in contact.blobs:
                if (download := self._downloads.download(blob_id)) is not None:
                    download.picker.source_left(peer)
                    download.changed()

    def _shun(self, contact: _Contact, fault: str, error: Exception) -> None:
        peer = contact.neighbour.peer_id
        log.info("swarm.neighbour.shunned", peer=peer, address=contact.neighbour.address, fault=fault, reason=str(error))
        now = trio.current_time()
        self.shunned.shun(peer, contact.neighbour.address, f"{fault}: {error}", now, RETRY_AFTER_S)
        for blob_id in contact.blobs:
            self._downloads.unreachable(peer, blob_id, fault)

    async def _follow(self, contact: _Contact, link: Link, blob_id: BlobId) -> None:
        message = Follow(blob_id=blob_id, ticket=contact.neighbour.ticket)
        try:
            reply = await link.request(message, timeout_s=FOLLOW_TIMEOUT_S)
            download = self._downloads.download(blob_id)
            if isinstance(reply, Holdings) and reply.have and download is not None:
                far = region_of(contact.neighbour.location) != region_of(self._hello().location)
                download.peer_holds(contact.neighbour.peer_id, reply.have, far=far)
        except (FlyfsError, ValueError) as error:
            contact.blobs.pop(blob_id, None)
            log.debug("swarm.follow.failed", peer=contact.neighbour.peer_id, blob=blob_id, reason=str(error))

    def _handler(self, peer: PeerId) -> Handler:
        async def handle(_: Link, message: Message) -> Answer | None:
            if isinstance(message, Have):
                download = self._downloads.download(message.blob_id)
                if download is not None:
                    try:
                        download.picker.peer_gained(peer, pieces_of(message.runs, len(download.blob.grid)))
                    except ValueError as error:
                        raise Unavailable(str(error)) from error
                    download.changed()
                return None
            raise Unavailable(f"this side does not serve {type(message).__name__} on this connection")

        return handle
