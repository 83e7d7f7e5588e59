"""The supernode's composition root: store, origin client, CDN, coordinator, sessions, web, in one trio run. Shell."""

import os
import signal
import socket
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path

import trio

from flyfs.core.address import Address
from flyfs.core.errors import ConfigError
from flyfs.core.ids import BlobId
from flyfs.core.signing import KEY_BYTES, SigningKey
from flyfs.limit.host_limit import UNLIMITED, HostLimit
from flyfs.origin.address_guard import AddressPolicy, AllowedOrigins
from flyfs.origin.client import OriginClient
from flyfs.store.store import Store
from flyfs.telemetry.counters import Counters
from flyfs.telemetry.heap import settle_heap
from flyfs.telemetry.loop_watch import LoopWatch
from flyfs.telemetry.status import (
    Advertised,
    IsolatedOrigin,
    IsolatedPeer,
    LimitFigures,
    ProcessFigures,
    UnreachablePeer,
    assemble_status,
)
from flyfs.transport.accepting import allow_many_connections
from flyfs.transport.buffers import BufferPool
from flyfs.transport.greeting import bound_address, listen, serve
from flyfs.wire.messages import MAJOR, MINOR, Hello, Welcome
from supernode.cdn.cdn import Cdn, version_book
from supernode.cdn.feed import FeedServices
from supernode.config import SupernodeConfig
from supernode.coordinator import Coordinator
from supernode.server.sessions import Sessions
from supernode.web.app import run_web

MOST_TOLD = 100
"""Peers that ``status`` names one by one: it is for people, and must stay short."""

_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(config: SupernodeConfig) -> None:
    """Runs a supernode until SIGTERM or SIGINT (an embedded one: until its daemon ends); prints ``ready …`` when it serves.

    Raises:
        ConfigError: an address cannot be bound, or the cache cannot be used.
    """
    allow_many_connections()
    for number in _END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # heard by the receiver below alone: the end itself must not be cut short
    trio.run(_run_until_told, config)


async def _run_until_told(config: SupernodeConfig) -> None:
    """The signals are received until the very end, so that a second one does not kill what is being flushed."""
    async with trio.open_nursery() as whole:
        scope = trio.CancelScope()
        await whole.start(_end_on_signal, scope)
        with scope:
            await _run(config)
        whole.cancel_scope.cancel()


async def _run(config: SupernodeConfig) -> None:
    with HostLimit.open(config.limit_directories, config.rate_limit) as limit:
        await _serve(config, limit)


async def _serve(config: SupernodeConfig, limit: HostLimit) -> None:
    peers, web = _bind(config.listen, "--listen"), _bind(config.http, "--http") if config.http is not None else None
    async with trio.open_nursery() as root:
        if config.parent_pipe is not None:
            root.start_soon(_end_with_parent, config.parent_pipe, root.cancel_scope)
        async with (
            Store.open(
                config.cache_directory, limit_bytes=config.cache_limit_bytes, verify=config.verify, owner=_owner(config)
            ) as store,
            OriginClient(policy=_policy(config), origin_ca=config.origin_ca, limit=limit) as origin,
            trio.open_nursery() as services,  # ends before the store and the origin client do
        ):
            supernode = Supernode(config, store, origin, limit, services)
            await services.start(supernode.watch.run)
            await services.start(supernode.sessions.run)
            counted = UNLIMITED if config.embedded else limit  # what an embedded one hands out goes to its own daemon only
            await services.start(partial(serve, peers, supernode.welcome, supernode.sessions.session, limit=counted))
            if web is not None:
                web_address = bound_address(web)
                await services.start(partial(run_web, web, supernode.status))
            else:
                web_address = None
            settle_heap()
            print(f"ready peers={bound_address(peers)}" + (f" http={web_address}" if web_address else ""), flush=True)  # noqa: T201 - the contract
            await trio.sleep_forever()


