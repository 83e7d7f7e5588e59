"""One peer of the simulation: the real picker, read-ahead and upload slots; what the shells around them do, in virtual time."""

from typing import TYPE_CHECKING

from flyfs.core.bitmap import Bitmap
from flyfs.core.ids import PeerId, PieceIndex
from flyfs.core.masks import pieces_in
from flyfs.swarm.faults import Fault
from flyfs.swarm.picker import CancelRequest, Picker, RequestPiece
from flyfs.swarm.sources import NEVER, SUPERNODE, Source
from flyfs.swarm.upload_slots import RETRY_AFTER_S, UploadSlots, Verdict
from flyfs.swarm.uploads import ANNOUNCE_EVERY_S
from flyfs.swarm.window import ReadAhead
from supernode.members import Member
from tests.simulation.network import Flow, Pipe
from tests.simulation.settings import Reading
from tests.support.builders import a_peer_id

if TYPE_CHECKING:
    from tests.simulation.supernode import SimulatedSupernode
    from tests.simulation.swarm import SimulatedSwarm

NOTICES_LOSS_S = (0.0, 0.2)
"""When a peer has found out that its supernode is gone, and reached another."""


class Upload:
    """One request that was accepted; an object of its own, because the same may be asked for twice."""

    __slots__ = ("asker", "command")

    def __init__(self, asker: "SimulatedPeer", command: RequestPiece) -> None:
        self.asker = asker
        self.command = command


