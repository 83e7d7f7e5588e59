"""A whole swarm in virtual time: it drives the objects that decide in the real one, and is deterministic by its seed."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from flyfs.core.ids import PeerId
from flyfs.swarm.faults import Fault
from tests.simulation.clock import Clock
from tests.simulation.network import Network, Pipe
from tests.simulation.peer import NOTICES_LOSS_S, SimulatedPeer
from tests.simulation.settings import Settings
from tests.simulation.supernode import SimulatedSupernode
from tests.support.builders import a_blob

SLOWNESS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run. Times are multiples of what an unhindered line takes, but for those named ``_s``."""

    finished: int
    mean: float
    median: float
    p99: float
    slowest: float
    first_piece_p50_s: float
    first_piece_p99_s: float
    origin_copies: float
    supernode_copies: float
    messages_per_peer: float
    messages: dict[str, float]
    faults: dict[str, float]
    most_rejected: int
    """Wrong pieces that one peer got, at most."""
    isolated: int
    duplicates: float
    """Pieces that came twice, as a share of all."""
    most_sent: float
    """What one peer sent, at most, in files."""
    crossed_copies: float
    """What went over the line between regions, in files."""
    times: tuple[float, ...]


class SimulatedSwarm:
    """All peers and their supernode."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.random = random.Random(settings.seed)
        self.clock = Clock()
        self.network = Network(self.clock)
        self.blob = a_blob(settings.pieces, piece_size=settings.piece_bytes)
        self.supernode = SimulatedSupernode(self)
        self.supernodes = [self.supernode]
        self.peers: dict[PeerId, SimulatedPeer] = {}
        self.by_session: dict[int, SimulatedPeer] = {}
        self.finished = 0
        self.isolated = 0
        self.origin_pieces = 0
        self.faults: Counter[Fault] = Counter()
        self._between = Pipe(settings.region_line or settings.supernode_rate * 1000)
        for number in range(settings.peers):
            peer = SimulatedPeer(self, number)
            self.peers[peer.peer_id] = self.by_session[number] = peer
        self._prepare_faults()

    def _prepare_faults(self) -> None:
        settings = self.settings
        peers = list(self.peers.values())
        for peer in self.random.sample(peers, round(settings.slow * len(peers))):
            peer.up.rate = peer.up.level = settings.rate / SLOWNESS
        for peer in self.random.sample(peers, settings.liars):
            peer.lies, peer.counts = True, False
        honest = [peer for peer in peers if not peer.lies]
        for peer in self.random.sample(honest, settings.deaths):
            peer.counts = False
            self.clock.at(self.random.uniform(0.1, settings.line_time_s / 2), peer.die)
        if settings.supernode_lost_s is not None:
            self.clock.at(settings.supernode_lost_s, self._lose_supernode)

    def _lose_supernode(self) -> None:
        self.supernode.alive = False
        self.supernode = SimulatedSupernode(self, takes_over=True)
        self.supernodes.append(self.supernode)
        self.clock.after(1.0, self.supernode.lapse)
        for peer in self.peers.values():
            self.clock.after(self.random.uniform(*NOTICES_LOSS_S), peer.supernode_lost)

    def way(self, sender: SimulatedPeer | SimulatedSupernode, receiver: SimulatedPeer) -> tuple[Pipe, ...]:
        """The pipes between two."""
        region = sender.region if isinstance(sender, SimulatedPeer) else "r0"
        return (sender.up, receiver.down) if region == receiver.region else (sender.up, self._between, receiver.down)

    def run(self) -> Outcome:
        """Runs until everybody who counts has the file."""
        settings = self.settings
        for peer in self.peers.values():
            self.clock.at(0.0 if peer.lies else self.random.uniform(0.0, settings.arrivals_s), peer.start)
        self.clock.after(1.0, self.supernode.lapse)
        counted = [peer for peer in self.peers.values() if peer.counts]
        self.clock.run(settings.until_s, lambda: self.finished == len(counted))
        return self._outcome(counted)

    def _outcome(self, counted: Sequence[SimulatedPeer]) -> Outcome:
        settings = self.settings
        ended = [(peer, peer.finished_s if peer.finished_s is not None else settings.until_s) for peer in counted]
        times = sorted((end - peer.started_s) / settings.line_time_s for peer, end in ended)
        firsts = sorted(peer.first_s - peer.started_s for peer in counted if peer.first_s is not None)
        messages = sum((supernode.messages for supernode in self.supernodes), Counter[str]())
        return Outcome(
            finished=self.finished,
            mean=fmean(times),
            median=quantile(times, 0.5),
            p99=quantile(times, 0.99),
            slowest=times[-1],
            first_piece_p50_s=quantile(firsts, 0.5),
            first_piece_p99_s=quantile(firsts, 0.99),
            origin_copies=self.origin_pieces / settings.pieces,
            supernode_copies=sum(supernode.sent.total() for supernode in self.supernodes) / settings.pieces,
            messages_per_peer=messages.total() / settings.peers,
            messages={kind: round(count / settings.peers, 2) for kind, count in sorted(messages.items())},
            faults={fault.name: round(count / settings.peers, 2) for fault, count in self.faults.items()},
            most_rejected=max(peer.rejected for peer in counted),
            isolated=self.isolated,
            duplicates=sum(peer.duplicates for peer in counted) / (settings.pieces * len(counted)),
            most_sent=max(peer.up.sent for peer in counted) / (settings.pieces * settings.piece_bytes),
            crossed_copies=self._between.sent / (settings.pieces * settings.piece_bytes),
            times=tuple(times),
        )


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the sorted ``values`` do not exceed; 0 where there are none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def simulate(settings: Settings) -> Outcome:
    """One run."""
    return SimulatedSwarm(settings).run()
