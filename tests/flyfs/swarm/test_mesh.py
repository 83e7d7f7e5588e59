"""The picker in a crowd: what it fetches ahead, from whom, and when it asks the supernode."""

import pytest

from flyfs.core.bitmap import Bitmap
from flyfs.core.grid import MIB
from flyfs.core.ids import PeerId, PieceIndex
from flyfs.swarm.faults import Fault
from flyfs.swarm.mesh import PROBE_AFTER_S, SOURCES_AT_ONCE, URGENT_FLIGHTS
from flyfs.swarm.picker import CROWD_PATIENCE_S, ENDGAME_PIECES, FIRST_TOOK_S, HurryPiece, Picker, RequestPiece
from flyfs.swarm.sources import QUICK_S, SLOW_S, SUPERNODE, Depth, Source

PIECES = 200
PEERS = [PeerId(letter * 32) for letter in "abcdef012345"]
ANNE, BERT = PEERS[:2]


class Reader:
    """A picker in a crowd, with its time."""

    def __init__(self, *, have: range = range(0), whole: bool = False, window: range | None = None) -> None:
        self.have = Bitmap.of(PIECES, have)
        self.picker = Picker(self.have, piece_size=MIB, timeout_s=30.0, spread=7)
        self.picker.supernode_came()
        self.picker.crowd_told(True, 3.5)
        self.picker.whole_wanted(whole)
        self.picker.windows_moved([window] if window else [])
        self.now = 100.0

    def knows(self, peer: PeerId, pieces: range | list[int], *, far: bool = False) -> None:
        self.picker.peer_came(peer, Bitmap.of(PIECES, pieces), far=far)

    def asks(self) -> list[tuple[int, Source]]:
        return [(one.piece, one.source) for one in self.picker.next_commands(self.now) if isinstance(one, RequestPiece)]

    def under_way(self) -> list[tuple[int, Source]]:
        flights = self.picker._flights
        return [(piece, flight.source) for piece in flights.pieces() for flight in flights.of(piece)]

    def arrives(self, piece: int, source: Source, after_s: float = 0.1) -> None:
        self.now += after_s
        self.have.add(piece)
        self.picker.piece_arrived(PieceIndex(piece), source, self.now)

    def warmed_up(self) -> "Reader":
        """Some pieces came, so that it uses as many sources at once as it ever does."""
        for piece in range(PIECES - 8, PIECES):
            self.picker.demand_added(PieceIndex(piece))
            for asked, source in self.asks():
                self.arrives(asked, source, 0.01)
            self.picker.demand_removed(PieceIndex(piece))
        return self


def test_the_supernode_is_not_asked_for_what_nobody_waits_for() -> None:
    reader = Reader(whole=True)
    assert reader.asks() == []

    reader.picker.demand_added(PieceIndex(5))
    assert reader.asks() == [(5, SUPERNODE)]


def test_what_the_supernode_offers_is_asked_of_it_once() -> None:
    reader = Reader(whole=True, have=range(2))
    reader.picker.offered(map(PieceIndex, [1, 7, 9]))

    assert reader.asks() == [(7, SUPERNODE), (9, SUPERNODE)]
    reader.arrives(7, SUPERNODE)
    reader.picker.redirected(PieceIndex(9), reader.now)
    assert reader.asks() == []


def test_before_it_is_known_whether_there_is_a_crowd_only_readers_pieces_are_asked_for() -> None:
    reader = Reader(whole=True)
    reader.picker.crowd_told(None)
    reader.picker.demand_added(PieceIndex(5))
    assert reader.asks() == [(5, SUPERNODE)]

    reader.picker.crowd_told(False)
    assert len(reader.asks()) == 3, "a few at first: others may come"


def test_one_source_at_first_and_one_more_with_each_piece() -> None:
    reader = Reader(whole=True)
    for peer in PEERS:
        reader.knows(peer, range(PIECES))
    sources = []
    for _ in range(6):
        asked = reader.asks()
        sources.append(len({source for _, source in asked} | {source for _, source in reader.under_way()}))
        piece, source = asked[0] if asked else next(iter(reader.under_way()))
        reader.arrives(piece, source)

    assert sources == [1, 2, 3, 4, 4, 4]


