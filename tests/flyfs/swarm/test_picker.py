import pytest

from flyfs.core.bitmap import Bitmap
from flyfs.core.errors import Corrupt, FlyfsError, NotFound, RemoteProtocolError, Unanswered, Unavailable
from flyfs.core.grid import MIB
from flyfs.core.ids import PeerId, PieceIndex
from flyfs.core.manifest import Fork
from flyfs.swarm.faults import Fault, fault_of
from flyfs.swarm.picker import (
    DEFER_DEMAND_S,
    DEFER_PREFETCH_S,
    HEDGE_AFTER_S,
    LEAST_PAUSE_S,
    NO_BUFFER_PAUSE_S,
    CancelRequest,
    Picker,
    RequestPiece,
)
from flyfs.swarm.sources import NEVER, SUPERNODE, Source

ANNE, BERT, CARL = (PeerId(letter * 32) for letter in "abc")
PIECES = 16
TIMEOUT_S = 30.0
BIG_PIECE = 4 * MIB
"""Limits that are easy to reach: 2 at a peer, 8 at the supernode, 12 for prefetches altogether."""


def drawn(text: str) -> Bitmap:
    """``"##.#"``: a bitmap of ``PIECES`` whose start looks like this."""
    return Bitmap.of(PIECES, (at for at, mark in enumerate(text) if mark == "#"))


ALL = "#" * PIECES


class Peer:
    """A picker with its time, asked in short."""

    def __init__(self, have: str = "", *, piece_size: int = MIB, pieces: int = PIECES) -> None:
        self.have = drawn(have) if pieces == PIECES else Bitmap(pieces)
        self.picker = Picker(self.have, piece_size=piece_size, timeout_s=TIMEOUT_S)
        self.now = 100.0

    def demand(self, *pieces: int) -> None:
        for piece in pieces:
            self.picker.demand_added(PieceIndex(piece))

    def knows(self, **peers: str) -> None:
        for name, text in peers.items():
            self.picker.peer_came({"anne": ANNE, "bert": BERT, "carl": CARL}[name], drawn(text))

    def asks(self) -> list[tuple[int, Source]]:
        """What it asks for now, cancelled requests as negative pieces."""
        return [
            (one.piece, one.source) if isinstance(one, RequestPiece) else (-one.piece, one.source)
            for one in self.picker.next_commands(self.now)
        ]

    def fails(self, piece: int, source: Source, fault: Fault, retry_after_s: float | None = None) -> None:
        self.picker.request_failed(PieceIndex(piece), source, fault, self.now, retry_after_s)

    def arrives(self, piece: int, source: Source) -> None:
        self.have.add(piece)
        self.picker.piece_arrived(PieceIndex(piece), source, self.now)

    def due_in(self) -> float:
        return self.picker.next_deadline(self.now) - self.now

    def waits(self, seconds: float) -> "Peer":
        self.now += seconds
        return self


def outstanding_at(peer: Peer, source: Source) -> int:
    state = peer.picker._sources.find(source)
    assert state is not None
    return state.outstanding


def with_supernode(have: str = "", **settings: int) -> Peer:
    peer = Peer(have, **settings)
    peer.picker.supernode_came()
    return peer


# -- whom to ask -------------------------------------------------------------------------------------------------------


def test_nobody_asks_for_anything_where_nobody_reads() -> None:
    peer = with_supernode()

    assert peer.asks() == []
    assert peer.due_in() == NEVER
    assert peer.picker.idle


def test_a_demanded_piece_is_asked_of_a_neighbour_that_holds_it_before_the_supernode() -> None:
    peer = with_supernode()
    peer.knows(anne="#.", bert=".#")
    peer.demand(1)

    assert peer.picker.next_commands(peer.now) == [
        RequestPiece(PieceIndex(1), BERT, demand=True, timeout_s=0.5, ahead=0),
    ]
    assert not peer.picker.idle


def test_the_supernode_is_asked_where_no_neighbour_holds_the_piece() -> None:
    peer = with_supernode()
    peer.knows(anne="#")
    peer.demand(3)

    assert peer.picker.next_commands(peer.now) == [
        RequestPiece(PieceIndex(3), SUPERNODE, demand=True, timeout_s=TIMEOUT_S, ahead=0),
    ]