class Supernode:
    """All parts of one supernode, wired."""

    def __init__(
        self, config: SupernodeConfig, store: Store, origin: OriginClient, limit: HostLimit, nursery: trio.Nursery
    ) -> None:
        self.watch = LoopWatch()
        self._config = config
        self._store = store
        self._origin = origin
        self._limit = limit
        self._counters = Counters()
        self._started_at_s = time.time()
        self._key = SigningKey(_seed(config))
        self._coordinator = Coordinator()
        services = FeedServices(origin=origin, buffers=BufferPool(), key=self._key, counters=self._counters, nursery=nursery)
        self.cdn = Cdn(
            store,
            services,
            version_book(store, config.piece_size),
            self,
            embedded=config.embedded,
            spool_directory=config.cache_directory / "spool",
        )
        self.sessions = Sessions(self._coordinator, self.cdn, self._counters, nursery, self._hello)

    def _hello(self) -> Hello:
        """How peers are greeted whose address is tried."""
        return Hello(major=MAJOR, minor=MINOR, peer_id=self._store.peer_id, role="supernode", version=version("flyfs"))

    def welcome(self, _: Hello) -> Welcome:
        """The answer to a peer's greeting."""
        return Welcome(
            major=MAJOR,
            minor=MINOR,
            peer_id=self._store.peer_id,
            role="supernode",
            version=version("flyfs"),
            key=self._key.public,
        )

    def blob_retired(self, blob_id: str, reason: str) -> None:
        """A blob contradicts itself: the sessions tell everybody."""
        self.sessions.blob_retired(BlobId(blob_id), reason)

    def status(self) -> Mapping[str, object]:
        """The status document, from memory."""
        clock_s = time.time() - trio.current_time()
        return assemble_status(
            process=ProcessFigures(
                version=version("flyfs"),
                role="supernode",
                peer_id=self._store.peer_id,
                mountpoint=None,
                cache_directory=str(self._store.directory),
                started_at_s=self._started_at_s,
                pid=os.getpid(),
            ),
            counters=self._counters.statistics(),
            known_peers=len(self._coordinator.members),
            isolated_peers=[
                IsolatedPeer(
                    peer_id=peer,
                    address=address,
                    reason=standing.reason,
                    since_s=clock_s + standing.since,
                    until_s=clock_s + standing.until,
                    reporters=standing.reporters,
                )
                for peer, address, standing in self.sessions.isolating.isolated(MOST_TOLD)
            ],
            unreachable_peers=[
                UnreachablePeer(peer_id=claim.peer_id, address=claim.address, reason=reason)
                for claim, reason in self.sessions.dial_back.unreachable()[:MOST_TOLD]
            ],
            advertised=Advertised(address=str(self._config.listen)),
            supernodes=(),
            isolated_origins=[
                IsolatedOrigin(
                    origin=origin, reason=breaker.reason, since_s=clock_s + breaker.since, until_s=clock_s + breaker.until
                )
                for origin, breaker in self._origin.isolated()[:MOST_TOLD]
            ],
            store=self._store.statistics(),
            limit=LimitFigures(receive=self._limit.receive.rate or None, send=self._limit.send.rate or None),
            demand_latency=self.sessions.demand_latency.quantiles(),
            loop_lag=self.watch.lag(),
            open_files=len(self._coordinator.tasks),
        )


def _owner(config: SupernodeConfig) -> str:
    return "the supernode that a mount started" if config.embedded else f"flyfs-supernode --listen {config.listen}"


def _policy(config: SupernodeConfig) -> AddressPolicy:
    try:
        allowed = AllowedOrigins.parse(config.allow_origin)
    except ValueError as error:
        raise ConfigError(f"--allow-origin: {error}") from error
    return AddressPolicy(own_host=config.embedded, private=config.listen.loopback, allowed=allowed)


def _bind(address: Address, option: str) -> socket.socket:
    try:
        return listen(address)
    except OSError as error:
        raise ConfigError(f"{option} {address}: {error.strerror}; choose another one, port 0 picks a free port") from error


def _seed(config: SupernodeConfig) -> bytes:
    if config.key_file is not None:
        return _fleet_seed(config.key_file)
    return _own_seed(config.cache_directory / "signing-key")


def _fleet_seed(path: Path) -> bytes:
    """The private key that the operator gave to all supernodes of a fleet.

    Raises:
        ConfigError: it cannot be read, or is no key.
    """
    try:
        seed = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--key-file {path}: cannot be read: {error.strerror}") from error
    if len(seed) != KEY_BYTES:
        raise ConfigError(f"--key-file {path}: a key has {KEY_BYTES} random bytes, not {len(seed)}")
    return seed


def _own_seed(path: Path) -> bytes:
    """This supernode's private key, made at its first start; readable by its owner only.

    Raises:
        ConfigError: the file is there and is no key.
    """
    with suppress(FileNotFoundError):
        seed = path.read_bytes()
        if len(seed) != KEY_BYTES:
            raise ConfigError(f"{path} is not a signing key; remove it, and a new one is made")
        return seed
    seed = SigningKey.new_seed()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(handle, "wb") as file:
        file.write(seed)
        file.flush()
        os.fsync(file.fileno())
    return seed


async def _end_on_signal(scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(*_END_SIGNALS) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def _end_with_parent(pipe: int, scope: trio.CancelScope) -> None:
    """The daemon holds the pipe's other end and never writes: its end is ours."""
    async with trio.lowlevel.FdStream(pipe) as stream:
        while await stream.receive_some(1):
            pass
    scope.cancel()