def test_the_rarest_pieces_come_first_from_the_source_that_has_least_to_do() -> None:
    reader = Reader(window=range(4)).warmed_up()
    reader.knows(ANNE, [0, 1, 2, 3])
    reader.knows(BERT, [0, 1, 2])
    reader.picker.windows_moved([range(4)])

    asked = reader.asks()
    assert asked[0][0] == 0, "what the reader gets to next goes before"
    assert asked[1] == (3, ANNE)


def test_some_requests_are_for_what_the_reader_gets_to_next() -> None:
    reader = Reader().warmed_up()
    for at, peer in enumerate(PEERS[:SOURCES_AT_ONCE]):
        reader.knows(peer, [*range(16), 40 + at])
    reader.picker.windows_moved([range(64)])

    asked = [piece for piece, _ in reader.asks()]
    assert asked[:URGENT_FLIGHTS] == [0, 1, 2]
    assert set(asked[URGENT_FLIGHTS:]) >= {40, 41, 42, 43}


def test_few_sources_are_used_at_once_and_who_is_served_stays() -> None:
    reader = Reader(whole=True).warmed_up()
    for peer in PEERS:
        reader.knows(peer, range(150))

    asked = reader.asks()
    assert len({source for _, source in asked}) == SOURCES_AT_ONCE
    assert len(asked) == 2 * SOURCES_AT_ONCE, "one that is sent and one behind it"
    piece, source = asked[0]
    reader.arrives(piece, source)
    assert [one for _, one in reader.asks()] == [source]


def test_a_busy_source_is_replaced_at_once() -> None:
    reader = Reader(whole=True)
    reader.knows(ANNE, range(10))
    ((piece, source), *_) = reader.asks()
    reader.knows(BERT, range(10))
    reader.picker.request_failed(PieceIndex(piece), source, Fault.BUSY, reader.now, 0.05)
    for piece, _ in list(reader.under_way()):
        reader.picker.request_failed(PieceIndex(piece), source, Fault.BUSY, reader.now, 0.05)

    assert {one for _, one in reader.asks()} == {BERT}


def test_nearer_neighbours_go_first_and_what_they_hold_is_not_fetched_from_afar() -> None:
    reader = Reader(whole=True).warmed_up()
    reader.knows(ANNE, range(4), far=False)
    reader.knows(BERT, range(8), far=True)

    asked = reader.asks()
    assert {piece for piece, source in asked if source == ANNE} <= set(range(4))
    assert {piece for piece, source in asked if source == BERT} <= set(range(4, 8))
    assert {source for _, source in asked} == {ANNE, BERT}


def test_when_nothing_comes_the_supernode_is_asked_for_what_no_neighbour_has() -> None:
    reader = Reader(window=range(1, 5))
    assert reader.asks() == []
    assert reader.picker.next_deadline(reader.now) == reader.now + PROBE_AFTER_S[1]

    reader.now += PROBE_AFTER_S[1]
    assert reader.asks() == [(1, SUPERNODE)]
    reader.picker.redirected(PieceIndex(1), reader.now)
    assert reader.asks() == []
    reader.now += PROBE_AFTER_S[1]
    reader.knows(ANNE, [1])
    assert reader.asks() == [(1, ANNE)]
    reader.now += 2 * PROBE_AFTER_S[1]
    assert reader.asks() == [], "something is on its way"


def test_probes_grow_rare_until_something_comes() -> None:
    reader = Reader(window=range(1, 9))
    reader.asks()
    pauses = []
    for _ in range(6):
        due = reader.picker.next_deadline(reader.now)
        pauses.append(round(due - reader.now, 3))
        reader.now = due
        for piece, source in reader.asks():
            reader.picker.request_failed(PieceIndex(piece), source, Fault.CANCELLED, reader.now)
    assert pauses == [0.5, 0.5, 1.0, 2.0, 4.0, 4.0]

    reader.arrives(199, SUPERNODE)
    assert reader.picker.next_deadline(reader.now) > reader.now + 3, "nobody wanted that one"
    reader.arrives(20, SUPERNODE)
    assert reader.picker.next_deadline(reader.now) == reader.now + PROBE_AFTER_S[1]