def test_without_any_source_a_demand_waits_for_one() -> None:
    peer = Peer()
    peer.demand(0)

    assert peer.asks() == []
    assert peer.due_in() == NEVER
    peer.knows(anne="#")
    assert peer.asks() == [(0, ANNE)]


def test_what_is_held_is_not_asked_for() -> None:
    peer = with_supernode("##")
    peer.demand(0, 1, 2)

    assert peer.asks() == [(2, SUPERNODE)]


def test_a_piece_is_asked_for_once_however_many_readers_wait() -> None:
    peer = with_supernode()
    peer.demand(0, 0)

    assert peer.asks() == [(0, SUPERNODE)]
    peer.picker.demand_removed(PieceIndex(0))
    assert peer.asks() == []
    peer.fails(0, SUPERNODE, Fault.LOST)
    assert peer.waits(60).asks() == [(0, SUPERNODE)], "one reader still waits"


def test_a_reader_that_gave_up_is_not_asked_for() -> None:
    peer = with_supernode()
    peer.demand(0)
    peer.picker.demand_removed(PieceIndex(0))
    peer.picker.demand_removed(PieceIndex(5))

    assert peer.asks() == []
    assert peer.picker.idle


def test_load_goes_where_the_expected_time_is_shortest() -> None:
    peer = Peer()
    peer.knows(anne=ALL, bert=ALL)
    peer.demand(0, 1, 2, 3)

    assert peer.asks() == [(0, ANNE), (1, BERT), (2, ANNE), (3, BERT)]


def test_a_peer_that_proved_fast_gets_more() -> None:
    peer = Peer()
    peer.knows(anne=ALL, bert=ALL)
    for piece in range(6):
        peer.demand(piece)
        peer.asks()
        peer.waits(0.001 if (piece, BERT) in [(at, BERT) for at in range(6)] else 0)
        source = peer.picker._flights.of(PieceIndex(piece))[0].source
        peer.waits(0.4 if source == ANNE else 0.001)
        peer.arrives(piece, source)
    peer.demand(10, 11)

    assert peer.asks() == [(10, BERT), (11, BERT)]


def test_a_demand_goes_to_the_supernode_where_the_neighbour_is_at_its_limit_but_a_prefetch_waits_for_the_neighbour() -> None:
    peer = with_supernode(piece_size=BIG_PIECE)
    peer.knows(anne=ALL)
    peer.demand(0, 1, 2)
    peer.picker.windows_moved([range(3, 4)])

    assert peer.asks() == [(0, ANNE), (1, ANNE), (2, SUPERNODE)]
    peer.arrives(0, ANNE)
    assert peer.asks() == [(3, ANNE)]


def test_demands_may_use_twice_the_supernodes_limit_and_prefetches_once() -> None:
    peer = with_supernode(piece_size=16 * MIB)
    peer.picker.windows_moved([range(16)])

    assert peer.asks() == [(0, SUPERNODE), (1, SUPERNODE)]
    peer.demand(10, 11, 12)
    assert peer.asks() == [(10, SUPERNODE), (11, SUPERNODE)]


def test_windows_are_fetched_in_order_and_within_the_budget_for_prefetches() -> None:
    peer = with_supernode(piece_size=BIG_PIECE)
    peer.knows(anne=ALL, bert=ALL)
    peer.picker.windows_moved([range(8, 12), range(16)])

    assert peer.asks() == [(8, ANNE), (9, BERT), (10, ANNE), (11, BERT)]
    assert peer.asks() == []
    for piece, source in ((8, ANNE), (9, BERT), (10, ANNE), (11, BERT)):
        peer.arrives(piece, source)
    assert [piece for piece, _ in peer.asks()] == [0, 1, 2, 3]


def test_prefetches_never_take_more_than_their_budget() -> None:
    peer = with_supernode(piece_size=BIG_PIECE)
    for letter in "abcdef12":
        peer.picker.peer_came(PeerId(letter * 32), drawn(ALL))
    peer.picker.windows_moved([range(PIECES)])

    assert len(peer.asks()) == 12


