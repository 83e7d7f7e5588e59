"""The supernode of the simulation: the real coordinator and fetch plan; what the shells around them do, in virtual time."""

from collections import Counter
from typing import TYPE_CHECKING

from flyfs.core.bitmap import Bitmap
from flyfs.core.ids import PeerId, PieceIndex
from flyfs.core.masks import mask_of
from flyfs.swarm.picker import RequestPiece
from supernode.cdn.feed import COLLECT_S
from supernode.cdn.fetch_plan import FetchPlan, Read
from supernode.coordinator import Coordinator, IntroducePeers, OfferPieces
from supernode.isolation import Isolation, PeerIsolated
from supernode.members import Member
from supernode.scheduler import Serve
from supernode.server.takeover import Takeovers
from tests.simulation.network import NEVER, Pipe

if TYPE_CHECKING:
    from tests.simulation.peer import SimulatedPeer
    from tests.simulation.swarm import SimulatedSwarm

LOOKS_AGAIN_S = 0.02


class SimulatedSupernode:
    """Knows who has what; sends what it has or reads."""

    def __init__(self, swarm: "SimulatedSwarm", *, takes_over: bool = False) -> None:
        """One that ``takes_over`` has nothing, and waits a moment for those who hold something (``supernode.server``)."""
        settings = swarm.settings
        self.swarm = swarm
        self.clock = swarm.clock
        self.coordinator = Coordinator()
        self.coordinator.held_here = lambda _: mask_of(self.held)
        self.alive = True
        self.up, self.down = Pipe(settings.supernode_rate), Pipe(settings.origin_rate)
        self.held: set[PieceIndex] = set()
        self.plan = FetchPlan(settings.pieces, settings.piece_bytes, lambda piece: piece in self.held)
        self.messages: Counter[str] = Counter()
        self.sent: Counter[PieceIndex] = Counter()
        self._waiting: dict[PieceIndex, list[tuple[SimulatedPeer, RequestPiece]]] = {}
        self._wakes_at = NEVER
        self._takes_over = takes_over
        self._takeovers = Takeovers()
        self.isolation = Isolation()
        self.coordinator.members.presentable = self._presentable

    def message(self, kind: str) -> None:
        """Counts a message from or to a peer."""
        self.messages[kind] += 1

    # -- members -----------------------------------------------------------------------------------------------------

    def joined(self, peer: "SimulatedPeer", have: Bitmap) -> None:
        """A peer joins."""
        if not self.alive:
            return
        now, blob = self.clock.now, self.swarm.blob
        if self._takes_over and self.coordinator.tasks.find(blob.id) is None:
            self.coordinator.blob_taken_over(blob, self._takeovers.blob_came(blob.id, now))
        self.coordinator.peer_came(peer.member())
        if peer.lies:
            everything = Bitmap.of(have.length, range(have.length))
            self.coordinator.blob_joined(peer.peer_id, self.swarm.blob, everything, reading=False, now=now)
        else:
            decision = self.coordinator.blob_joined(peer.peer_id, self.swarm.blob, have, reading=True, now=now)
            neighbours = [self.swarm.peers[member.peer_id] for member in decision.neighbours]
            self.clock.after(self.swarm.settings.delay_s, self._told, peer, neighbours, decision.crowded, decision.tell_every_s)
        self.decide()

    @staticmethod
    def _told(peer: "SimulatedPeer", neighbours: list["SimulatedPeer"], crowded: bool, tell_every_s: float) -> None:
        peer.told(neighbours, crowded=crowded, tell_every_s=tell_every_s)

    def left(self, peer: "SimulatedPeer") -> None:
        """A connection broke."""
        self.coordinator.peer_left(peer.peer_id, peer.number, self.clock.now)
        self.decide()

    def gained(self, peer: "SimulatedPeer", pieces: list[PieceIndex]) -> None:
        """A peer tells what it has."""
        if self.alive:
            self.coordinator.pieces_gained(peer.peer_id, self.swarm.blob.id, pieces)
            self.decide()

    def _presentable(self, member: Member) -> bool:
        return self.isolation.standing(member.peer_id, self.clock.now).state != "isolated"

    def reported(self, reporter: "SimulatedPeer", accused: PeerId, fault: str) -> None:
        """A peer fared badly with another one."""
        for verdict in self.isolation.reported(reporter.peer_id, accused, fault, self.clock.now):
            isolated = isinstance(verdict, PeerIsolated)
            self.swarm.isolated += isolated
            self.coordinator.peer_isolated(verdict.peer, isolated)
            for peer in self.swarm.peers.values():
                if isolated:
                    self.clock.after(self.swarm.settings.delay_s, peer.shuns, self.swarm.peers[verdict.peer])
        self.decide()

    def decide(self) -> None:
        """Carries out what the coordinator says."""
        for command in self.coordinator.next_commands(self.clock.now):
            peer = self.swarm.by_session[command.session]
            match command:
                case IntroducePeers():
                    self.message("introduce")
                    neighbours = [self.swarm.peers[member.peer_id] for member in command.neighbours]
                    self.clock.after(
                        self.swarm.settings.delay_s, self._told, peer, neighbours, command.crowded, command.tell_every_s
                    )
                case OfferPieces():
                    self.message("offer")
                    self.clock.after(self.swarm.settings.delay_s, peer.offered, command.pieces)
        due = self.coordinator.next_deadline()
        if due < self._wakes_at:
            self._wakes_at = due
            self.clock.at(due, self._wake, due)

    def _wake(self, due: float) -> None:
        if due == self._wakes_at:
            self._wakes_at = NEVER
            if self.alive:
                self.decide()

    def lapse(self) -> None:
        """Once a second."""
        if self.alive:
            self.coordinator.lapse(self.clock.now)
            self.decide()
            self.clock.after(1.0, self.lapse)

    # -- pieces ------------------------------------------------------------------------------------------------------

    def asked(self, peer: "SimulatedPeer", command: RequestPiece) -> None:
        """A peer asks for a piece."""
        if not self.alive:
            return
        piece = command.piece
        if self._may_be_told_of(peer, piece):
            self.clock.after(LOOKS_AGAIN_S, self.asked, peer, command)
            return
        decision = self.coordinator.piece_asked(
            peer.peer_id, self.swarm.blob, piece, self.clock.now, ahead=command.ahead, held=piece in self.held
        )
        if isinstance(decision, Serve):
            self._waiting.setdefault(piece, []).append((peer, command))
            if piece in self.held:
                self._send_waiting(piece)
            else:
                ahead = self.coordinator.lacking_ahead(self.swarm.blob.id, piece, command.ahead)
                self.plan.wanted(piece, demand=command.demand, ahead=ahead)
                self.clock.after(0.0 if command.demand else COLLECT_S, self._read)
        else:
            holders = [self.swarm.peers[member.peer_id] for member in decision.holders]
            self.clock.after(self.swarm.settings.delay_s, peer.redirected, command, holders)
        self.decide()

    def _may_be_told_of(self, peer: "SimulatedPeer", piece: PieceIndex) -> bool:
        """Whether somebody who holds the piece may still come."""
        until = self._takeovers.until(self.swarm.blob.id)
        if until is None or until <= self.clock.now or piece in self.held:
            return False
        task = self.coordinator.tasks.find(self.swarm.blob.id)
        return task is not None and not any(task.holders(piece, peer.peer_id))

    def _read(self) -> None:
        for read in self.plan.next_reads(self.clock.now):
            self.clock.after(2 * self.swarm.settings.delay_s, self._read_next, read)

    def _read_next(self, read: Read) -> None:
        if not self.alive:
            return
        if read.at >= read.stop:
            self.plan.read_ended(read)
            self._read()
            return
        self.swarm.network.begin((self.down,), self.swarm.settings.piece_bytes, self._came, read)

    def _came(self, read: Read) -> None:
        piece = PieceIndex(read.at)
        self.swarm.origin_pieces += 1
        self.held.add(piece)
        self.plan.piece_came(read, piece, new=True)
        self._send_waiting(piece)
        self._read_next(read)

    def _send_waiting(self, piece: PieceIndex) -> None:
        for peer, command in self._waiting.pop(piece, []):
            self.plan.unwanted(piece, demand=command.demand)
            self.sent[piece] += 1
            pipes = self.swarm.way(self, peer)
            self.swarm.network.begin(pipes, self.swarm.settings.piece_bytes, self._sent, peer, command)

    def _sent(self, peer: "SimulatedPeer", command: RequestPiece) -> None:
        if not self.alive:
            return
        settings = self.swarm.settings
        self.clock.after(settings.delay_s + settings.work_s, peer.arrives, command)
        self.coordinator.piece_sent(peer.peer_id, self.swarm.blob.id, command.piece, through=True)
        self.decide()
