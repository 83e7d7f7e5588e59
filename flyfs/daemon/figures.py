"""A daemon's figures, put together from its parts; always from memory. Shell (reads the clock and the process id)."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

import trio

from flyfs.daemon.peer import Peer
from flyfs.fs.figures import Space
from flyfs.telemetry.loop_watch import LoopWatch
from flyfs.telemetry.status import (
    Advertised,
    IsolatedPeer,
    LimitFigures,
    ProcessFigures,
    SupernodeFigures,
    assemble_status,
)


class DaemonFigures:
    """Implements ``fs.figures.Figures`` and the control socket's ``status``."""

    def __init__(self, *, mountpoint: str, peer: Peer, watch: LoopWatch) -> None:
        self._mountpoint = mountpoint
        self._store = peer.store
        self._swarm = peer.swarm
        self._limit = peer.limit
        self._counters = peer.counters
        self._demand_latency = peer.demand_latency
        self._watch = watch
        self._started_at_s = time.time()
        self.open_files: Callable[[], int] = lambda: 0
        """Asked for the number of open handles; set once there is a tree."""

    def status(self) -> Mapping[str, object]:
        """The status document."""
        repute, clock_s = self._swarm.repute, time.time() - trio.current_time()
        own = repute.isolation
        return assemble_status(
            process=ProcessFigures(
                version=version("flyfs"),
                role="peer",
                peer_id=self._store.peer_id,
                mountpoint=self._mountpoint,
                cache_directory=str(self._store.directory),
                started_at_s=self._started_at_s,
                pid=os.getpid(),
            ),
            counters=self._counters.statistics(),
            known_peers=len(self._swarm.neighbours.connected),
            isolated_peers=[
                IsolatedPeer(
                    peer_id=one.peer_id,
                    address=one.address,
                    reason=one.reason,
                    since_s=clock_s + one.since,
                    until_s=clock_s + one.until,
                )
                for one in self._swarm.neighbours.shunned.peers(trio.current_time())
            ],
            unreachable_peers=(),
            advertised=Advertised(
                address=self._swarm.address,
                reachable=repute.reached,
                reason=repute.unreached,
                isolated=None if own is None else (own.reason, clock_s + own.until),
            ),
            supernodes=[
                SupernodeFigures(address=one.address, state=one.state, reason=one.reason)
                for one in self._swarm.supernodes.states()
            ],
            store=self._store.statistics(),
            limit=LimitFigures(receive=self._limit.receive.rate or None, send=self._limit.send.rate or None),
            demand_latency=self._demand_latency.quantiles(),
            loop_lag=self._watch.lag(),
            open_files=self.open_files(),
        )

    def supernodes(self) -> Sequence[str]:
        """One line per supernode: address, state, reason."""
        return [" ".join(filter(None, (one.address, one.state, one.reason))) for one in self._swarm.supernodes.states()]

    def peers(self) -> Sequence[str]:
        """One line per connected neighbour: id, address, location."""
        return [f"{one.peer_id} {one.address} {one.location}".rstrip() for one in self._swarm.neighbours.connected]

    def space(self) -> Space:
        """Room in the store."""
        statistics = self._store.statistics()
        total = statistics.used_bytes + statistics.free_bytes
        if statistics.limit_bytes is not None:
            total = min(total, statistics.limit_bytes)
        return Space(total_bytes=total, free_bytes=max(0, total - statistics.used_bytes))