def test_a_request_tells_how_far_its_reader_will_probably_go_on() -> None:
    peer = with_supernode()
    peer.picker.windows_moved([range(4, 8)])
    peer.demand(3, 0, 15)

    told = {one.piece: one.ahead for one in peer.picker.next_commands(peer.now) if isinstance(one, RequestPiece)}
    assert told == {3: 4, 0: 4, 15: 0, 4: 4}
    peer = with_supernode()
    peer.picker.windows_moved([range(12, 16)])
    peer.demand(14)
    assert next(one.ahead for one in peer.picker.next_commands(peer.now) if isinstance(one, RequestPiece)) == 1


# -- asking twice ------------------------------------------------------------------------------------------------------


def test_a_demand_that_waits_too_long_at_a_peer_is_asked_of_a_second_source_and_the_loser_is_cancelled() -> None:
    peer = with_supernode()
    peer.knows(anne="#", bert="#")
    peer.demand(0)
    assert peer.asks() == [(0, ANNE)]
    assert peer.due_in() == pytest.approx(HEDGE_AFTER_S)
    assert peer.waits(HEDGE_AFTER_S - 0.01).asks() == []

    assert peer.waits(0.01).asks() == [(0, BERT)]
    assert peer.waits(9).asks() == [], "never a third"
    peer.arrives(0, BERT)

    assert peer.picker.next_commands(peer.now) == [CancelRequest(PieceIndex(0), ANNE)]
    peer.fails(0, ANNE, Fault.CANCELLED)
    peer.picker.demand_removed(PieceIndex(0))
    assert peer.picker.idle


def test_a_prefetch_that_is_slow_is_asked_twice_only_once_a_reader_waits() -> None:
    peer = with_supernode()
    peer.knows(anne="#")
    peer.picker.windows_moved([range(1)])
    assert peer.asks() == [(0, ANNE)]
    assert peer.waits(HEDGE_AFTER_S).asks() == []
    assert peer.due_in() == NEVER

    peer.demand(0)
    assert peer.asks() == [(0, SUPERNODE)]


def test_a_supernode_that_takes_long_is_not_asked_around() -> None:
    peer = with_supernode()
    peer.demand(0)
    assert peer.asks() == [(0, SUPERNODE)]
    peer.knows(anne="#")

    assert peer.waits(20).asks() == []


def test_the_second_of_a_pair_may_fail_and_another_one_is_asked() -> None:
    peer = with_supernode()
    peer.knows(anne="#", bert="#")
    peer.demand(0)
    assert peer.asks() == [(0, ANNE)]
    assert peer.waits(1).asks() == [(0, BERT)]
    peer.fails(0, BERT, Fault.LOST)

    assert peer.asks() == [(0, SUPERNODE)]


def test_both_of_a_pair_may_fail_and_the_piece_is_asked_for_again() -> None:
    peer = with_supernode()
    peer.knows(anne="#")
    peer.demand(0)
    peer.asks()
    peer.waits(1).asks()

    peer.fails(0, ANNE, Fault.LOST)
    assert peer.asks() == []
    peer.fails(0, SUPERNODE, Fault.REFUSED, 0.1)
    assert peer.asks() == []
    assert peer.waits(peer.due_in()).asks() == [(0, SUPERNODE)]


# -- how requests end --------------------------------------------------------------------------------------------------


def test_a_neighbour_that_does_not_hold_the_piece_is_not_asked_for_it_again_but_for_others() -> None:
    peer = with_supernode()
    peer.knows(anne="##")
    peer.demand(0)
    peer.asks()
    peer.fails(0, ANNE, Fault.NOT_HELD)
    peer.demand(1)

    assert peer.asks() == [(0, SUPERNODE), (1, ANNE)]
    assert not peer.picker.held_by_peer(PieceIndex(0))


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.NOT_HELD])
def test_a_supernode_that_cannot_is_asked_again_after_growing_pauses(fault: Fault) -> None:
    peer = with_supernode()
    peer.demand(0)
    pauses = []
    for _ in range(8):
        assert peer.asks() == [(0, SUPERNODE)]
        peer.fails(0, SUPERNODE, fault)
        pauses.append(peer.due_in())
        peer.waits(peer.due_in())

    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2])


