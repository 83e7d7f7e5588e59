"""Those who take part in one blob within one region, and what they hold together. Pure.

Each region is seeded and meshed for itself, so that a piece crosses the line between two of them about as often as the supernode
sends it (``seeding.CAP``), however many read it there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from flyfs.core.copies import Copies
from flyfs.core.ids import PeerId, PieceIndex
from flyfs.core.masks import mask_of_range
from supernode.seeding import Seeding

CROWD = 2
"""So many readers are a crowd: it gets different pieces from the supernode and exchanges them. Simulated, five readers that each
ask for what they want next take up to three times as long as they do with offers."""

REACH_PIECES = 64
"""How far beyond a piece that it asked for, or has, a reader is taken to go on, at least."""

REACH_AHEAD = 4
"""Or so many times as far as it says (readers in a crowd fetch four windows ahead)."""

GRANT_LASTS_S = 2.0
"""How long a piece that was sent to a peer is taken to be there, or on its way, beyond the time after which the peer tells so
itself; then it is given out again."""

TELL_EVERY_S = (3.5, 10.0)
"""How often each of a hundred readers, and of twenty thousand, tells the supernode what it gained: it hears of 28 a second from a
few, and of 2,000 from very many, a quarter of what one core takes in."""
TELLS_PER_S = (28.0, 2_000.0)

_MOST_GRANTS = 16
"""Receivers remembered for one piece."""


@dataclass(slots=True)
class Participant:
    """One peer in one blob; ``pieces`` is a mask (``core.masks``)."""

    peer_id: PeerId
    crowd: "Crowd"
    pieces: int = 0
    reading: bool = False
    neighbours: set[PeerId] = field(default_factory=set)
    redirected: dict[PieceIndex, int] = field(default_factory=dict)
    """Pieces for which it was sent to others, and how often; if it comes back, they could not help."""
    wants: range = range(0)
    """Where it reads, as far as can be told."""
    discounted: bool = False
    """It is isolated: its pieces are not counted as copies."""
    crowd_told: bool = False
    """Whether it knows that it is in a crowd."""

    def asked(self, piece: PieceIndex, ahead: int) -> None:
        """It asked for a piece, and will want ``ahead`` more."""
        stop = piece + 1 + max(REACH_PIECES, REACH_AHEAD * ahead)
        if self.wants and self.wants.start <= piece < self.wants.stop + REACH_PIECES:
            self.wants = range(self.wants.start, max(stop, self.wants.stop))
        else:  # it has gone somewhere else
            self.wants = range(piece, stop)

    def holds_more(self, pieces: int) -> None:
        """It holds these too; what lies where it reads moves that on."""
        self.pieces |= pieces
        last = (pieces & mask_of_range(self.wants)).bit_length() - 1
        if last >= 0:
            self.wants = range(self.wants.start, max(self.wants.stop, last + 1 + REACH_PIECES))


class Crowd:
    """The participants in one region. Whatever happens to one of them costs the same however many they are."""

    def __init__(self, region: str, pieces: int) -> None:
        self.region = region
        self.copies = Copies()
        self.seeding = Seeding()
        self._all = mask_of_range(range(pieces))
        self.readers = 0
        self._order: list[PeerId] = []
        self._place: dict[PeerId, int] = {}
        self._grants: dict[PieceIndex, dict[PeerId, float]] = {}
        self._granted_to: dict[PeerId, int] = {}
        self._sending: dict[PieceIndex, set[PeerId]] = {}

    def __len__(self) -> int:
        return len(self._order)

    @property
    def order(self) -> list[PeerId]:
        """All of them, in an order that changes only where somebody leaves; not to be changed."""
        return self._order

    @property
    def crowded(self) -> bool:
        """Whether enough read it to exchange what they get."""
        return self.readers >= CROWD

    @property
    def tell_every_s(self) -> float:
        """How often a participant tells the supernode what it gained; 0 for whenever it gains something."""
        if not self.crowded:
            return 0.0
        (some_s, most_s), (few, many) = TELL_EVERY_S, TELLS_PER_S
        return min(max(min(self.readers / few, some_s), self.readers / many), most_s)

    def joined(self, participant: Participant) -> None:
        """One more takes part; nothing is known yet of what it holds."""
        self._place[participant.peer_id] = len(self._order)
        self._order.append(participant.peer_id)

    def told(self, participant: Participant, pieces: int, *, reading: bool) -> None:
        """A participant told all that it holds."""
        if not participant.discounted:
            self.copies.remove(participant.pieces)
            self.copies.add(pieces)
        self.readers += reading - participant.reading
        participant.pieces, participant.reading = pieces, reading

    def gained(self, participant: Participant, pieces: int) -> None:
        """A participant told of new pieces."""
        if not participant.discounted:
            self.copies.add(pieces & ~participant.pieces)
        participant.holds_more(pieces)
        self.seeding.wanted(mask_of_range(participant.wants) & self._all)

    def asked(self, participant: Participant, piece: PieceIndex, ahead: int) -> None:
        """A participant asked for a piece, and will want ``ahead`` more."""
        participant.asked(piece, ahead)
        self.seeding.wanted(mask_of_range(participant.wants) & self._all)

    def discounted(self, participant: Participant, discounted: bool) -> None:
        """Whether nobody is sent to a participant, so that what it holds is as good as not there."""
        if participant.discounted is not discounted:
            (self.copies.remove if discounted else self.copies.add)(participant.pieces)
            participant.discounted = discounted
            if discounted:
                self.seeding.lost(self.copies.fewer_than(1) & ~self._granted_mask())

    def left(self, participant: Participant) -> None:
        """A participant is gone, or does not take part any more."""
        self.told(participant, 0, reading=False)
        self.seeding.left(participant.peer_id)
        self.seeding.lost(self.copies.fewer_than(1) & ~self._granted_mask())
        at, last = self._place.pop(participant.peer_id), self._order.pop()
        if last != participant.peer_id:
            self._order[at] = last
            self._place[last] = at
        for grants in self._grants.values():
            grants.pop(participant.peer_id, None)
        self._granted_to.pop(participant.peer_id, None)
        for piece in [piece for piece, peers in self._sending.items() if participant.peer_id in peers]:
            self.sending_ended(piece, participant.peer_id)

    def _granted_mask(self) -> int:
        mask = 0
        for piece, grants in self._grants.items():
            mask |= bool(grants) << piece
        return mask

    def granted(self, piece: PieceIndex, peer: PeerId, now: float) -> None:
        """The piece is being sent to ``peer``."""
        grants = self._grants.setdefault(piece, {})
        grants[peer] = now
        self._granted_to[peer] = self.granted_to(peer) | 1 << piece
        while len(grants) > _MOST_GRANTS:
            del grants[next(iter(grants))]

    def ungranted(self, piece: PieceIndex, peer: PeerId) -> None:
        """It could not be sent."""
        self._grants.get(piece, {}).pop(peer, None)
        self._granted_to[peer] = self.granted_to(peer) & ~(1 << piece)

    def sending_began(self, piece: PieceIndex, peer: PeerId) -> None:
        """The supernode has begun to send the piece to somebody."""
        self._sending.setdefault(piece, set()).add(peer)

    def sending_ended(self, piece: PieceIndex, peer: PeerId) -> None:
        """It is through, or broke off."""
        peers = self._sending.get(piece, set())
        peers.discard(peer)
        if not peers:
            self._sending.pop(piece, None)

    def sending(self, piece: PieceIndex) -> int:
        """To how many the supernode is sending the piece."""
        return len(self._sending.get(piece, ()))

    def receivers(self, piece: PieceIndex, but: PeerId, now: float) -> Iterator[PeerId]:
        """To whom, other than ``but``, the piece was sent lately."""
        lasts_s = GRANT_LASTS_S + self.tell_every_s
        return (peer for peer, since in self._grants.get(piece, {}).items() if peer != but and now - since < lasts_s)

    def granted_to(self, peer: PeerId) -> int:
        """The pieces that were sent to ``peer`` (a mask), which may not have told so yet."""
        return self._granted_to.get(peer, 0)
