"""Which pieces the supernode offers by itself, and to whom: those that the fewest have, in file order. Pure.

A crowd of readers that all want the next piece would have a naive source send that same piece to each of them. Sending every
piece a few times, and leaving the rest to the readers, makes readers in lock-step eight times faster (research: p2p bounds, 1.3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flyfs.core.copies import Copies
from flyfs.core.ids import PeerId, PieceIndex
from flyfs.core.masks import lowest_in

CAP = 2
"""How often a piece is sent to a crowd by the supernode's own choice. With three it sends 0.4 files more for nothing gained."""

OFFER_LASTS_S = 2.0
"""An offer that was not taken up by then goes to somebody else."""

_LOOKED_AT = 16
"""Readers considered in vain."""


@dataclass(frozen=True, slots=True)
class Stock:
    """Who has what: how many of the crowd, and which pieces the supernode itself has on its disk (a mask)."""

    copies: Copies
    here: int = 0


class Seeding:
    """The offers of one blob to one crowd; ``now`` is one monotonic clock."""

    def __init__(self) -> None:
        self._sent_more_than = [0] * CAP  # masks: what was sent, or offered, more than k times
        self._wanted = 0
        self._open: dict[tuple[PeerId, PieceIndex], float] = {}  # offers nobody took up yet, the oldest first
        self._taken: set[tuple[PeerId, PieceIndex]] = set()
        self._busy: dict[PeerId, int] = {}  # offers of either kind
        self._cursor = 0

    def wanted(self, pieces: int) -> None:
        """Some reader gets to these pieces (a mask), if it goes on."""
        self._wanted |= pieces

    def sent(self, piece: PieceIndex) -> None:
        """The piece goes out to somebody, asked for or offered."""
        bit = 1 << piece
        for at, mask in enumerate(self._sent_more_than):
            if not mask & bit:
                self._sent_more_than[at] = mask | bit
                return

    def lost(self, pieces: int) -> None:
        """Nobody in the crowd holds these any more: they count as never sent."""
        self._sent_more_than = [mask & ~pieces for mask in self._sent_more_than]

    def is_offered(self, peer: PeerId, piece: PieceIndex) -> bool:
        """Whether the piece was offered to that peer."""
        return (peer, piece) in self._open or (peer, piece) in self._taken

    def taken_up(self, peer: PeerId, piece: PieceIndex) -> None:
        """It asks for what it was offered: the offer stands until it ``ended``."""
        if self._open.pop((peer, piece), None) is not None:
            self._taken.add((peer, piece))

    def ended(self, peer: PeerId, piece: PieceIndex) -> None:
        """The piece was sent, or could not be."""
        if (peer, piece) in self._taken:
            self._taken.remove((peer, piece))
            self._freed(peer)

    def left(self, peer: PeerId) -> None:
        """A reader is gone; what it was offered may not have come."""
        for one in [one for one in self._open if one[0] == peer]:
            self._lapse(*one)
        for _, piece in [one for one in self._taken if one[0] == peer]:
            self.ended(peer, piece)

    def _lapse(self, peer: PeerId, piece: PieceIndex) -> None:
        del self._open[peer, piece]
        self._freed(peer)
        bit = 1 << piece
        for at in reversed(range(CAP)):
            if self._sent_more_than[at] & bit:
                self._sent_more_than[at] ^= bit
                return

    def _freed(self, peer: PeerId) -> None:
        self._busy[peer] -= 1
        if not self._busy[peer]:
            del self._busy[peer]

    @property
    def standing(self) -> int:
        """Offers that are open or being served."""
        return len(self._open) + len(self._taken)

    def next_lapse(self) -> float:
        """When the oldest open offer goes to somebody else; infinity for never."""
        return next(iter(self._open.values()), float("inf") - OFFER_LASTS_S) + OFFER_LASTS_S

    def next_offers(
        self, now: float, room: int, stock: Stock, readers: Sequence[PeerId], usable: Callable[[PeerId], int]
    ) -> list[tuple[PeerId, PieceIndex]]:
        """At most ``room`` new offers; they count as made. ``usable`` is the mask of what a reader wants and could hand on."""
        copies = stock.copies
        for one in [one for one, since in self._open.items() if now - since >= OFFER_LASTS_S]:
            self._lapse(*one)
        fresh = [self._wanted & ~self._sent_more_than[0] & copies.fewer_than(1)]
        for at in range(1, CAP):  # what others have and is not here would have to be read from the origin
            here = (self._sent_more_than[at - 1] | stock.here) & ~self._sent_more_than[at]
            fresh.append(self._wanted & here & copies.fewer_than(at + 1))
        offers: list[tuple[PeerId, PieceIndex]] = []
        for _ in range(min(len(readers), room + _LOOKED_AT)):
            if len(offers) >= room or not any(fresh):
                break
            self._cursor = (self._cursor + 1) % len(readers)
            peer = readers[self._cursor]
            can_use = usable(peer) if peer not in self._busy else 0
            level = next((at for at, pieces in enumerate(fresh) if pieces & can_use), None)
            if level is None:
                continue
            piece = lowest_in(fresh[level] & can_use)
            self._open[peer, piece] = now
            self._busy[peer] = self._busy.get(peer, 0) + 1
            self.sent(piece)
            offers.append((peer, piece))
            fresh[level] &= ~(1 << piece)
            if level + 1 < CAP:
                fresh[level + 1] |= 1 << piece & copies.fewer_than(level + 2)
        return offers