def test_a_supernode_says_itself_when_to_come_back_but_never_makes_us_spin() -> None:
    peer = with_supernode()
    peer.demand(0)
    peer.asks()
    peer.fails(0, SUPERNODE, Fault.REFUSED, 1.5)
    assert peer.due_in() == pytest.approx(1.5)
    assert peer.waits(1.5).asks() == [(0, SUPERNODE)]

    peer.fails(0, SUPERNODE, Fault.REFUSED, 0.0)
    assert peer.due_in() == pytest.approx(LEAST_PAUSE_S)


def test_one_piece_that_is_refused_holds_up_no_other() -> None:
    peer = with_supernode()
    peer.demand(0)
    peer.asks()
    peer.fails(0, SUPERNODE, Fault.REFUSED, 10)
    peer.demand(1)

    assert peer.asks() == [(1, SUPERNODE)]


def test_a_neighbour_that_refuses_is_left_alone_and_the_supernode_serves() -> None:
    peer = with_supernode()
    peer.knows(anne="##")
    peer.demand(0)
    peer.asks()
    peer.fails(0, ANNE, Fault.REFUSED)

    assert peer.asks() == [(0, SUPERNODE)]
    peer.demand(1)
    assert peer.waits(0.2).asks() == [(1, ANNE)], "and comes back"


@pytest.mark.parametrize(("told_s", "pause_s"), [(0.5, 0.5), (None, 0.1), (0.0, 0.1), (1e-9, LEAST_PAUSE_S)])
def test_a_busy_source_is_left_alone_for_as_long_as_it_says(told_s: float | None, pause_s: float) -> None:
    peer = Peer()
    peer.knows(anne="##")
    peer.demand(0)
    peer.asks()
    peer.fails(0, ANNE, Fault.BUSY, told_s)

    assert peer.asks() == []
    assert peer.due_in() == pytest.approx(pause_s)
    assert peer.waits(pause_s + 1e-6).asks() == [(0, ANNE)]


def test_without_a_buffer_prefetches_pause_and_demands_do_not() -> None:
    peer = with_supernode()
    peer.picker.windows_moved([range(2)])
    assert len(peer.asks()) == 2
    peer.fails(0, SUPERNODE, Fault.NO_BUFFER)
    peer.demand(5)

    assert peer.asks() == [(5, SUPERNODE)]
    assert peer.due_in() == pytest.approx(NO_BUFFER_PAUSE_S)
    assert peer.waits(NO_BUFFER_PAUSE_S + 1e-6).asks() == [(0, SUPERNODE)]


@pytest.mark.parametrize(
    ("source", "fault", "pauses"),
    [
        (ANNE, Fault.LOST, [4, 8, 16, 30, 30]),
        (ANNE, Fault.REFUSED, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]),
        (SUPERNODE, Fault.LOST, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]),
        (SUPERNODE, Fault.CORRUPT, [2, 4, 8, 16, 30, 30]),
    ],
)
def test_a_source_that_fails_is_left_alone_longer_each_time_and_comes_back(
    source: Source, fault: Fault, pauses: list[float]
) -> None:
    peer = Peer() if source else with_supernode()
    if source:
        peer.knows(anne="#")
    peer.demand(0)
    seen = []
    for _ in pauses:
        assert peer.asks() == [(0, source)]
        peer.fails(0, source, fault)
        assert peer.asks() == []
        seen.append(peer.due_in())
        peer.waits(peer.due_in() + 1e-6)

    assert seen == pytest.approx(pauses)


def test_a_piece_that_arrives_forgives_its_source() -> None:
    peer = Peer()
    peer.knows(anne=ALL)
    peer.demand(0, 1)
    for _ in range(5):
        peer.asks()
        peer.fails(0, ANNE, Fault.LOST)
        peer.waits(40)
    peer.asks()
    peer.arrives(1, ANNE)
    peer.fails(0, ANNE, Fault.LOST)

    assert peer.due_in() == pytest.approx(4.0)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.CORRUPT, Fault.REFUSED, Fault.NOT_HELD])
def test_a_supernode_may_fail_for_days_without_any_number_overflowing(fault: Fault) -> None:
    peer = with_supernode()
    peer.demand(0)
    for _ in range(1100):
        assert peer.asks() == [(0, SUPERNODE)]
        peer.fails(0, SUPERNODE, fault)
        peer.waits(31)


