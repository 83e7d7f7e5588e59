"""A whole swarm without FUSE in one trio loop: a hostile origin, a supernode's real parts, peers' real parts, on loopback."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from flyfs.core.address import Address
from flyfs.core.grid import MIB
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from flyfs.core.masks import pieces_in
from flyfs.core.remote import RemoteFile
from flyfs.core.signing import SigningKey
from flyfs.core.urls import RemoteUrl, parse_url
from flyfs.origin.address_guard import AddressPolicy
from flyfs.origin.client import OriginClient
from flyfs.store.store import Store
from flyfs.swarm.back_to_origin import BackToOrigin
from flyfs.swarm.open_blob import OpenBlob
from flyfs.swarm.roster import Roster
from flyfs.swarm.swarm import Swarm, SwarmSettings
from flyfs.telemetry.counters import Counters
from flyfs.telemetry.latency import LatencyWindow
from flyfs.transport.buffers import BufferPool
from flyfs.transport.greeting import bound_address, listen, serve
from flyfs.wire.messages import MAJOR, MINOR, Hello, Welcome
from supernode.cdn.cdn import Cdn, version_book
from supernode.cdn.feed import FeedServices
from supernode.cdn.names import Names
from supernode.coordinator import Coordinator
from supernode.server.sessions import Sessions
from tests.support.builders import KEY
from tests.support.hostile_origin import HostileOrigin, Resource, pattern

PIECE = 64 * 1024
PATIENCE_S = 10.0
"""How long anything may take on a busy machine; each test takes a fraction."""


async def until(happened: Callable[[], bool]) -> None:
    """Returns once ``happened``; fails where it does not."""
    with trio.fail_after(PATIENCE_S):
        while not happened():  # noqa: ASYNC110 - what a test waits for is a figure, which tells nobody that it changed
            await trio.sleep(0.003)


class SupernodeRig:
    """One supernode's parts."""

    def __init__(self, store: Store, services: FeedServices, embedded: bool, pin_limit_bytes: int, spools: Path) -> None:
        self.store = store
        self.buffers = services.buffers
        self.counters = services.counters
        self.coordinator = Coordinator()
        self.retired: list[str] = []
        versions = version_book(store, PIECE)
        self.cdn = Cdn(store, services, versions, self, embedded=embedded, spool_directory=spools)
        self.cdn.names = Names(
            services.origin, versions, self.cdn, services.nursery, spool_directory=spools, pin_limit_bytes=pin_limit_bytes
        )
        self.sessions = Sessions(self.coordinator, self.cdn, self.counters, services.nursery, self.hello)
        self.address = Address("127.0.0.1", 0)
        self.scope = trio.CancelScope()
        self.key = services.key

    def blob_retired(self, blob_id: BlobId, reason: str) -> None:
        self.retired.append(reason)
        self.sessions.blob_retired(blob_id, reason)

    def hello(self) -> Hello:
        return Hello(major=MAJOR, minor=MINOR, peer_id=self.store.peer_id, role="supernode", version="test")

    def welcome(self, _: object) -> Welcome:
        return Welcome(
            major=MAJOR, minor=MINOR, peer_id=self.store.peer_id, role="supernode", version="test", key=self.key.public
        )

    def members(self) -> int:
        return len(self.coordinator.members)

    def holding(self, blob_id: BlobId) -> dict[str, int]:
        """How many pieces each peer is known to have."""
        task = self.coordinator.tasks.find(blob_id)
        return {} if task is None else {one.peer_id: one.pieces.bit_count() for one in task.participants()}

    def held_by(self, peer: PeerId, blob_id: BlobId) -> list[PieceIndex]:
        """The pieces that a peer is known to have."""
        task = self.coordinator.tasks.find(blob_id)
        participant = task.find(peer) if task is not None else None
        return list(pieces_in(participant.pieces)) if participant is not None else []


@asynccontextmanager
async def a_supernode(
    directory: Path,
    *,
    embedded: bool = False,
    address: Address | None = None,
    key: SigningKey = KEY,
    pin_limit_bytes: int = 64 * MIB,
    limit_bytes: int | None = None,
    buffer_bytes: int = 64 * MIB,
) -> AsyncGenerator[SupernodeRig, None]:
    """A supernode that serves; nothing is on loan once it has ended. Its ``scope`` ends it, and nothing else."""

    async def run(*, task_status: trio.TaskStatus[SupernodeRig]) -> None:
        listener = listen(address or Address("127.0.0.1", 0))
        async with (
            Store.open(directory, limit_bytes=limit_bytes) as store,
            OriginClient(policy=AddressPolicy(own_host=True), stall_timeout_s=PATIENCE_S) as origin,
            trio.open_nursery() as nursery,
        ):
            buffers = BufferPool(buffer_bytes)
            services = FeedServices(origin=origin, buffers=buffers, key=key, counters=Counters(), nursery=nursery)
            rig = SupernodeRig(store, services, embedded, pin_limit_bytes, directory / "spool")
            rig.address = bound_address(listener)
            rig.scope = nursery.cancel_scope
            await nursery.start(rig.sessions.run)
            await nursery.start(partial(serve, listener, rig.welcome, rig.sessions.session))
            task_status.started(rig)

    async with trio.open_nursery() as outside:  # a test's own code must not be cancelled with a supernode that it ends
        rig: SupernodeRig = await outside.start(run)
        yield rig
        rig.scope.cancel()
    for feed in rig.cdn._feeds.values():
        feed.shelf.close()
        assert not feed.plan._demanded
        assert not feed.plan._wanted
        assert not feed._waiting
    assert rig.buffers.lent_bytes == 0, "the supernode's buffers came back"


