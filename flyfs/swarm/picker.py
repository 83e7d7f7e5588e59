"""Which piece of one blob to ask from whom, now. Pure.

Demands first, at the source with the shortest expected time; a neighbour that holds the piece goes before the supernode. Then
what readers will want soon: among few readers in order, from the supernode what no neighbour has; in a crowd as ``mesh`` says.
One flight per piece, unless a demand has waited too long at a peer: then a second source is asked too, and the loser cancelled.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flyfs.core.bitmap import Bitmap
from flyfs.core.grid import MIB
from flyfs.core.ids import PeerId, PieceIndex
from flyfs.core.masks import mask_of
from flyfs.swarm.faults import Fault
from flyfs.swarm.flights import Flight, Flights
from flyfs.swarm.mesh import Mesh
from flyfs.swarm.sources import NEVER, SUPERNODE, Source, Sources, SourceState, slots
from flyfs.swarm.wants import Wants


@dataclass(frozen=True, slots=True)
class RequestPiece:
    """Ask ``source`` for ``piece``."""

    piece: PieceIndex
    source: Source
    demand: bool
    timeout_s: float
    ahead: int
    """How many pieces behind it will be wanted soon, if its reader goes on."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The piece came from elsewhere: give this request up."""

    piece: PieceIndex
    source: Source


@dataclass(frozen=True, slots=True)
class HurryPiece:
    """The supernode was asked for this piece ahead of readers: tell it that one waits by now."""

    piece: PieceIndex


Command: TypeAlias = RequestPiece | CancelRequest | HurryPiece

PEER_TIMEOUT_S = (0.5, 10.0)
"""Bounds of the time a peer gets for a piece: three times what is expected of it (research: p2p bounds, 3.6)."""

HEDGE_AFTER_S = 0.3
CROWD_PATIENCE_S = 2.0
_PATIENCE = 4
"""The least time for both in a crowd, where lines are full by design: so many times what pieces usually take, and never more than
this. What asking twice after 0.3 s wastes makes readers in lock-step 11 % slower."""

HEDGED_SHARE = 20
"""At most one piece of so many is asked for twice, and ``HEDGED_FIRST`` more."""
HEDGED_FIRST = 4

FIRST_TOOK_S = 0.5
"""What a piece is taken to take before some came."""

ENDGAME_PIECES = 3
"""The last ones are hedged although no reader waits."""

DEFER_DEMAND_S = 0.5
"""How long a demanded piece waits for the neighbour that the supernode named, before the supernode is asked to serve it."""
DEFER_PREFETCH_S = 1.0
NO_BUFFER_PAUSE_S = 0.02
REFUSED_PAUSE_S = 0.1
LOST_PAUSE_S = 2.0
"""Half of the first pause after a failure: a neighbour that let a request time out costs that time again each time."""
LONGEST_PAUSE_S = (10.0, 30.0)
"""Of the supernode, without which no new neighbours are named, and of a neighbour."""
LEAST_PAUSE_S = 0.05
"""However soon a source wants to be asked again: an answer that costs it nothing must not make us spin."""
_MOST_DOUBLINGS = 10
"""Beyond it every pause has reached its bound, and numbers only grow."""

_OUTSTANDING_PREFETCH_BYTES = 48 * MIB