def test_a_neighbour_that_sent_wrong_bytes_is_not_asked_any_more_until_it_is_met_again() -> None:
    peer = with_supernode()
    peer.knows(anne=ALL)
    peer.demand(0, 1)
    peer.asks()
    peer.fails(0, ANNE, Fault.CORRUPT)

    assert peer.asks() == [(0, SUPERNODE)]
    peer.fails(1, ANNE, Fault.LOST)
    assert peer.waits(1e6).asks() == [(1, SUPERNODE)]
    assert not peer.picker.held_by_peer(PieceIndex(2)), "what it says it has is nobody's hope"
    peer.picker.source_left(ANNE)
    peer.knows(anne=ALL)
    peer.demand(2)
    assert peer.asks() == [(2, ANNE)]


def test_a_request_that_we_gave_up_is_no_strike() -> None:
    peer = Peer()
    peer.knows(anne="#")
    peer.demand(0)
    peer.asks()
    peer.fails(0, ANNE, Fault.CANCELLED)

    assert peer.asks() == [(0, ANNE)]


def test_news_of_requests_that_nobody_remembers_change_nothing() -> None:
    peer = with_supernode()
    peer.knows(anne="#")
    for fault in Fault:
        peer.fails(0, ANNE, fault)
        peer.fails(0, SUPERNODE, fault)
        peer.fails(0, CARL, fault)
    peer.picker.peer_gained(CARL, [PieceIndex(0)])
    peer.picker.piece_arrived(PieceIndex(3), CARL, peer.now)
    peer.demand(0)

    assert peer.asks() == [(0, ANNE)]


# -- redirects ---------------------------------------------------------------------------------------------------------


def test_after_a_redirect_a_demand_waits_a_moment_for_the_neighbour_and_then_comes_back() -> None:
    peer = with_supernode()
    peer.demand(0)
    peer.asks()
    peer.picker.redirected(PieceIndex(0), peer.now)

    assert peer.asks() == []
    assert peer.due_in() == pytest.approx(DEFER_DEMAND_S)
    assert peer.waits(DEFER_DEMAND_S).asks() == [(0, SUPERNODE)]


def test_a_neighbour_that_is_met_in_time_is_asked_at_once() -> None:
    peer = with_supernode()
    peer.demand(0)
    peer.asks()
    peer.picker.redirected(PieceIndex(0), peer.now)
    peer.knows(bert="")
    assert peer.asks() == []

    peer.picker.peer_gained(BERT, [PieceIndex(0)])
    assert peer.asks() == [(0, BERT)]


def test_a_prefetch_waits_longer_for_the_neighbour_than_a_reader_does() -> None:
    peer = with_supernode()
    peer.picker.windows_moved([range(1)])
    peer.asks()
    peer.picker.redirected(PieceIndex(0), peer.now)
    assert peer.due_in() == pytest.approx(DEFER_PREFETCH_S)

    assert peer.waits(DEFER_DEMAND_S).asks() == []
    peer.demand(0)
    assert peer.asks() == [(0, SUPERNODE)]


def test_a_new_session_ends_all_waiting_for_neighbours() -> None:
    peer = with_supernode()
    peer.demand(0)
    peer.asks()
    peer.picker.redirected(PieceIndex(0), peer.now)
    peer.picker.source_left(SUPERNODE)
    peer.picker.supernode_came()

    assert peer.asks() == [(0, SUPERNODE)]


def test_a_slow_neighbour_is_asked_around_even_though_the_supernode_had_named_it() -> None:
    peer = with_supernode()
    peer.demand(0)
    peer.asks()
    peer.picker.redirected(PieceIndex(0), peer.now)
    peer.knows(anne="#")
    assert peer.asks() == [(0, ANNE)]
    peer.picker._deferred[PieceIndex(0)] = peer.now + 10

    assert peer.waits(1).asks() == [(0, SUPERNODE)]


# -- sources come and go -----------------------------------------------------------------------------------------------


def test_requests_to_a_source_that_left_fail_by_themselves_and_are_made_elsewhere() -> None:
    peer = with_supernode()
    peer.knows(anne="#")
    peer.demand(0)
    assert peer.asks() == [(0, ANNE)]
    peer.picker.source_left(ANNE)
    assert peer.asks() == []
    peer.fails(0, ANNE, Fault.LOST)

    assert peer.asks() == [(0, SUPERNODE)]