def test_the_fewer_are_in_the_crowd_the_sooner_the_supernode_is_asked() -> None:
    reader = Reader(window=range(1, 100))
    reader.picker.crowd_told(True, 0.25)
    reader.asks()
    assert reader.picker.next_deadline(reader.now) == pytest.approx(reader.now + 0.05)

    reader = Reader(window=range(1, 100))
    reader.picker.crowd_told(True, 0.0)
    reader.asks()
    assert reader.picker.next_deadline(reader.now) == pytest.approx(reader.now + PROBE_AFTER_S[0])


def test_bulk_probes_for_different_pieces() -> None:
    probed = set()
    for spread in range(20):
        reader = Reader(whole=True)
        reader.picker._mesh._spread = spread
        reader.asks()
        reader.now += PROBE_AFTER_S[1]
        probed |= set(reader.asks())

    assert len(probed) > 10


def test_what_could_not_be_had_from_the_supernode_is_put_off() -> None:
    reader = Reader(whole=True)
    reader.picker.offered([PieceIndex(3)])
    assert reader.asks() == [(3, SUPERNODE)]
    reader.picker.request_failed(PieceIndex(3), SUPERNODE, Fault.REFUSED, reader.now, 2.0)
    assert reader.asks() == []

    reader.now += 2.0
    assert reader.asks() == [(3, SUPERNODE)]


def test_without_a_supernode_neighbours_are_asked_all_the_same() -> None:
    reader = Reader(whole=True)
    reader.picker.source_left(SUPERNODE)
    reader.knows(ANNE, range(3))

    assert {source for _, source in reader.asks()} == {ANNE}


def test_offers_wait_while_the_supernode_is_left_alone() -> None:
    reader = Reader(whole=True)
    reader.picker.offered([PieceIndex(3), PieceIndex(4)])
    reader.picker.demand_added(PieceIndex(9))
    assert (9, SUPERNODE) in reader.asks()
    reader.picker.request_failed(PieceIndex(9), SUPERNODE, Fault.LOST, reader.now)
    for piece in (3, 4):
        reader.picker.request_failed(PieceIndex(piece), SUPERNODE, Fault.CANCELLED, reader.now)

    assert reader.asks() == []
    reader.now += 1.0
    assert set(reader.asks()) == {(3, SUPERNODE), (4, SUPERNODE), (9, SUPERNODE)}


def test_a_crowds_lines_are_full_so_nobody_is_asked_around_soon() -> None:
    reader = Reader()
    reader.knows(ANNE, [0])
    reader.knows(BERT, [0])
    reader.picker.demand_added(PieceIndex(0))
    ((_, first),) = reader.asks()

    patience_s = 4 * FIRST_TOOK_S
    assert patience_s == CROWD_PATIENCE_S
    reader.now += patience_s - 0.1
    assert reader.asks() == []
    reader.now += 0.1
    assert reader.asks() == [(0, BERT if first == ANNE else ANNE)]


def test_the_last_pieces_of_the_whole_are_asked_for_twice_when_they_are_late() -> None:
    last = range(PIECES - ENDGAME_PIECES, PIECES)
    reader = Reader(whole=True, have=range(PIECES - ENDGAME_PIECES))
    reader.knows(ANNE, last)
    for _ in range(3):
        reader.asks()
        reader.picker._mesh._fan = SOURCES_AT_ONCE
    reader.knows(BERT, last)
    asked_at_anne = {piece for piece, source in reader.under_way() if source == ANNE}
    reader.now += CROWD_PATIENCE_S

    again = reader.asks()
    assert again
    assert {source for _, source in again} == {BERT}
    assert {piece for piece, _ in again} <= asked_at_anne | set(last)


def test_a_reader_that_comes_to_a_piece_which_the_supernode_was_asked_for_hurries_it_once() -> None:
    reader = Reader(whole=True)
    reader.picker.offered([PieceIndex(3)])
    assert reader.asks() == [(3, SUPERNODE)]
    reader.picker.demand_added(PieceIndex(3))

    assert reader.picker.next_commands(reader.now) == [HurryPiece(PieceIndex(3))]
    assert reader.picker.next_commands(reader.now) == []


def test_the_depth_at_a_neighbour_follows_how_soon_it_answers() -> None:
    depth = Depth(8)
    for _ in range(40):
        depth.answered(QUICK_S / 2)
    assert depth.now == 8
    depth.answered((QUICK_S + SLOW_S) / 2)
    assert depth.now == 8
    for _ in range(40):
        depth.answered(SLOW_S * 2)
    assert depth.now == 2
