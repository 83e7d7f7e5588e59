"""Many real pickers and one real coordinator in a for-loop: virtual time, a seed, no network. Pure.

Each sender sends one piece at a time at its rate; messages take a round trip; news of gained pieces are coalesced as peers do.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from flyfs.core.bitmap import Bitmap
from flyfs.core.ids import PeerId, PieceIndex
from flyfs.swarm.picker import NEVER, SUPERNODE, CancelRequest, Fault, Picker, RequestPiece, Source
from supernode.coordinator import Coordinator
from supernode.members import Member
from supernode.scheduler import Redirect
from tests.support.builders import a_blob, a_peer_id

PIECE_BYTES = 256 * 1024
RATE_BYTES_PER_S = 25_000_000
PIECE_S = PIECE_BYTES / RATE_BYTES_PER_S
SUPERNODE_SPEEDUP = 10
ROUND_TRIP_S = 0.001
NEWS_S = 0.05
ORIGIN_S = 0.02
WINDOW = 8


@dataclass
class Reader:
    """One peer: reads from start to end, the next piece demanded, a window ahead."""

    peer_id: PeerId
    session: int
    have: Bitmap
    picker: Picker
    at: int = 0
    demanded: PieceIndex | None = None
    alive: bool = True
    finished_s: float | None = None
    free_at_s: float = 0.0
    sent: int = 0
    follows: set[PeerId] = field(default_factory=set)
    followers: set[PeerId] = field(default_factory=set)
    news: list[int] = field(default_factory=list)
    flights: set[tuple[int, Source]] = field(default_factory=set)
    wake_s: float = NEVER


class Simulation:
    """Runs until nothing happens any more."""

    def __init__(self, *, readers: int, pieces: int, seed: int, liars: int = 0) -> None:
        """``liars`` connect first, say that they have all pieces, and have none."""
        self.random = random.Random(seed)
        self.blob = a_blob(pieces, piece_size=PIECE_BYTES)
        self.coordinator = Coordinator()
        self.now = 0.0
        self.log: list[tuple[float, str, int, str]] = []
        self.readers: dict[PeerId, Reader] = {}
        self.supernode_sent = dict.fromkeys(range(pieces), 0)
        self.origin_read: dict[int, float] = {}
        self.supernode_free_at_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        for number in range(readers):
            have = Bitmap(pieces)
            picker = Picker(have, piece_size=PIECE_BYTES, timeout_s=30.0)
            reader = Reader(a_peer_id(f"{seed} {number}"), number + 1, have, picker)
            self.readers[reader.peer_id] = reader
        for number in range(liars):
            member = self._member(a_peer_id(f"liar {number}"), 1000 + number)
            self.coordinator.peer_came(member)
            self.coordinator.blob_joined(member.peer_id, self.blob, Bitmap.of(pieces, range(pieces)), reading=False)

    @staticmethod
    def _member(peer: PeerId, session: int) -> Member:
        return Member(peer_id=peer, session=session, address=f"10.0.0.1:{session}", location="", version="")

    def after(self, seconds: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), happens))

    def run(self, *, until_s: float = 120.0) -> None:
        while self._events and self._events[0][0] <= until_s:
            self.now, _, happens = heapq.heappop(self._events)
            happens()

    # -- peers come and go ---------------------------------------------------------------------------------------------

    def start(self, reader: Reader, at_s: float) -> None:
        self.after(at_s, lambda: self._join(reader))

    def _join(self, reader: Reader) -> None:
        self.coordinator.peer_came(self._member(reader.peer_id, reader.session))
        reader.picker.supernode_came()
        self._read_on(reader)
        decision = self.coordinator.blob_joined(reader.peer_id, self.blob, reader.have.copy(), reading=True)
        for member in decision.neighbours:
            self._meet(reader, member.peer_id)
        for told in decision.introductions:
            other = next(one for one in self.readers.values() if one.session == told.session)
            self._meet(other, told.newcomer.peer_id)

    def die(self, reader: Reader, at_s: float) -> None:
        def happens() -> None:
            reader.alive = False
            self.after(1.0, lambda: self.coordinator.peer_left(reader.peer_id, reader.session))  # until it is noticed
            for other in self.readers.values():
                if reader.peer_id in other.follows:
                    self.after(self.random.uniform(0.0, 0.5), lambda other=other: self._lose(other, reader))

        self.after(at_s, happens)

    def _lose(self, other: Reader, dead: Reader) -> None:
        other.picker.source_left(dead.peer_id)
        for piece, source in sorted(other.flights, key=str):
            if source == dead.peer_id:
                self._fail(other, piece, source, Fault.LOST)
        self._decide(other)

    def _meet(self, reader: Reader, peer: PeerId) -> None:
        if peer in reader.follows or peer == reader.peer_id:
            return
        reader.follows.add(peer)

        def follow() -> None:
            other = self.readers.get(peer)
            if other is None or not other.alive or not reader.alive:
                return  # nobody answers there
            other.followers.add(reader.peer_id)
            reader.picker.peer_came(peer, other.have.copy())
            self._decide(reader)

        self.after(3 * ROUND_TRIP_S, follow)

    # -- what a peer does ----------------------------------------------------------------------------------------------

    def _read_on(self, reader: Reader) -> None:
        pieces = len(self.blob.grid)
        while reader.at < pieces and reader.at in reader.have:
            reader.at += 1
        if reader.demanded is not None and reader.demanded != reader.at:
            reader.picker.demand_removed(reader.demanded)
            reader.demanded = None
        if reader.at == pieces:
            if reader.finished_s is None:
                reader.finished_s = self.now
            reader.picker.windows_moved(())
        elif reader.demanded is None:
            reader.demanded = PieceIndex(reader.at)
            reader.picker.demand_added(reader.demanded)
            reader.picker.windows_moved([range(reader.at + 1, min(reader.at + 1 + WINDOW, pieces))])
        self._decide(reader)

    def _decide(self, reader: Reader) -> None:
        if not reader.alive:
            return
        for command in reader.picker.next_commands(self.now):
            match command:
                case RequestPiece():
                    self._request(reader, command)
                case CancelRequest(piece, source):
                    reader.flights.discard((piece, source))
        due = reader.picker.next_deadline(self.now)
        if due < NEVER and not self.now < reader.wake_s <= due:
            reader.wake_s = due
            self.after(due - self.now, lambda: self._decide(reader))

    def _request(self, reader: Reader, command: RequestPiece) -> None:
        key = (command.piece, command.source)
        reader.flights.add(key)
        self.log.append((self.now, reader.peer_id, command.piece, str(command.source)))
        took = ROUND_TRIP_S * self.random.uniform(0.5, 1.5)
        if command.source is SUPERNODE:
            self.after(took, lambda: self._supernode_serves(reader, command.piece))
        else:
            self.after(took, lambda: self._peer_serves(reader, command))

    def _supernode_serves(self, reader: Reader, piece: PieceIndex) -> None:
        decision = self.coordinator.piece_asked(reader.peer_id, self.blob, piece, self.now)
        if isinstance(decision, Redirect):
            if (piece, SUPERNODE) in reader.flights:
                reader.flights.discard((piece, SUPERNODE))
                reader.picker.redirected(piece, self.now)
            for member in decision.holders:
                self._meet(reader, member.peer_id)
            self._decide(reader)
            return
        ready_s = self.origin_read.setdefault(piece, self.now + ORIGIN_S)
        begin_s = max(self.now, ready_s, self.supernode_free_at_s)
        self.supernode_free_at_s = begin_s + PIECE_S / SUPERNODE_SPEEDUP
        self.supernode_sent[piece] += 1
        self.after(self.supernode_free_at_s - self.now, lambda: self._arrive(reader, piece, SUPERNODE))

    def _peer_serves(self, reader: Reader, command: RequestPiece) -> None:
        piece, source = command.piece, command.source
        assert source is not None
        other = self.readers[source]
        if not other.alive:
            self.after(command.timeout_s, lambda: self._fail(reader, piece, source, Fault.LOST))
        elif piece not in other.have:
            self._fail(reader, piece, source, Fault.NOT_HELD)
        else:
            other.free_at_s = max(self.now, other.free_at_s) + PIECE_S
            other.sent += 1
            self.after(other.free_at_s - self.now, lambda: self._arrive(reader, piece, source))

    def _fail(self, reader: Reader, piece: int, source: Source, fault: Fault) -> None:
        if (piece, source) in reader.flights:
            reader.flights.discard((piece, source))
            reader.picker.request_failed(PieceIndex(piece), source, fault, self.now)
            self._decide(reader)

    def _arrive(self, reader: Reader, piece: PieceIndex, source: Source) -> None:
        if not reader.alive or (piece, source) not in reader.flights:
            return
        if source is not SUPERNODE and not self.readers[source].alive:
            self._fail(reader, piece, source, Fault.LOST)
            return
        reader.flights.discard((piece, source))
        if reader.have.add(piece):
            if not reader.news:
                self.after(NEWS_S, lambda: self._announce(reader))
            reader.news.append(piece)
        reader.picker.piece_arrived(piece, source, self.now)
        self._read_on(reader)

    def _announce(self, reader: Reader) -> None:
        news, reader.news = [PieceIndex(piece) for piece in reader.news], []
        if not reader.alive:
            return
        self.coordinator.pieces_gained(reader.peer_id, self.blob.id, news)
        for peer in sorted(reader.followers):
            other = self.readers[peer]
            other.picker.peer_gained(reader.peer_id, news)
            self._decide(other)
