"""A peer without a mount: store, swarm, listener, and the embedded supernode where none is configured. Shell."""

import errno
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import structlog
import trio

from flyfs.core.address import Address
from flyfs.core.errors import ConfigError
from flyfs.core.verify import Verify
from flyfs.daemon.embedded import EmbeddedSupernode
from flyfs.store.store import Store
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

    supernodes: tuple[Address, ...]
    cache_directory: Path
    cache_limit_bytes: int | None
    verify: Verify
    owner: str
    listen: Address
    listen_may_move: bool
    advertise: Address | None
    location: str
    deadline_s: float
    allow_origin: tuple[str, ...]
    origin_ca: Path | None
    piece_size: int | None
    log_level: str


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer."""

    store: Store
    swarm: Swarm
    counters: Counters
    demand_latency: LatencyWindow


@asynccontextmanager
async def run_peer(settings: PeerSettings) -> AsyncIterator[Peer]:
    """A peer, connected or connecting to its supernode, for as long as the context lasts.

    Raises:
        ConfigError: the cache or the listening address cannot be used.
        Unavailable: the embedded supernode cannot be started.
    """
    counters, demand_latency = Counters(), LatencyWindow()
    listener = _listen(settings)
    address = settings.advertise or bound_address(listener)
    async with Store.open(
        settings.cache_directory, limit_bytes=settings.cache_limit_bytes, verify=settings.verify, owner=settings.owner
    ) as store:
        swarm_settings = SwarmSettings(
            version=version("flyfs"), address=str(address), location=settings.location, deadline_s=settings.deadline_s
        )
        async with trio.open_nursery() as nursery:
            embedded = None if settings.supernodes else _embedded(settings)
            addresses = embedded.addresses if embedded is not None else lambda: settings.supernodes
            swarm = Swarm(store, swarm_settings, addresses, counters, demand_latency)
            if embedded is not None:
                await nursery.start(embedded.run)
            await nursery.start(swarm.run)
            await nursery.start(partial(serve, listener, swarm.welcome, swarm.serve))
            yield Peer(store, swarm, counters, demand_latency)
            nursery.cancel_scope.cancel()


def _embedded(settings: PeerSettings) -> EmbeddedSupernode:
    options: list[str] = ["--log-level", settings.log_level]
    for origin in settings.allow_origin:
        options += ["--allow-origin", origin]
    if settings.origin_ca is not None:
        options += ["--origin-ca", str(settings.origin_ca)]
    if settings.piece_size is not None:
        options += ["--piece-size", str(settings.piece_size)]
    return EmbeddedSupernode(settings.cache_directory / "supernode", options)


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
