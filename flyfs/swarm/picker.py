"""Which piece of one blob to ask from whom, now. Pure.

Demands first, at the source with the shortest expected time; then the windows ahead of readers, in order. A neighbour that
holds the piece goes before the supernode. One flight per piece, unless a demand has waited too long at a peer: then a second
source is asked too, and whoever loses is cancelled.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from flyfs.core.bitmap import Bitmap
from flyfs.core.errors import Corrupt, FlyfsError, ProtocolError, Unanswered
from flyfs.core.grid import MIB
from flyfs.core.ids import PeerId, PieceIndex
from flyfs.core.manifest import Fork

Source: TypeAlias = PeerId | None
"""Whom to ask; None is the supernode."""

SUPERNODE: Source = None


class Fault(Enum):
    """Why a request brought nothing."""

    NOT_HELD = auto()
    """The source does not have the piece (any more); no strike."""
    BUSY = auto()
    """The source asks us to come back later."""
    NO_BUFFER = auto()
    """We have no memory for a prefetch now."""
    LOST = auto()
    """The connection broke, or no answer came in time."""
    REFUSED = auto()
    """The source answered with a failure: its origin is down, its disk is bad."""
    CORRUPT = auto()
    """The bytes or the proof were wrong."""
    CANCELLED = auto()
    """We gave it up ourselves."""


def fault_of(error: FlyfsError) -> Fault:
    """What a failed request says of its source."""
    match error:
        case Fork():
            return Fault.REFUSED  # nobody's fault: two supernodes disagree
        case Corrupt() | ProtocolError():
            return Fault.CORRUPT
        case Unanswered():
            return Fault.LOST
        case _:
            return Fault.REFUSED


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


Command: TypeAlias = RequestPiece | CancelRequest

NEVER = float("inf")

PEER_TIMEOUT_S = (0.5, 10.0)
"""Bounds of the time a peer gets for a piece: three times what is expected of it (research: p2p bounds, 3.6)."""

HEDGE_AFTER_S = 0.3
DEFER_DEMAND_S = 0.5
"""How long a demanded piece waits for the neighbour that the supernode named, before the supernode is asked to serve it."""
DEFER_PREFETCH_S = 1.0
NO_BUFFER_PAUSE_S = 0.02
LEAST_PAUSE_S = 0.05
"""However soon a source wants to be asked again: an answer that costs it nothing must not make us spin."""
_MOST_DOUBLINGS = 10
"""Beyond it every pause has reached its bound, and numbers only grow."""

_OUTSTANDING_PEER_BYTES = 8 * MIB
_OUTSTANDING_SUPERNODE_BYTES = 32 * MIB
_OUTSTANDING_PREFETCH_BYTES = 48 * MIB
_FIRST_PIECE_TIME_S = 0.05


@dataclass(slots=True)
class _SourceState:
    bitmap: Bitmap | None  # None: has, or fetches, everything
    limit: int
    outstanding: int = 0
    failures: int = 0
    blocked_until: float = 0.0
    piece_time_s: float = _FIRST_PIECE_TIME_S

    def leave_alone(self, until: float) -> None:
        """Never for a shorter time than was decided before: an old request that fails late is no good news."""
        self.blocked_until = max(self.blocked_until, until)

    def expected_s(self) -> float:
        return (self.outstanding + 1) * self.piece_time_s


@dataclass(slots=True)
class _Flight:
    source: Source
    started: float
    demand: bool
    hedge_at: float


class Picker:
    """The state of one blob's download on this peer."""

    def __init__(self, have: Bitmap, *, piece_size: int, timeout_s: float) -> None:
        """``have`` is the store's own bitmap, read but never changed here; ``timeout_s`` is what the supernode gets."""
        self._have = have
        self._timeout_s = timeout_s
        self._peer_limit = _slots(_OUTSTANDING_PEER_BYTES, piece_size)
        self._supernode_limit = _slots(_OUTSTANDING_SUPERNODE_BYTES, piece_size)
        self._prefetch_limit = _slots(_OUTSTANDING_PREFETCH_BYTES, piece_size)
        self._sources: dict[Source, _SourceState] = {}
        self._demands: dict[PieceIndex, int] = {}
        self._windows: Sequence[range] = ()
        self._passed: set[PieceIndex] = set()  # of the windows: came, and could not be stored
        self._flights: dict[PieceIndex, list[_Flight]] = {}
        self._not_before: dict[PieceIndex, tuple[float, int]] = {}  # after a refusal: when to try again, and its count
        self._deferred: dict[PieceIndex, float] = {}  # when the supernode named a neighbour for it
        self._not_held: set[PieceIndex] = set()  # a neighbour lost it: who is sent to others for it may be sent there in vain
        self._no_buffer_until = 0.0
        self._cancels: list[CancelRequest] = []

    # -- what readers want -----------------------------------------------------------------------------------------

    def demand_added(self, piece: PieceIndex) -> None:
        """A reader is blocked on ``piece``."""
        self._demands[piece] = self._demands.get(piece, 0) + 1

    def demand_removed(self, piece: PieceIndex) -> None:
        """A reader got it, or gave up."""
        left = self._demands.get(piece, 0) - 1
        if left > 0:
            self._demands[piece] = left
        else:
            self._demands.pop(piece, None)

    def windows_moved(self, windows: Sequence[range]) -> None:
        """The pieces wanted soon, each range in order, the most urgent first."""
        self._windows = windows
        if self._passed:
            self._passed = {piece for piece in self._passed if any(piece in window for window in windows)}

    # -- who has what ----------------------------------------------------------------------------------------------

    def supernode_came(self) -> None:
        """A supernode can be asked; it has, or fetches, every piece."""
        self._sources[SUPERNODE] = _SourceState(None, self._supernode_limit, self._outstanding_at(SUPERNODE))
        self._deferred.clear()

    def peer_came(self, peer: PeerId, bitmap: Bitmap) -> None:
        """A neighbour told what it holds."""
        state = self._sources.get(peer)
        if state is None:
            self._sources[peer] = _SourceState(bitmap, self._peer_limit, self._outstanding_at(peer))
        else:
            state.bitmap = bitmap

    def peer_gained(self, peer: PeerId, pieces: Iterable[PieceIndex]) -> None:
        """A neighbour told of new pieces."""
        state = self._sources.get(peer)
        if state is not None and state.bitmap is not None:
            for piece in pieces:
                state.bitmap.add(piece)

    def source_left(self, source: Source) -> None:
        """A source is gone; its requests fail by themselves, perhaps only after it has come again."""
        self._sources.pop(source, None)

    def _outstanding_at(self, source: Source) -> int:
        return sum(flight.source == source for flights in self._flights.values() for flight in flights)

    # -- how requests end ------------------------------------------------------------------------------------------

    def piece_arrived(self, piece: PieceIndex, source: Source, now: float) -> None:
        """A request brought the piece, and the store has it."""
        for flight in self._flights.pop(piece, []):
            state = self._sources.get(flight.source)
            if state is not None:
                state.outstanding -= 1
            if flight.source != source:
                self._cancels.append(CancelRequest(piece, flight.source))
            elif state is not None:
                state.failures = 0
                took_s = (now - flight.started) / (state.outstanding + 1)
                state.piece_time_s += (took_s - state.piece_time_s) / 8
        self._not_before.pop(piece, None)
        self._deferred.pop(piece, None)
        self._not_held.discard(piece)

    def piece_passed(self, piece: PieceIndex) -> None:
        """A piece that arrived could not be stored: it is not asked for again before a reader is blocked on it."""
        self._passed.add(piece)

    def request_failed(
        self, piece: PieceIndex, source: Source, fault: Fault, now: float, retry_after_s: float | None = None
    ) -> None:
        """A request brought nothing. Does nothing for a request that was cancelled."""
        flight = self._land(piece, source)
        state = self._sources.get(source)
        if flight is None or state is None:
            return
        match fault:
            case Fault.NOT_HELD:
                if state.bitmap is not None:
                    state.bitmap.discard(piece)
                    self._not_held.add(piece)
                    self._deferred.pop(piece, None)
                else:
                    self._put_off(piece, now, retry_after_s)
            case Fault.BUSY:
                state.leave_alone(now + max(retry_after_s or 0.1, LEAST_PAUSE_S))
            case Fault.NO_BUFFER:
                self._no_buffer_until = now + NO_BUFFER_PAUSE_S
            case Fault.REFUSED if source is SUPERNODE:
                self._put_off(piece, now, retry_after_s)
            case Fault.LOST | Fault.REFUSED:  # a peer that refuses is left alone, so that others are asked
                state.failures += 1
                state.leave_alone(now + min(10.0, 0.1 * 2 ** min(state.failures, _MOST_DOUBLINGS)))
            case Fault.CORRUPT:
                state.failures += 1
                pause_s = min(30.0, 2.0 ** min(state.failures, _MOST_DOUBLINGS))
                state.leave_alone(now + pause_s if source is SUPERNODE else NEVER)
            case _:
                pass  # CANCELLED: no fault of the source

    def redirected(self, piece: PieceIndex, now: float) -> None:
        """The supernode says that a neighbour has the piece, or is about to have it."""
        self._land(piece, SUPERNODE)
        if piece not in self._not_held:
            self._deferred[piece] = now

    def _land(self, piece: PieceIndex, source: Source) -> _Flight | None:
        flights = self._flights.get(piece, [])
        for flight in flights:
            if flight.source == source:
                flights.remove(flight)
                if not flights:
                    del self._flights[piece]
                state = self._sources.get(source)
                if state is not None:
                    state.outstanding -= 1
                return flight
        return None

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
        for piece in list(self._demands):
            if piece not in self._have:
                commands.extend(self._begin(piece, now, demand=True))
        if now >= self._no_buffer_until:
            room = self._prefetch_limit - sum(len(flights) for flights in self._flights.values())
            for piece in self._prefetchable():
                if room <= 0 or not self._anybody_free(now):
                    break
                begun = list(self._begin(piece, now, demand=False))
                room -= len(begun)
                commands.extend(begun)
        return commands

    def _prefetchable(self) -> Iterator[PieceIndex]:
        for window in self._windows:
            for index in window:
                piece = PieceIndex(index)
                if piece not in self._have and piece not in self._flights and piece not in self._passed:
                    yield piece

    def _anybody_free(self, now: float) -> bool:
        return any(state.outstanding < state.limit and state.blocked_until <= now for state in self._sources.values())

    def _begin(self, piece: PieceIndex, now: float, *, demand: bool) -> Iterator[RequestPiece]:
        flights = self._flights.get(piece)
        if flights is not None and (len(flights) > 1 or not demand or now < flights[0].hedge_at):
            return
        busy_at = {flight.source for flight in flights or ()}
        found, source = self._choose(piece, now, busy_at, demand=demand)
        if not found:
            return
        state = self._sources[source]
        expected_s = state.expected_s()
        least_s, most_s = PEER_TIMEOUT_S
        timeout_s = self._timeout_s if source is SUPERNODE else min(max(3 * expected_s, least_s), most_s)
        hedge_at = NEVER if source is SUPERNODE else now + max(HEDGE_AFTER_S, 3 * expected_s)
        state.outstanding += 1
        self._flights.setdefault(piece, []).append(_Flight(source, now, demand, hedge_at))
        yield RequestPiece(piece, source, demand, timeout_s, self._ahead(piece))

    def _ahead(self, piece: PieceIndex) -> int:
        """As many as the window that the piece is in, or just before: a stream that goes on moves its window along."""
        for window in self._windows:
            if window.start - len(window) <= piece < window.stop:
                return min(len(window), self._have.length - piece - 1)
        return 0

    def _choose(self, piece: PieceIndex, now: float, busy_at: set[Source], *, demand: bool) -> tuple[bool, Source]:
        """Whether somebody can be asked, and whom: a holding neighbour by the shortest expected time, else the supernode."""
        if self._not_before.get(piece, (0.0, 0))[0] > now:
            return False, None
        held_by_busy_peer = False
        best: tuple[float, str] | None = None
        for source, state in self._sources.items():
            if source is None or state.bitmap is None or source in busy_at or piece not in state.bitmap:
                continue
            if state.blocked_until > now:
                continue
            if state.outstanding >= state.limit:
                held_by_busy_peer = True
                continue
            rank = (state.expected_s(), source)
            if best is None or rank < best:
                best = rank
        if best is not None:
            return True, PeerId(best[1])
        supernode = self._sources.get(SUPERNODE)
        if supernode is None or SUPERNODE in busy_at or supernode.blocked_until > now:
            return False, None
        if not busy_at and self._deferred_until(piece) > now:
            return False, None
        if demand:
            return supernode.outstanding < 2 * supernode.limit, None
        return not held_by_busy_peer and supernode.outstanding < supernode.limit, None

    def _deferred_until(self, piece: PieceIndex) -> float:
        since = self._deferred.get(piece)
        if since is None:
            return 0.0
        return since + (DEFER_DEMAND_S if piece in self._demands else DEFER_PREFETCH_S)

    def next_deadline(self, now: float) -> float:
        """When ``next_commands`` may have something to say although nothing happened; infinity for never."""
        times = [state.blocked_until for state in self._sources.values()]
        times += [flight.hedge_at for piece in self._demands for flight in self._flights.get(piece, ())]
        times += [time for time, _ in self._not_before.values()]
        times += map(self._deferred_until, self._deferred)
        times.append(self._no_buffer_until)
        return min((time for time in times if time > now), default=NEVER)

    def held_by_peer(self, piece: PieceIndex) -> bool:
        """Whether a neighbour that may be asked has the piece, so that the supernode's word is not the last one."""
        return any(
            state.bitmap is not None and piece in state.bitmap and state.blocked_until < NEVER for state in self._sources.values()
        )

    @property
    def idle(self) -> bool:
        """Whether nothing is wanted by a blocked reader and nothing is on its way."""
        return not self._demands and not self._flights


def _slots(budget_bytes: int, piece_size: int) -> int:
    return max(2, min(64, budget_bytes // piece_size))
