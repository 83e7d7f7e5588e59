"""The status document that anybody can read, of a peer or a supernode, from its parts. Pure.

Its keys are a contract (docs/reference/status.md): more may be added, none renamed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from flyfs.telemetry.counters import CounterStatistics
from flyfs.telemetry.latency import Quantiles


class StoreFigures(Protocol):
    """What a store tells of itself."""

    @property
    def used_bytes(self) -> int:
        """Bytes that its blobs take."""
        ...

    @property
    def limit_bytes(self) -> int | None:
        """Bytes that it may take; None for no limit."""
        ...

    @property
    def free_bytes(self) -> int:
        """Bytes free on its disk."""
        ...

    @property
    def blobs(self) -> int:
        """How many it holds."""
        ...

    @property
    def read_through(self) -> bool:
        """Whether it has no room, so that bytes pass through and are not kept."""
        ...

    @property
    def damaged(self) -> int:
        """Pieces that turned out damaged since the start."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFigures:
    """Who is telling.

    Attributes:
        mountpoint: None for a supernode.
        cache_directory: where its store lies.
        started_at_s: seconds since 1970.
        keeper_pid: None where no keeper holds the mount.
    """

    version: str
    role: Literal["peer", "supernode"]
    peer_id: str
    mountpoint: str | None
    cache_directory: str
    started_at_s: float
    pid: int
    keeper_pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedPeer:
    """A peer that is not asked for a while; times in seconds since 1970.

    Attributes:
        reporters: how many peers complained of it; 0 where this process saw for itself, or was told so.
    """

    peer_id: str
    address: str
    reason: str
    since_s: float
    until_s: float
    reporters: int = 0

    def document(self) -> dict[str, object]:
        """As ``status`` shows it."""
        return {
            "peer": self.peer_id,
            "address": self.address,
            "reason": self.reason,
            "since": rfc3339(self.since_s),
            "until": rfc3339(self.until_s),
            "reporters": self.reporters,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedOrigin:
    """An origin that is left alone because it fails, or is about to be tried again; times in seconds since 1970."""

    origin: str
    reason: str
    since_s: float
    until_s: float

    def document(self) -> dict[str, object]:
        """As ``status`` shows it."""
        return {
            "origin": self.origin,
            "reason": self.reason,
            "since": rfc3339(self.since_s),
            "until": rfc3339(self.until_s),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreachablePeer:
    """A peer that does not answer where it says it is: it is served, and named to nobody."""

    peer_id: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertised:
    """Where others are told to reach this process.

    Attributes:
        reachable: whether they do, None where nobody has tried.
        reason: why they do not.
        isolated: why nobody is sent here although it is reached, and until when (seconds since 1970).
    """

    address: str
    reachable: bool | None = None
    reason: str | None = None
    isolated: tuple[str, float] | None = None

    def document(self) -> dict[str, object]:
        """As ``status`` shows it."""
        isolated = None if self.isolated is None else {"reason": self.isolated[0], "until": rfc3339(self.isolated[1])}
        return {"address": self.address, "reachable": self.reachable, "reason": self.reason, "isolated": isolated}


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernodeFigures:
    """How a supernode is seen from here; ``reason`` where it is not up."""

    address: str
    state: Literal["up", "down", "isolated"]
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFigures:
    """What all flyfs processes of the host together may move, in bytes per second; None for no limit."""

    receive: int | None = None
    send: int | None = None


def assemble_status(
    *,
    process: ProcessFigures,
    counters: CounterStatistics,
    known_peers: int,
    isolated_peers: Sequence[IsolatedPeer],
    unreachable_peers: Sequence[UnreachablePeer],
    advertised: Advertised,
    supernodes: Sequence[SupernodeFigures],
    isolated_origins: Sequence[IsolatedOrigin] = (),
    store: StoreFigures,
    limit: LimitFigures,
    demand_latency: Quantiles,
    loop_lag: Quantiles,
    open_files: int,
) -> dict[str, object]:
    """The document, ready for ``json.dumps``."""
    return {
        "version": process.version,
        "role": process.role,
        "peer_id": process.peer_id,
        "mountpoint": process.mountpoint,
        "started_at": rfc3339(process.started_at_s),
        "pid": process.pid,
        "keeper_pid": process.keeper_pid,
        "bytes": {
            "origin": counters.origin_bytes,
            "supernode": counters.supernode_bytes,
            "peers": counters.peer_bytes,
            "store": counters.store_bytes,
            "passed": counters.passed_bytes,
            "served": counters.served_bytes,
        },
        "pieces": {"verified": counters.pieces_verified, "rejected": counters.pieces_rejected},
        "peers": {
            "known": known_peers,
            "isolated": [peer.document() for peer in isolated_peers],
            "unreachable": [{"peer": peer.peer_id, "address": peer.address, "reason": peer.reason} for peer in unreachable_peers],
        },
        "advertised": advertised.document(),
        "supernodes": [{"address": each.address, "state": each.state, "reason": each.reason} for each in supernodes],
        "origins": {"isolated": [origin.document() for origin in isolated_origins]},
        "store": {
            "directory": process.cache_directory,
            "used_bytes": store.used_bytes,
            "limit_bytes": store.limit_bytes,
            "free_bytes": store.free_bytes,
            "blobs": store.blobs,
            "read_through": store.read_through,
            "damaged": store.damaged,
        },
        "limit": {"receive_bytes_per_s": limit.receive, "send_bytes_per_s": limit.send},
        "demand_latency_ms": {"p50": round(demand_latency.p50_ms, 3), "p99": round(demand_latency.p99_ms, 3)},
        "loop_lag_ms": {"p99": round(loop_lag.p99_ms, 3)},
        "open_files": open_files,
    }


def rfc3339(seconds: float) -> str:
    """A moment in seconds since 1970, as ``2026-05-04T10:20:30Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