class Picker:
    """The state of one blob's download on this peer."""

    def __init__(self, have: Bitmap, *, piece_size: int, timeout_s: float, spread: int = 0) -> None:
        """``have`` is the store's own bitmap, read but never changed here; ``timeout_s`` is what the supernode gets.

        ``spread`` makes peers choose differently among equals.
        """
        self._have = have
        self._timeout_s = timeout_s
        self._prefetch_limit = slots(_OUTSTANDING_PREFETCH_BYTES, piece_size)
        self._sources = Sources(piece_size, spread)
        self._flights = Flights()
        self._wants = Wants(have.length)
        self._mesh = Mesh(self._wants, self._sources, self._flights, spread)
        self._crowded: bool | None = False
        self._not_before: dict[PieceIndex, tuple[float, int]] = {}  # after a refusal: when to try again, and its count
        self._deferred: dict[PieceIndex, float] = {}  # when the supernode named a neighbour for it
        self._not_held: set[PieceIndex] = set()  # a neighbour lost it: who is sent to others for it may be sent there in vain
        self._no_buffer_until = 0.0
        self._cancels: list[CancelRequest] = []
        self._hedges_left = HEDGED_FIRST * HEDGED_SHARE
        self._took_s = FIRST_TOOK_S

    # -- what readers want -----------------------------------------------------------------------------------------

    def demand_added(self, piece: PieceIndex) -> None:
        """A reader is blocked on ``piece``."""
        self._wants.demand_added(piece)

    def demand_removed(self, piece: PieceIndex) -> None:
        """A reader got it, or gave up."""
        self._wants.demand_removed(piece)

    def windows_moved(self, windows: Sequence[range]) -> None:
        """The pieces wanted soon, each range in order, the most urgent first."""
        self._wants.windows_moved(windows)

    def whole_wanted(self, wanted: bool) -> None:
        """Whether every piece is to be had, in whatever order; the windows of readers go before."""
        self._wants.whole = wanted

    # -- who has what ----------------------------------------------------------------------------------------------

    def supernode_came(self) -> None:
        """A supernode can be asked; it has, or fetches, every piece."""
        self._sources.supernode_came(self._flights.outstanding_at(SUPERNODE))
        self._deferred.clear()

    def crowd_told(self, crowded: bool | None, tell_every_s: float = 0.0) -> None:
        """Whether others read the blob; None for not known yet: then the supernode is asked only for what readers wait for.

        ``tell_every_s`` is how often it wants to hear from each reader; the longer, the more there are.
        """
        self._crowded = crowded
        self._mesh.told_to_tell_every(tell_every_s)

    def offered(self, pieces: Iterable[PieceIndex]) -> None:
        """The supernode would send these, of which the crowd has few copies."""
        self._mesh.offered(mask_of(pieces))

    def peer_came(self, peer: PeerId, bitmap: Bitmap, *, far: bool = False) -> None:
        """A neighbour told what it holds; ``far`` for one in another region."""
        self._sources.peer_came(peer, bitmap.mask, self._flights.outstanding_at(peer), far=far)

    def peer_gained(self, peer: PeerId, pieces: Iterable[PieceIndex]) -> None:
        """A neighbour told of new pieces."""
        self._sources.peer_gained(peer, mask_of(pieces))

    def source_left(self, source: Source) -> None:
        """A source is gone; its requests fail by themselves, perhaps only after it has come again."""
        self._sources.left(source)

    # -- how requests end ------------------------------------------------------------------------------------------

    def piece_arrived(self, piece: PieceIndex, source: Source, now: float) -> None:
        """A request brought the piece, and the store has it."""
        for flight in self._flights.end_all(piece):
            state = self._sources.find(flight.source)
            if state is not None:
                state.outstanding -= 1
            if flight.source != source:
                self._cancels.append(CancelRequest(piece, flight.source))
            elif state is not None:
                state.arrived(now - flight.started)
                if source is not SUPERNODE:
                    self._took_s += (now - flight.started - self._took_s) / 8
        self._hedges_left += 1
        self._mesh.piece_arrived(piece, now)
        self._not_before.pop(piece, None)
        self._deferred.pop(piece, None)
        self._not_held.discard(piece)

    def piece_passed(self, piece: PieceIndex) -> None:
        """A piece that arrived could not be stored: it is not asked for again before a reader is blocked on it."""
        self._wants.piece_passed(piece)

    def request_failed(
        self, piece: PieceIndex, source: Source, fault: Fault, now: float, retry_after_s: float | None = None
    ) -> None:
        """A request brought nothing. Does nothing for a request that was cancelled."""
        flight = self._land(piece, source)
        state = self._sources.find(source)
        if flight is None or state is None:
            return
        match fault:
            case Fault.NOT_HELD if source is not SUPERNODE:
                self._sources.peer_lost(state, piece)
                self._not_held.add(piece)
                self._deferred.pop(piece, None)
            case Fault.NOT_HELD:
                self._put_off(piece, now, retry_after_s)
            case Fault.BUSY:
                state.leave_alone(now + max(retry_after_s or 0.1, LEAST_PAUSE_S))
            case Fault.NO_BUFFER:
                self._no_buffer_until = now + NO_BUFFER_PAUSE_S
            case Fault.REFUSED if source is SUPERNODE:
                self._put_off(piece, now, retry_after_s)
            case Fault.LOST | Fault.REFUSED:  # a peer that refuses is left alone, so that others are asked
                state.failures += 1
                first_s = LOST_PAUSE_S if fault is Fault.LOST and source is not SUPERNODE else REFUSED_PAUSE_S
                doubled_s = first_s * 2 ** min(state.failures, _MOST_DOUBLINGS)
                state.leave_alone(now + min(LONGEST_PAUSE_S[source is not SUPERNODE], doubled_s))
            case Fault.CORRUPT:
                state.failures += 1
                pause_s = min(30.0, 2.0 ** min(state.failures, _MOST_DOUBLINGS))
                state.leave_alone(now + pause_s if source is SUPERNODE else NEVER)
            case _:
                pass  # CANCELLED: no fault of the source

    def redirected(self, piece: PieceIndex, now: float) -> None:
        """The supernode says that a neighbour has the piece, or is about to have it."""
        self._land(piece, SUPERNODE)
        self._mesh.withdrawn(piece)
        if piece not in self._not_held:
            self._deferred[piece] = now

    def _land(self, piece: PieceIndex, source: Source) -> Flight | None:
        flight = self._flights.end(piece, source)
        state = self._sources.find(source)
        if flight is not None and state is not None:
            state.outstanding -= 1
        return flight

    def _put_off(self, piece: PieceIndex, now: float, retry_after_s: float | None) -> None:
        _, count = self._not_before.get(piece, (0.0, 0))
        doubled_s = min(2.0, 0.1 * 2 ** min(count, _MOST_DOUBLINGS))
        pause_s = doubled_s if retry_after_s is None else max(retry_after_s, LEAST_PAUSE_S)
        self._not_before[piece] = (now + pause_s, count + 1)

    # -- decisions -------------------------------------------------------------------------------------------------

    def next_commands(self, now: float) -> list[Command]:
        """What to do now; each command counts as begun."""
        commands: list[Command] = list(self._cancels)
        self._cancels.clear()
        commands += [HurryPiece(piece) for piece in self._wants.demands if self._flights.hurried(piece)]
        for piece in [*self._wants.demands, *self._last_ones()]:
            if piece not in self._have:
                commands.extend(self._begin(piece, now, demand=piece in self._wants.demands))
        if now >= self._no_buffer_until and (self._wants.windows or self._wants.whole):
            commands.extend(self._prefetches_in_a_crowd(now) if self._crowded else self._prefetches_in_order(now))
        return commands

    def _last_ones(self) -> list[PieceIndex]:
        """The pieces under way, where only those are lacking and they are few: no reader should have to wait for one of them."""
        lacking = self._have.length - self._have.count
        few = lacking <= ENDGAME_PIECES and self._flights.count < self._prefetch_limit
        if self._wants.whole and few and len(self._flights) == lacking:
            return self._flights.pieces()
        return []

    def _prefetches_in_order(self, now: float) -> list[Command]:
        commands: list[Command] = []
        room = self._prefetch_limit - self._flights.count
        for piece in self._wants.in_order(~(self._have.mask | self._flights.mask)):
            if room <= 0 or not self._anybody_free(now):
                break
            begun = list(self._begin(piece, now, demand=False))
            room -= len(begun)
            commands.extend(begun)
        return commands

    def _prefetches_in_a_crowd(self, now: float) -> list[Command]:
        commands: list[Command] = []

        def ask(piece: PieceIndex, source: Source, state: SourceState) -> None:
            commands.append(self._ask(piece, source, state, now, demand=False))

        put_off = mask_of(piece for piece, (until, _) in self._not_before.items() if until > now)
        lacking = ~(self._have.mask | self._flights.mask | put_off | mask_of(self._wants.demands))
        self._mesh.plan(lacking, self._prefetch_limit, now, ask)
        return commands

    def _anybody_free(self, now: float) -> bool:
        return any(state.free(now) for state in self._sources.all())

    def _begin(self, piece: PieceIndex, now: float, *, demand: bool) -> Iterator[RequestPiece]:
        flights = self._flights.of(piece)
        if flights and (len(flights) > 1 or now < flights[0].hedge_at or self._hedges_left < HEDGED_SHARE):
            return
        busy_at = {flight.source for flight in flights}
        found, source = self._choose(piece, now, busy_at, demand=demand)
        state = self._sources.find(source)
        if not found or state is None:
            return
        if flights:
            self._hedges_left -= HEDGED_SHARE
        yield self._ask(piece, source, state, now, demand=demand)

    def _ask(self, piece: PieceIndex, source: Source, state: SourceState, now: float, *, demand: bool) -> RequestPiece:
        expected_s = state.expected_s()
        least_s, most_s = PEER_TIMEOUT_S
        patience_s = min(CROWD_PATIENCE_S, _PATIENCE * self._took_s) if self._crowded else 0.0
        timeout_s = self._timeout_s if source is SUPERNODE else min(max(3 * expected_s, least_s, patience_s), most_s)
        hedge_at = NEVER if source is SUPERNODE else now + max(3 * expected_s, HEDGE_AFTER_S, patience_s)
        state.outstanding += 1
        self._flights.begin(piece, Flight(source, now, hedge_at, demand))
        return RequestPiece(piece, source, demand, timeout_s, self._wants.ahead(piece))

    def _choose(self, piece: PieceIndex, now: float, busy_at: set[Source], *, demand: bool) -> tuple[bool, Source]:
        """Whether somebody can be asked, and whom: a holding neighbour by the shortest expected time, else the supernode."""
        if self._not_before.get(piece, (0.0, 0))[0] > now:
            return False, None
        held_by_busy_peer = False
        best: tuple[bool, float, int, PeerId] | None = None
        for source, state in self._sources.peers():
            if source in busy_at or not state.pieces >> piece & 1 or state.blocked_until > now:
                continue
            if not state.free(now):
                held_by_busy_peer = True
                continue
            rank = (state.far, state.expected_s(), state.rank, source)
            if best is None or rank < best:
                best = rank
        if best is not None:
            return True, best[-1]
        supernode = self._sources.find(SUPERNODE)
        if supernode is None or SUPERNODE in busy_at or supernode.blocked_until > now:
            return False, None
        if not busy_at and self._deferred_until(piece) > now:
            return False, None
        if demand:
            return supernode.outstanding < 2 * supernode.limit, None
        return self._crowded is not None and not held_by_busy_peer and supernode.outstanding < supernode.ahead_limit, None

    def _deferred_until(self, piece: PieceIndex) -> float:
        since = self._deferred.get(piece)
        if since is None:
            return 0.0
        return since + (DEFER_DEMAND_S if piece in self._wants.demands else DEFER_PREFETCH_S)

    def next_deadline(self, now: float) -> float:
        """When ``next_commands`` may have something to say although nothing happened; infinity for never."""
        times = [state.blocked_until for state in self._sources.all()]
        times += [flight.hedge_at for piece in [*self._wants.demands, *self._last_ones()] for flight in self._flights.of(piece)]
        times += [time for time, _ in self._not_before.values()]
        times += map(self._deferred_until, self._deferred)
        times.append(self._no_buffer_until)
        if self._crowded and (self._wants.windows or self._wants.whole):
            times.append(self._mesh.next_probe())
        return min((time for time in times if time > now), default=NEVER)

    def held_by_peer(self, piece: PieceIndex) -> bool:
        """Whether a neighbour that may be asked has the piece, so that the supernode's word is not the last one."""
        return any(state.pieces >> piece & 1 and state.blocked_until < NEVER for _, state in self._sources.peers())

    @property
    def idle(self) -> bool:
        """Whether nothing is wanted by a blocked reader and nothing is on its way."""
        return not self._wants.demands and not len(self._flights)