class PeerRig:
    """One peer's parts."""

    def __init__(self, store: Store, swarm: Swarm, counters: Counters, scope: trio.CancelScope) -> None:
        self.store = store
        self.swarm = swarm
        self.counters = counters
        self.scope = scope

    async def find(self, url: RemoteUrl, **asked: Any) -> RemoteFile:
        found = await self.swarm.stat(url, **{"max_age_s": 0.0, "read": True, **asked})
        assert isinstance(found, RemoteFile)
        return found

    @asynccontextmanager
    async def opened(self, url: RemoteUrl, **asked: Any) -> AsyncGenerator[OpenBlob, None]:
        with using(await self.swarm.open(await self.find(url, **asked))) as blob:
            yield blob

    async def content(self, url: RemoteUrl, step: int = 3 * PIECE // 2, **asked: Any) -> bytes:
        """All bytes, read from start to end."""
        async with self.opened(url, **asked) as blob:
            content = b"".join([await read(blob, at, step) for at in range(0, blob.blob.size, step)])
            await until(lambda: not blob._download._flights)  # a piece can be read a moment before it is counted
            return content

    async def settled(self) -> None:
        """Waits until no download runs."""
        await until(lambda: not self.swarm._downloads)


@contextmanager
def using(blob: OpenBlob) -> Generator[OpenBlob, None, None]:
    try:
        yield blob
    finally:
        blob.close()


async def read(blob: OpenBlob, offset: int, size: int) -> bytes:
    """As ``fs`` reads: at once where it can, else waiting."""
    data: memoryview | bytes | None = blob.read_nowait(offset, size)
    if data is None:
        with trio.fail_after(PATIENCE_S):
            data = await blob.read(offset, size)
    return bytes(data)


@asynccontextmanager
async def a_peer(
    directory: Path,
    *supernodes: Address | SupernodeRig,
    leech: bool = False,
    address: str = "",
    deadline_s: float = PATIENCE_S,
    limit_bytes: int | None = None,
    asks_origins: AddressPolicy | None = None,
    roster: Roster | None = None,
) -> AsyncGenerator[PeerRig, None]:
    """A peer that is connected to one of its supernodes; all its files are closed at the end.

    It says that others reach it at ``address``, by default where they do; and asks origins by itself under this policy.
    """
    addresses = [one if isinstance(one, Address) else one.address for one in supernodes]
    listener = listen(Address("127.0.0.1", 0))
    counters = Counters()
    shown = "" if leech else address or str(bound_address(listener))
    origin = OriginClient(policy=asks_origins or AddressPolicy(), stall_timeout_s=PATIENCE_S)
    back = None if asks_origins is None else BackToOrigin(origin, counters, piece_size=PIECE)
    async with Store.open(directory, limit_bytes=limit_bytes) as store, origin, trio.open_nursery() as nursery:
        swarm = Swarm(
            store,
            SwarmSettings(version="test", address=shown, location="", deadline_s=deadline_s),
            roster or Roster(addresses),
            counters,
            LatencyWindow(),
            origin=back,
        )
        await nursery.start(swarm.run)
        await nursery.start(partial(serve, listener, swarm.identity.welcome, swarm.serve))
        rig = PeerRig(store, swarm, counters, nursery.cancel_scope)
        if addresses or roster:
            await until(lambda: swarm.supernodes.up)
        yield rig
        if not nursery.cancel_scope.cancel_called:
            await rig.settled()
        nursery.cancel_scope.cancel()
    assert swarm.buffers.lent_bytes == 0, "the peer's buffers came back"


class World:
    """An origin with one file, and a supernode before it."""

    def __init__(self, directory: Path, origin: HostileOrigin, supernode: SupernodeRig) -> None:
        self.directory = directory
        self.origin = origin
        self.supernode = supernode

    def put(self, path: str, pieces: float = 4, *, seed: int = 0, **does: Any) -> tuple[RemoteUrl, bytes]:
        """A file of so many pieces at the origin."""
        content = pattern(int(pieces * PIECE), seed)
        self.origin.put(path, Resource(**{"content": content, "etag": f'"{seed}"', **does}))
        return parse_url(self.origin.url(path)), content

    def peer(self, name: str = "peer", **settings: Any) -> Any:
        return a_peer(self.directory / name, self.supernode, **settings)

    def sent_bytes(self, path: str) -> int:
        """Bytes of a file that left the origin."""
        return sum(request.sent_bytes for request in self.origin.requests if request.path == path)


@asynccontextmanager
async def a_world(directory: Path, **settings: Any) -> AsyncGenerator[World, None]:
    """An origin and a supernode."""
    async with HostileOrigin.serving() as origin, a_supernode(directory / "supernode", **settings) as supernode:
        yield World(directory, origin, supernode)