class SimulatedPeer:
    """Reads one file; serves what it has."""

    def __init__(self, swarm: "SimulatedSwarm", number: int) -> None:
        settings = swarm.settings
        self.swarm = swarm
        self.clock = swarm.clock
        self.number = number
        self.peer_id: PeerId = a_peer_id(f"{settings.seed} {number}")
        self.region = f"r{number % settings.regions}"
        self.have = Bitmap(settings.pieces)
        spread = int(self.peer_id[16:], 16)
        self.picker = Picker(self.have, piece_size=settings.piece_bytes, timeout_s=30.0, spread=spread)
        self.picker.crowd_told(None)
        self.up, self.down = Pipe(settings.rate), Pipe(settings.rate)
        self.slots: UploadSlots[SimulatedPeer, Upload] = UploadSlots()
        self.supernode: SimulatedSupernode | None = None
        self.alive = True
        self.lies = False
        self.counts = True
        """Whether its time counts: those who lie or die do not finish."""
        self.started_s = 0.0
        self.first_s: float | None = None
        self.finished_s: float | None = None
        self.rejected = 0
        self.duplicates = 0
        self._flights: dict[tuple[PieceIndex, Source], RequestPiece] = {}
        self._uploads: dict[Upload, Flow] = {}
        self._follows: set[PeerId] = set()
        self._followers: list[SimulatedPeer] = []
        self._news, self._news_due, self._announced_s = 0, False, -NEVER
        self._supernode_news, self._told_supernode_s, self._telling = 0, -NEVER, False
        self._tell_every_s = 0.0
        self._read_ahead = ReadAhead(swarm.blob.size)
        self._at = 0
        self._demanded: PieceIndex | None = None
        self._wakes_at = NEVER

    def member(self) -> Member:
        """As the supernode knows it."""
        address = f"10.0.0.1:{self.number + 1}"
        return Member(peer_id=self.peer_id, session=self.number, address=address, location=self.region, version="")

    # -- coming and going --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Opens the file."""
        self.started_s = self.clock.now
        self.join(self.swarm.supernode)
        self._read_on()

    def join(self, supernode: "SimulatedSupernode") -> None:
        """A supernode can be asked, and is told what is here."""
        if not self.alive:
            return
        self.supernode = supernode
        self.picker.supernode_came()
        self._supernode_news = 0
        supernode.message("join")
        self.clock.after(self.swarm.settings.delay_s, supernode.joined, self, self.have.copy())
        self.decide()

    def die(self) -> None:
        """Its connections break, and everybody notices at once; what it was sending arrives nowhere."""
        self.alive = False
        for flow in self._uploads.values():
            self.swarm.network.cut(flow)
        for other in self.swarm.peers.values():
            if self.peer_id in other._follows:
                other.neighbour_left(self)
        if self.supernode is not None:
            self.supernode.left(self)

    def neighbour_left(self, dead: "SimulatedPeer") -> None:
        """The connection to a neighbour broke."""
        self.picker.source_left(dead.peer_id)
        self._follows.discard(dead.peer_id)
        for command in [command for command in self._flights.values() if command.source == dead.peer_id]:
            self.fails(command, Fault.LOST)
        self.decide()

    def supernode_lost(self) -> None:
        """The supernode does not answer any more; another one is asked."""
        self.picker.source_left(SUPERNODE)
        for command in [command for command in self._flights.values() if command.source is SUPERNODE]:
            self.fails(command, Fault.LOST)
        self.join(self.swarm.supernode)

    # -- what the supernode tells ------------------------------------------------------------------------------------

    def told(self, neighbours: list["SimulatedPeer"], *, crowded: bool, tell_every_s: float) -> None:
        """Neighbours, and how to behave."""
        self.picker.crowd_told(crowded, tell_every_s)
        self._tell_every_s = tell_every_s
        for neighbour in neighbours:
            self.meet(neighbour)
        self.decide()

    def meet(self, other: "SimulatedPeer") -> None:
        """Dials and follows: three messages until its holdings are here."""
        if other.peer_id not in self._follows and other is not self:
            self._follows.add(other.peer_id)
            self.clock.after(3 * self.swarm.settings.delay_s, self._follow, other)

    def _follow(self, other: "SimulatedPeer") -> None:
        if other.alive and self.alive:
            other._followers.append(self)
            have = other.have.copy() if not other.lies else Bitmap.of(other.have.length, range(other.have.length))
            self.clock.after(self.swarm.settings.delay_s, self._holdings, other, have)

    def _holdings(self, other: "SimulatedPeer", have: Bitmap) -> None:
        self.picker.peer_came(other.peer_id, have, far=other.region != self.region)
        self.decide()

    def offered(self, pieces: tuple[PieceIndex, ...]) -> None:
        """The supernode offers pieces."""
        self.picker.offered(pieces)
        self.decide()

    def redirected(self, command: RequestPiece, holders: list["SimulatedPeer"]) -> None:
        """The supernode names others for a piece."""
        if self._flights.pop((command.piece, command.source), None) is command:
            self.picker.redirected(command.piece, self.clock.now)
        for holder in holders:
            self.meet(holder)
        self.decide()

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read_on(self) -> None:
        if self.lies:
            return
        if self.swarm.settings.reading is Reading.BULK:
            self.picker.whole_wanted(not self.have.complete)
        else:
            self._read_in_order()
        if self.have.complete and self.finished_s is None:
            self.finished_s = self.clock.now
            self.swarm.finished += self.counts
        self.decide()

    def _read_in_order(self) -> None:
        size, moved = self.swarm.settings.piece_bytes, False
        while self._at < self.have.length and self._at in self.have:
            moved |= self._read_ahead.read_happened(self._at * size, size)
            self._at += 1
        if self._demanded is not None and self._demanded != self._at:
            self.picker.demand_removed(self._demanded)
            self._demanded = None
        if self._at == self.have.length:
            self.picker.windows_moved(())
        elif self._demanded is None:
            moved |= self._read_ahead.read_happened(self._at * size, size)
            self._demanded = PieceIndex(self._at)
            self.picker.demand_added(self._demanded)
        if moved and self._at < self.have.length:
            grid = self.swarm.blob.grid
            self.picker.windows_moved([grid.covering(one.start, one.stop) for one in self._read_ahead.windows()])

    def decide(self) -> None:
        """Carries out what the picker says."""
        if not self.alive:
            return
        now, settings = self.clock.now, self.swarm.settings
        for command in self.picker.next_commands(now):
            match command:
                case RequestPiece(piece=piece, source=None):
                    self._flights[piece, SUPERNODE] = command
                    assert self.supernode is not None
                    self.supernode.message("demand" if command.demand else "piece")
                    self.clock.after(settings.delay_s, self.supernode.asked, self, command)
                case RequestPiece(piece=piece, source=peer):
                    self._flights[piece, peer] = command
                    self.clock.after(settings.delay_s + settings.work_s, self.swarm.peers[peer].asked, self, command)
                    self.clock.after(command.timeout_s, self.fails, command, Fault.LOST)
                case CancelRequest(piece, source):
                    self._flights.pop((piece, source), None)
        due = self.picker.next_deadline(now)
        if due < self._wakes_at:
            self._wakes_at = due
            self.clock.at(due, self._wake, due)

    def _wake(self, due: float) -> None:
        if due == self._wakes_at:
            self._wakes_at = NEVER
            self.decide()

    def fails(self, command: RequestPiece, fault: Fault, retry_after_s: float | None = None) -> None:
        """A request brought nothing."""
        if self._flights.get((command.piece, command.source)) is command:
            del self._flights[command.piece, command.source]
            self.swarm.faults[fault] += 1
            self.picker.request_failed(command.piece, command.source, fault, self.clock.now, retry_after_s)
            self.decide()

    def arrives(self, command: RequestPiece, *, wrong: bool = False) -> None:
        """A piece came, and was looked at."""
        if not self.alive:
            return
        if wrong:
            self.rejected += 1
            self._report(command, "corrupt")
            self.fails(command, Fault.CORRUPT)
            return
        wanted = self._flights.pop((command.piece, command.source), None) is command
        if not self.have.add(command.piece):
            self.duplicates += 1
        else:
            if self.first_s is None and command.piece == self._demanded:
                self.first_s = self.clock.now
            self._announce_soon(command.piece)
        if wanted:
            self.picker.piece_arrived(command.piece, command.source, self.clock.now)
        self._read_on()

    def _report(self, command: RequestPiece, fault: str) -> None:
        if self.supernode is not None and command.source is not None:
            self.supernode.message("report")
            self.clock.after(self.swarm.settings.delay_s, self.supernode.reported, self, command.source, fault)

    def shuns(self, other: "SimulatedPeer") -> None:
        """The supernode isolated a neighbour."""
        self.picker.source_left(other.peer_id)
        self.decide()

    # -- news --------------------------------------------------------------------------------------------------------

    def _announce_soon(self, piece: PieceIndex) -> None:
        self._news |= 1 << piece
        self._supernode_news |= 1 << piece
        if not self._news_due:
            self._news_due = True
            self.clock.at(self._announced_s + ANNOUNCE_EVERY_S, self._announce)

    def _announce(self) -> None:
        self._news_due, self._announced_s = False, self.clock.now
        news, self._news = self._news, 0
        self.clock.after(self.swarm.settings.delay_s, self._heard, list(pieces_in(news)))
        if not self._telling:
            self._telling = True
            self.clock.at(self._told_supernode_s + self._tell_every_s, self._tell_supernode)

    def _heard(self, news: list[PieceIndex]) -> None:
        for other in self._followers:
            if other.finished_s is None and other.alive:
                other.picker.peer_gained(self.peer_id, news)
                other.decide()

    def _tell_supernode(self) -> None:
        self._telling, self._told_supernode_s = False, self.clock.now
        news, self._supernode_news = self._supernode_news, 0
        if self.alive and self.supernode is not None and news:
            self.supernode.message("have")
            self.clock.after(self.swarm.settings.delay_s, self.supernode.gained, self, list(pieces_in(news)))

    # -- serving -----------------------------------------------------------------------------------------------------

    def asked(self, asker: "SimulatedPeer", command: RequestPiece) -> None:
        """Another peer asks for a piece."""
        delay_s = self.swarm.settings.delay_s
        if not self.alive:
            return
        if command.piece not in self.have and not self.lies:
            self.clock.after(delay_s, asker.fails, command, Fault.NOT_HELD)
            return
        upload = Upload(asker, command)
        match self.slots.ask(asker, upload, demand=command.demand):
            case Verdict.BEGIN:
                self._send(upload)
            case Verdict.REFUSE:
                self.clock.after(delay_s, asker.fails, command, Fault.BUSY, RETRY_AFTER_S)
            case Verdict.WAIT:
                pass

    def _send(self, upload: Upload) -> None:
        pipes = self.swarm.way(self, upload.asker)
        self._uploads[upload] = self.swarm.network.begin(pipes, self.swarm.settings.piece_bytes, self._sent, upload)

    def _sent(self, upload: Upload) -> None:
        settings = self.swarm.settings
        del self._uploads[upload]
        self.clock.after(settings.delay_s + settings.work_s, self._delivered, upload)
        for begun in self.slots.ended(upload.asker):
            self._send(begun)

    def _delivered(self, upload: Upload) -> None:
        upload.asker.arrives(upload.command, wrong=self.lies)