def test_a_piece_may_still_arrive_from_a_source_that_left() -> None:
    peer = with_supernode()
    peer.demand(0)
    peer.asks()
    peer.picker.source_left(SUPERNODE)
    peer.arrives(0, SUPERNODE)
    peer.picker.demand_removed(PieceIndex(0))

    assert peer.picker.idle
    assert peer.asks() == []


@pytest.mark.parametrize("source", [ANNE, SUPERNODE])
def test_a_source_that_comes_again_still_owes_what_was_asked_of_it_before(source: Source) -> None:
    peer = with_supernode(piece_size=16 * MIB)
    if source:
        peer.knows(anne=ALL)
    peer.demand(0, 1)
    assert peer.asks() == [(0, source), (1, source)]

    peer.picker.source_left(source)
    if source:
        peer.knows(anne=ALL)
    else:
        peer.picker.supernode_came()
    assert outstanding_at(peer, source) == 2
    peer.arrives(0, source)
    peer.fails(1, source, Fault.CANCELLED)
    assert outstanding_at(peer, source) == 0


def test_a_neighbour_that_tells_its_pieces_anew_keeps_its_record() -> None:
    peer = Peer()
    peer.knows(anne="#")
    peer.demand(0)
    peer.asks()
    peer.fails(0, ANNE, Fault.BUSY, 5)
    peer.knows(anne="##")
    peer.demand(1)

    assert peer.asks() == []
    assert peer.waits(5).asks() == [(0, ANNE), (1, ANNE)]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (Fork("two digests"), Fault.REFUSED),
        (Corrupt("wrong bytes"), Fault.CORRUPT),
        (RemoteProtocolError("nonsense"), Fault.CORRUPT),
        (Unanswered("gone"), Fault.LOST),
        (Unavailable("later"), Fault.REFUSED),
        (NotFound("404"), Fault.REFUSED),
    ],
)
def test_what_an_error_says_of_its_source(error: FlyfsError, fault: Fault) -> None:
    assert fault_of(error) is fault


# -- pieces that cannot be kept ----------------------------------------------------------------------------------------


def test_a_prefetched_piece_that_could_not_be_kept_is_not_asked_for_before_somebody_needs_it() -> None:
    peer = with_supernode()
    peer.picker.windows_moved([range(3)])
    assert peer.asks() == [(0, SUPERNODE), (1, SUPERNODE), (2, SUPERNODE)]
    for piece in range(3):
        peer.picker.piece_passed(PieceIndex(piece))
        peer.picker.piece_arrived(PieceIndex(piece), SUPERNODE, peer.now)

    assert peer.asks() == []
    peer.picker.windows_moved([range(1, 4)])
    assert peer.asks() == [(3, SUPERNODE)]
    peer.demand(1)
    assert peer.asks() == [(1, SUPERNODE)]
    peer.picker.windows_moved([range(5, 6)])
    peer.picker.windows_moved([range(2, 3)])
    assert peer.asks() == [(2, SUPERNODE)], "who comes back later wants it again"


def test_a_piece_that_a_neighbour_lost_is_not_waited_for_where_the_supernode_sends_us() -> None:
    peer = with_supernode()
    peer.knows(anne="#")
    peer.demand(0)
    assert peer.asks() == [(0, ANNE)]
    peer.fails(0, ANNE, Fault.NOT_HELD)
    assert peer.asks() == [(0, SUPERNODE)]
    peer.picker.redirected(PieceIndex(0), peer.now)
    assert peer.asks() == [(0, SUPERNODE)], "it does not know yet that anne lost it"
    peer.arrives(0, SUPERNODE)

    peer.demand(1)
    assert peer.asks() == [(1, SUPERNODE)]
    peer.picker.redirected(PieceIndex(1), peer.now)
    assert peer.asks() == []


def test_a_neighbour_that_lost_the_piece_it_was_named_for_ends_the_wait_for_it() -> None:
    peer = with_supernode()
    peer.demand(0)
    assert peer.asks() == [(0, SUPERNODE)]
    peer.picker.redirected(PieceIndex(0), peer.now)
    peer.knows(anne="#")
    assert peer.asks() == [(0, ANNE)]
    peer.fails(0, ANNE, Fault.NOT_HELD)

    assert peer.asks() == [(0, SUPERNODE)]
