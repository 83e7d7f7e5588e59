"""What a reader in a crowd fetches ahead, and from whom: the rarest pieces from few neighbours at a time. Pure.

Each neighbour serves few at once and refuses the rest, so nobody queues for long; who is served stays with its source until that
has nothing more for it. The supernode is asked only for what it offers, because what it sends to one need not be sent to all; if
nothing comes for a while it is asked for a piece that no neighbour has, and names somebody or sends it.

Figures beside the constants: 100 readers of 200 pieces in the simulation of this very object (decision record 11).
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from flyfs.core.ids import PeerId, PieceIndex
from flyfs.core.masks import lowest_in, pieces_in
from flyfs.swarm.flights import Flights
from flyfs.swarm.sources import SUPERNODE, Source, Sources, SourceState
from flyfs.swarm.wants import Wants

SOURCES_AT_ONCE = 4
"""As many as a peer serves at once, so that there is a place for each. Three: 10 % longer; six: some starve."""

URGENT_FLIGHTS = 3
"""Requests for what the reader gets to next; without them readers in lock-step take 2 % longer."""

PROBE_AFTER_S = (0.02, 0.5)
"""Nothing wanted came for so long: the supernode is asked. The more are in the crowd, the longer, so that it is not asked more
often by all together: a fifth of the time that each may tell it news."""
_PROBE_SHARE = 5
_MOST_PROBE_DOUBLINGS = 3
"""Each probe in vain doubles the time to the next, so often."""

Peers: TypeAlias = Sequence[tuple[PeerId, SourceState]]

Ask: TypeAlias = Callable[[PieceIndex, Source, SourceState], None]
"""Sends a request; it counts as outstanding from then on."""


class Mesh:
    """The state of a crowd as one reader sees it; ``now`` is one monotonic clock."""

    def __init__(self, wants: Wants, sources: Sources, flights: Flights, spread: int) -> None:
        """``spread`` makes readers choose differently among equals."""
        self._wants = wants
        self._sources = sources
        self._flights = flights
        self._spread = spread
        self._offered = 0
        self._fan = 1
        self._probe_at = 0.0
        self._probe_after_s = PROBE_AFTER_S[1]
        self._probes = 0

    def told_to_tell_every(self, seconds: float) -> None:
        """How often the supernode wants to hear from each reader of the crowd."""
        least_s, most_s = PROBE_AFTER_S
        self._probe_after_s = min(max(seconds / _PROBE_SHARE, least_s), most_s)

    def offered(self, pieces: int) -> None:
        """The supernode would send these pieces."""
        self._offered |= pieces

    def withdrawn(self, piece: PieceIndex) -> None:
        """An offer was taken up, or stands no more."""
        self._offered &= ~(1 << piece)

    def piece_arrived(self, piece: PieceIndex, now: float) -> None:
        """Pieces come: one more source at a time can be used, and the supernode need not be asked."""
        self.withdrawn(piece)
        self._fan = min(SOURCES_AT_ONCE, self._fan + 1)
        if self._wants.wants(piece):
            self._probes = 0
            self._probe_at = now + self._probe_after_s

    def next_probe(self) -> float:
        """When the supernode may be asked although it offered nothing."""
        return self._probe_at

    def plan(self, lacking: int, most: int, now: float, ask: Ask) -> None:
        """Asks for whatever of ``lacking`` is to be asked for now; never more than ``most`` are under way."""
        wants, flights = self._wants, self._flights
        room = min(2 * SOURCES_AT_ONCE - flights.at_peers, most - flights.count)
        if room > 0:
            urgent = min(room, URGENT_FLIGHTS - (wants.urgent & flights.mask).bit_count())
            if urgent > 0:
                room -= self._from_peers([wants.urgent & lacking], urgent, now, ask)
            self._from_peers([one & lacking & ~flights.mask for one in wants.in_a_crowd()], room, now, ask)
        supernode = self._sources.find(SUPERNODE)
        if supernode is None:
            return
        for piece in pieces_in(self._offered & lacking & ~flights.mask):
            if not supernode.free(now) or flights.count >= most:
                return
            ask(piece, SUPERNODE, supernode)
        if flights.count < most:
            self._probe(supernode, lacking & ~flights.mask, now, ask)

    def _from_peers(self, wanted: Sequence[int], room: int, now: float, ask: Ask) -> int:
        """Asks for at most ``room`` pieces, nearer neighbours first; how many it were."""
        left = room
        held_near = 0  # is not fetched from afar, even while those who hold it are busy
        for far in (False, True):
            peers = [(peer, state) for peer, state in self._sources.peers() if state.far is far]
            if peers and left > 0:
                left -= self._from_some(peers, [one & ~held_near for one in wanted], left, now, ask)
                held_near = _union(peers)
        return room - left

    def _from_some(self, peers: Peers, wanted: Sequence[int], room: int, now: float, ask: Ask) -> int:
        fan = self._fan - sum(1 for _, state in self._sources.peers() if state.outstanding)

        def usable() -> Peers:
            return [
                (peer, state)
                for peer, state in peers
                if state.free(now) and state.outstanding < state.depth.now and (fan > 0 or state.outstanding)
            ]

        asked, free = 0, usable()
        taken = 0
        for at, one in enumerate(wanted):
            anywhere = self._wants.whole and at == len(wanted) - 1
            could = one & ~taken & _union(free)
            while could and asked < room:
                piece = lowest_in(self._sources.copies.fewest(could), self._somewhere() if anywhere else 0)
                bit = 1 << piece
                holders = (each for each in free if each[1].pieces & bit)
                source, state = min(holders, key=lambda each: (each[1].expected_s(), each[1].rank))
                fan -= not state.outstanding
                ask(piece, source, state)
                asked += 1
                taken |= bit
                free = usable()
                could &= ~bit & _union(free)
        return asked

    def _probe(self, supernode: SourceState, lacking: int, now: float, ask: Ask) -> None:
        if not self._probe_at:
            self._probe_at = now + self._probe_after_s
        if now < self._probe_at or self._flights.at_peers or supernode.outstanding or not supernode.free(now):
            return
        for wanted in self._wants.in_a_crowd():
            nobody_has = wanted & lacking & ~self._sources.copies.held()
            if nobody_has:
                self._probe_at = now + self._probe_after_s * 2**self._probes
                self._probes = min(self._probes + 1, _MOST_PROBE_DOUBLINGS)
                ask(lowest_in(nobody_has, self._somewhere() if self._wants.whole else 0), SUPERNODE, supernode)
                return

    def _somewhere(self) -> int:
        """A place in the file, another one each time: a linear congruential generator, so that each run can be replayed."""
        self._spread = (self._spread * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        return (self._spread >> 33) % self._wants.pieces


def _union(peers: Peers) -> int:
    union = 0
    for _, state in peers:
        union |= state.pieces
    return union
