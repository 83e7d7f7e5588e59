"""The picker against every order of events, with a model of what was asked and what sources hold."""

from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flyfs.core.bitmap import Bitmap
from flyfs.core.grid import MIB
from flyfs.core.ids import PeerId, PieceIndex
from flyfs.swarm.faults import Fault
from flyfs.swarm.picker import HEDGE_AFTER_S, CancelRequest, HurryPiece, Picker, RequestPiece
from flyfs.swarm.sources import NEVER, SUPERNODE, Source

PIECES = 10
PEERS = [PeerId(letter * 32) for letter in "abc"]
PEER_LIMIT, SUPERNODE_LIMIT, PREFETCH_LIMIT = 2, 2, 3
PIECE_BYTES = 16 * MIB  # gives these limits

_pieces = st.integers(0, PIECES - 1)
_faults = st.sampled_from([fault for fault in Fault if fault is not Fault.CORRUPT] * 3 + [Fault.CORRUPT])


@dataclass
class Asked:
    piece: int
    source: Source
    at: float
    demand: bool


class PickerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.have = Bitmap(PIECES)
        self.picker = Picker(self.have, piece_size=PIECE_BYTES, timeout_s=30)
        self.now = 0.0
        self.demands: list[int] = []
        self.present: set[Source] = set()
        self.holds: dict[PeerId, set[int]] = {}
        self.condemned: set[Source] = set()
        self.quiet_until: dict[Source, float] = {}
        self.flying: list[Asked] = []
        self.given_up: list[Asked] = []
        self.whole = False
        self.offered: set[int] = set()
        self.crowded: bool | None = False

    # -- what happens --------------------------------------------------------------------------------------------------

    @rule(piece=_pieces)
    def a_reader_waits(self, piece: int) -> None:
        self.demands.append(piece)
        self.picker.demand_added(PieceIndex(piece))
        self.decide()

    @precondition(lambda self: self.demands)
    @rule(at=st.integers(0, 99))
    def a_reader_leaves(self, at: int) -> None:
        self.picker.demand_removed(PieceIndex(self.demands.pop(at % len(self.demands))))
        self.decide()

    @rule(first=_pieces, count=st.integers(0, PIECES), second=_pieces)
    def windows_move(self, first: int, count: int, second: int) -> None:
        self.picker.windows_moved([range(first, min(first + count, PIECES)), range(second, PIECES)])
        self.decide()

    @rule(whole=st.booleans())
    def the_whole_is_wanted_or_not(self, whole: bool) -> None:
        self.whole = whole
        self.picker.whole_wanted(whole)
        self.decide()

    @rule(crowded=st.sampled_from([False, True, True, None]))
    def the_supernode_tells_of_a_crowd(self, crowded: bool | None) -> None:
        self.crowded = crowded
        self.picker.crowd_told(crowded)
        self.decide()

    @rule(pieces=st.sets(_pieces, max_size=4))
    def the_supernode_offers(self, pieces: set[int]) -> None:
        self.offered |= pieces
        self.picker.offered(map(PieceIndex, pieces))
        self.decide()

    @rule()
    def the_supernode_comes(self) -> None:
        self.picker.supernode_came()
        self.present.add(SUPERNODE)
        self.quiet_until.pop(SUPERNODE, None)
        self.decide()

    @rule(peer=st.sampled_from(PEERS), pieces=st.sets(_pieces))
    def a_neighbour_comes(self, peer: PeerId, pieces: set[int]) -> None:
        self.picker.peer_came(peer, Bitmap.of(PIECES, pieces))
        self.present.add(peer)
        self.holds[peer] = set(pieces)
        self.decide()

    @precondition(lambda self: self.holds)
    @rule(at=st.integers(0, 99), pieces=st.sets(_pieces))
    def a_neighbour_gains(self, at: int, pieces: set[int]) -> None:
        peer = sorted(self.holds)[at % len(self.holds)]
        self.picker.peer_gained(peer, map(PieceIndex, pieces))
        self.holds[peer] |= pieces
        self.decide()

    @precondition(lambda self: self.present)
    @rule(at=st.integers(0, 99))
    def a_source_leaves(self, at: int) -> None:
        source = sorted(self.present, key=str)[at % len(self.present)]
        self.picker.source_left(source)
        self.present.discard(source)
        self.condemned.discard(source)
        self.quiet_until.pop(source, None)
        if source is not None:
            del self.holds[source]
        self.decide()

    @precondition(lambda self: self.flying)
    @rule(at=st.integers(0, 99))
    def a_piece_arrives(self, at: int) -> None:
        self.arrive(self.flying[at % len(self.flying)])

    @precondition(lambda self: self.flying)
    @rule(at=st.integers(0, 99), fault=_faults, retry_after_s=st.sampled_from([None, 0.0, 0.2, 5.0]))
    def a_request_fails(self, at: int, fault: Fault, retry_after_s: float | None) -> None:
        asked = self.flying.pop(at % len(self.flying))
        self.picker.request_failed(PieceIndex(asked.piece), asked.source, fault, self.now, retry_after_s)
        if asked.source in self.present:
            if fault is Fault.NOT_HELD and asked.source is not None:
                self.holds[asked.source].discard(asked.piece)
            if fault is Fault.CORRUPT and asked.source is not None:
                self.condemned.add(asked.source)
            if fault is Fault.BUSY:
                until = self.now + (retry_after_s or 0.1)
                self.quiet_until[asked.source] = max(until, self.quiet_until.get(asked.source, 0.0))
            if fault is Fault.LOST:
                self.quiet_until[asked.source] = max(self.now + 0.2, self.quiet_until.get(asked.source, 0.0))
        self.decide()

    @precondition(lambda self: any(one.source is SUPERNODE for one in self.flying))
    @rule()
    def the_supernode_names_a_neighbour(self) -> None:
        asked = next(one for one in self.flying if one.source is SUPERNODE)
        self.flying.remove(asked)
        self.picker.redirected(PieceIndex(asked.piece), self.now)
        self.decide()

    @precondition(lambda self: self.given_up)
    @rule(late=st.booleans())
    def a_request_that_was_given_up_ends(self, late: bool) -> None:
        """Cancelled, or just too late to be: then its piece is told to arrive once more."""
        asked = self.given_up.pop()
        if late:
            self.picker.piece_arrived(PieceIndex(asked.piece), asked.source, self.now)
        else:
            self.picker.request_failed(PieceIndex(asked.piece), asked.source, Fault.CANCELLED, self.now)
        self.decide()

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 12.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.decide()

    @rule()
    def time_passes_until_something_is_due(self) -> None:
        due = self.picker.next_deadline(self.now)
        assert due > self.now
        if due < NEVER:
            self.now = due
            self.decide()

    @rule()
    def everything_goes_well_for_a_while(self) -> None:
        """Liveness: where sources answer, every demanded piece that one of them has arrives."""
        hoped = {piece for piece in self.demands if self.may_come(piece)}
        for _ in range(200):
            while self.flying:
                self.arrive(self.flying[0])
            if hoped <= set(self.have):
                break
            self.now = min(self.picker.next_deadline(self.now), self.now + 100)
            self.decide()
        assert hoped <= set(self.have), "a piece that could be had was never asked for"

    # -- the model -----------------------------------------------------------------------------------------------------

    def may_come(self, piece: int) -> bool:
        held = any(piece in pieces for peer, pieces in self.holds.items() if peer not in self.condemned)
        return SUPERNODE in self.present or held

    def arrive(self, asked: Asked) -> None:
        self.flying.remove(asked)
        self.have.add(asked.piece)
        self.picker.piece_arrived(PieceIndex(asked.piece), asked.source, self.now)
        losers = [one for one in self.flying if one.piece == asked.piece]
        self.flying = [one for one in self.flying if one.piece != asked.piece]
        self.given_up += losers
        cancelled = self.decide()
        assert cancelled == {(one.piece, one.source) for one in losers}

    def decide(self) -> set[tuple[int, Source]]:
        cancelled: set[tuple[int, Source]] = set()
        for command in self.picker.next_commands(self.now):
            match command:
                case RequestPiece():
                    self.check(command)
                    self.flying.append(Asked(command.piece, command.source, self.now, command.demand))
                case CancelRequest(piece, source):
                    cancelled.add((piece, source))
                case HurryPiece(piece):
                    (asked,) = [one for one in self.flying if one.piece == piece and one.source is SUPERNODE]
                    assert not asked.demand
                    assert piece in self.demands
                    asked.demand = True
        assert not self.picker.next_commands(self.now), "all of it was said at once"
        return cancelled

    def check(self, command: RequestPiece) -> None:
        piece, source = command.piece, command.source
        assert piece not in self.have
        assert source in self.present
        assert source not in self.condemned
        assert self.quiet_until.get(source, 0.0) <= self.now
        if source is not None:
            assert piece in self.holds[source]
        others = [one for one in self.flying if one.piece == piece]
        if others:
            (first,) = others
            assert command.demand or self.whole
            assert first.source is not None
            assert first.source != source
            assert self.now - first.at >= HEDGE_AFTER_S - 1e-9
        at_source = sum(one.source == source for one in self.flying)
        assert at_source < (PEER_LIMIT if source else SUPERNODE_LIMIT * (1 + command.demand))
        assert command.demand == (piece in self.demands)
        if not command.demand:
            assert len(self.flying) < PREFETCH_LIMIT
        assert 0 < command.timeout_s <= 30
        assert 0 <= command.ahead <= PIECES - piece - 1

    @invariant()
    def what_is_outstanding_equals_a_recount(self) -> None:
        for source, state in self.picker._sources._states.items():
            assert state.outstanding == sum(one.source == source for one in self.flying)
        assert self.picker.idle == (not self.demands and not self.flying)
        assert set(self.picker._sources._states) == self.present

    @invariant()
    def every_demand_is_on_its_way_or_due_or_in_a_queue(self) -> None:
        for piece in set(self.demands) - set(self.have):
            on_its_way = any(one.piece == piece for one in self.flying)
            due = self.picker.next_deadline(self.now) < NEVER
            queued = any(state.outstanding >= state.limit for state in self.picker._sources.all())
            assert on_its_way or due or queued or not self.may_come(piece)


TestPickerMachine = PickerMachine.TestCase
TestPickerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
