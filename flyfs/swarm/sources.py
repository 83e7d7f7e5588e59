"""Those who can be asked for pieces of one blob: what each holds, how fast it is, how much may be asked of it at once. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from flyfs.core.copies import Copies
from flyfs.core.grid import MIB
from flyfs.core.ids import PeerId

Source: TypeAlias = PeerId | None
"""Whom to ask; None is the supernode."""

SUPERNODE: Source = None

NEVER = float("inf")

FIRST_PIECE_TIME_S = 0.05

LEAST_DEPTH = 2.0
"""Requests at one neighbour at once, in a crowd: one that is answered, one behind it, so that the line never pauses between."""

QUICK_S, SLOW_S = 0.1, 0.25
"""A piece that is here sooner lets more be asked at once, one that takes longer fewer: what is asked early waits in a queue
somewhere, and cannot be asked of somebody better any more."""

_GROWTH, _SHRINKAGE = 0.25, 0.5

OUTSTANDING_PEER_BYTES = 8 * MIB
OUTSTANDING_SUPERNODE_BYTES = 32 * MIB

FIRST_SUPERNODE_BYTES = 4 * MIB
"""Asked for ahead of readers before anything came; each piece that comes lets one more be under way. The first of a crowd do not
know yet that others come: what they would take at once would be lacking to all."""

FIRST_AT_PEER = 2
"""Requests at a neighbour that has sent nothing right yet: so many pieces are lost to a liar."""


@dataclass(slots=True)
class Depth:
    """How many requests may be under way at a neighbour: grows while answers are quick, shrinks while they queue."""

    most: float
    now: float = LEAST_DEPTH
    quickest_s: float = NEVER

    def answered(self, took_s: float) -> None:
        """A piece came ``took_s`` after it was asked for."""
        self.quickest_s = min(took_s, self.quickest_s * 1.001)  # forgets: a line may become slower for good
        if took_s < max(QUICK_S, 2 * self.quickest_s):
            self.now = min(self.now + _GROWTH, self.most)
        elif took_s > max(SLOW_S, 4 * self.quickest_s):
            self.now = max(self.now - _SHRINKAGE, LEAST_DEPTH)


@dataclass(slots=True)
class SourceState:
    """A neighbour, or the supernode: it has, or fetches, everything, so its ``pieces`` are all (-1)."""

    rank: int
    """Breaks ties, differently for each peer that asks."""
    pieces: int
    limit: int
    """Requests under way at once."""
    ahead_limit: int
    """Those ahead of readers, and all at a neighbour; one more with each piece that comes."""
    depth: Depth
    """As many of these, if the readers are a crowd."""
    far: bool = False
    """In another region: asked only for what no nearer neighbour holds."""
    outstanding: int = 0
    failures: int = 0
    blocked_until: float = 0.0
    piece_time_s: float = FIRST_PIECE_TIME_S

    def leave_alone(self, until: float) -> None:
        """Never for a shorter time than was decided before: an old request that fails late is no good news."""
        self.blocked_until = max(self.blocked_until, until)

    def expected_s(self) -> float:
        """How long one more piece would probably take."""
        return (self.outstanding + 1) * self.piece_time_s

    def free(self, now: float) -> bool:
        """Whether it may be asked for one more."""
        return self.outstanding < (self.limit if self.pieces < 0 else self.ahead_limit) and self.blocked_until <= now

    def arrived(self, took_s: float) -> None:
        """A piece came ``took_s`` after it was asked for, and is not outstanding any more."""
        self.failures = 0
        self.piece_time_s += (took_s / (self.outstanding + 1) - self.piece_time_s) / 8
        self.ahead_limit = min(self.ahead_limit + 1, self.limit)
        self.depth.answered(took_s)


class Sources:
    """All sources of one blob, and how many of the neighbours hold each piece."""

    def __init__(self, piece_size: int, spread: int) -> None:
        """``spread`` is the peer's own: neighbours that are equal to all should not be asked in the same order by all."""
        self._spread = spread
        self._peer_limit = slots(OUTSTANDING_PEER_BYTES, piece_size)
        self._supernode_limit = slots(OUTSTANDING_SUPERNODE_BYTES, piece_size)
        self._supernode_first = slots(FIRST_SUPERNODE_BYTES, piece_size)
        self._states: dict[Source, SourceState] = {}
        self.copies = Copies()

    def find(self, source: Source) -> SourceState | None:
        """The source, None where it is not known (any more)."""
        return self._states.get(source)

    def peers(self) -> Iterator[tuple[PeerId, SourceState]]:
        """The neighbours."""
        return ((source, state) for source, state in self._states.items() if source is not None)

    def all(self) -> Iterator[SourceState]:
        """Neighbours and supernode."""
        return iter(self._states.values())

    def supernode_came(self, outstanding: int) -> None:
        """A supernode can be asked; ``outstanding`` requests to one that was lost have not failed yet."""
        limit, first = self._supernode_limit, self._supernode_first
        self._states[SUPERNODE] = SourceState(0, -1, limit, first, Depth(limit), outstanding=outstanding)

    def peer_came(self, peer: PeerId, pieces: int, outstanding: int, *, far: bool) -> None:
        """A neighbour told what it holds, perhaps anew: then its record stays."""
        state = self._states.get(peer)
        if state is None:
            rank, limit = self._spread ^ int(peer[:16], 16), self._peer_limit
            state = self._states[peer] = SourceState(
                rank, 0, limit, min(FIRST_AT_PEER, limit), Depth(limit), outstanding=outstanding
            )
        self.copies.remove(state.pieces)
        self.copies.add(pieces)
        state.pieces, state.far = pieces, far

    def peer_gained(self, peer: PeerId, pieces: int) -> None:
        """A neighbour told of new pieces."""
        state = self._states.get(peer)
        if state is not None:
            self.copies.add(pieces & ~state.pieces)
            state.pieces |= pieces

    def peer_lost(self, state: SourceState, piece: int) -> None:
        """A neighbour does not have a piece that it was thought to have."""
        gone = state.pieces & 1 << piece
        state.pieces ^= gone
        self.copies.remove(gone)

    def left(self, source: Source) -> None:
        """A source is gone."""
        state = self._states.pop(source, None)
        if state is not None and source is not None:
            self.copies.remove(state.pieces)


def slots(budget_bytes: int, piece_size: int) -> int:
    """Requests that fit a budget: at least two, at most 64."""
    return max(2, min(64, budget_bytes // piece_size))
