"""A peer without a mount: store, swarm, listener, and the embedded supernode where none is configured. Shell."""

import errno
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import structlog
import trio

from flyfs.core.address import Address, SrvName
from flyfs.core.errors import ConfigError
from flyfs.core.verify import Verify
from flyfs.daemon.embedded import EmbeddedSupernode
from flyfs.limit.host_limit import UNLIMITED, HostLimit
from flyfs.origin.address_guard import AddressPolicy, AllowedOrigins
from flyfs.origin.client import OriginClient
from flyfs.store.store import Store
from flyfs.swarm.back_to_origin import BackToOrigin
from flyfs.swarm.roster import Roster
from flyfs.swarm.swarm import Swarm, SwarmSettings
from flyfs.telemetry.counters import Counters
from flyfs.telemetry.latency import LatencyWindow
from flyfs.transport.greeting import bound_address, listen, serve

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSettings:
    """What a peer takes from the configuration; names as in ``flyfs.config.mount.MountConfig``.

    Attributes:
        owner: what this process is, for whoever finds the cache in use.
    """

    supernodes: tuple[Address | SrvName, ...]
    resolver: Address | None
    cache_directory: Path
    cache_limit_bytes: int | None
    verify: Verify
    owner: str
    listen: Address
    listen_may_move: bool
    advertise: Address | None
    location: str
    no_origin: bool
    deadline_s: float
    allow_origin: tuple[str, ...]
    origin_ca: Path | None
    piece_size: int | None
    rate_limit: int | None
    limit_directories: tuple[Path, ...]
    log_level: str


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer."""

    store: Store
    swarm: Swarm
    limit: HostLimit
    counters: Counters
    demand_latency: LatencyWindow


@asynccontextmanager
async def run_peer(settings: PeerSettings) -> AsyncIterator[Peer]:
    """A peer, connected or connecting to its supernode, for as long as the context lasts.

    Raises:
        ConfigError: the cache or the listening address cannot be used, or the rate limit not be set.
        Unavailable: the embedded supernode cannot be started.
    """
    with HostLimit.open(settings.limit_directories, settings.rate_limit) as limit:
        async with _run_peer(settings, limit) as peer:
            yield peer


@asynccontextmanager
async def _run_peer(settings: PeerSettings, limit: HostLimit) -> AsyncIterator[Peer]:
    counters, demand_latency = Counters(), LatencyWindow()
    listener = _listen(settings)
    address = settings.advertise or bound_address(listener)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(_store(settings))
        origin = None if settings.no_origin else await stack.enter_async_context(_origin(settings, limit))
        back = None if origin is None else BackToOrigin(origin, counters, piece_size=settings.piece_size)
        swarm_settings = SwarmSettings(
            version=version("flyfs"), address=str(address), location=settings.location, deadline_s=settings.deadline_s
        )
        async with trio.open_nursery() as nursery:
            roster = Roster(one for one in settings.supernodes if isinstance(one, Address))
            for one in settings.supernodes:
                if isinstance(one, SrvName):
                    nursery.start_soon(roster.follow, one, settings.resolver)
            counted = limit if settings.supernodes else UNLIMITED  # what our own one hands out was counted when it came to it
            swarm = Swarm(
                store, swarm_settings, roster, counters, demand_latency, origin=back, limit=limit, supernode_limit=counted
            )
            if not settings.supernodes:
                await nursery.start(_embedded(settings, roster, limit).run)
            await nursery.start(swarm.run)
            await nursery.start(partial(serve, listener, swarm.identity.welcome, swarm.serve, limit=limit))
            yield Peer(store, swarm, limit, counters, demand_latency)
            nursery.cancel_scope.cancel()


def _store(settings: PeerSettings) -> AbstractAsyncContextManager[Store]:
    return Store.open(
        settings.cache_directory, limit_bytes=settings.cache_limit_bytes, verify=settings.verify, owner=settings.owner
    )


def _origin(settings: PeerSettings, limit: HostLimit) -> OriginClient:
    """Asks origins from here while no supernode answers, with the reach that a supernode here would have."""
    try:
        allowed = AllowedOrigins.parse(settings.allow_origin)
    except ValueError as error:
        raise ConfigError(f"--allow-origin: {error}") from error
    policy = AddressPolicy(own_host=not settings.supernodes, private=settings.listen.loopback, allowed=allowed)
    return OriginClient(policy=policy, origin_ca=settings.origin_ca, limit=limit)


def _embedded(settings: PeerSettings, roster: Roster, limit: HostLimit) -> EmbeddedSupernode:
    options: list[str] = ["--log-level", settings.log_level]
    options += ["--runtime-dir", str(limit.directory or settings.limit_directories[0])]  # what it reads from origins counts
    for origin in settings.allow_origin:
        options += ["--allow-origin", origin]
    if settings.origin_ca is not None:
        options += ["--origin-ca", str(settings.origin_ca)]
    if settings.piece_size is not None:
        options += ["--piece-size", str(settings.piece_size)]
    return EmbeddedSupernode(settings.cache_directory / "supernode", options, roster)


def _listen(settings: PeerSettings) -> socket.socket:
    tries: Sequence[Address] = [settings.listen]
    if settings.listen_may_move and settings.listen.port:
        tries = [settings.listen, Address(settings.listen.host, 0)]
    for address in tries:
        try:
            listener = listen(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and address is not tries[-1]:
                continue
            raise ConfigError(f"--listen {address}: {error.strerror}; choose another one, port 0 picks a free port") from error
        if address is not tries[0]:
            log.warning("daemon.listen.moved", wanted=str(tries[0]), listening=str(bound_address(listener)))
        return listener
    raise AssertionError("unreachable: the last try returns or raises")
