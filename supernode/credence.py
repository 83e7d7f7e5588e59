"""How much a peer's complaints about others count: less, for a while, the more often the others disagreed. Pure."""

from collections import OrderedDict

from flyfs.core.ids import PeerId

HALVED_S = 600.0
"""Doubts fade: a reporter behind a bad line may have a better one now."""

HALF_FROM = 1.5
NOTHING_FROM = 3.5
"""Two disagreements may be a bad line between two places; four are a bad reporter."""

MOST_REPORTERS = 10_000


class Credence:
    """Doubts by reporter; one that nothing is known of counts in full."""

    def __init__(self) -> None:
        self._doubts: OrderedDict[PeerId, tuple[float, float]] = OrderedDict()

    def contradicted(self, reporter: PeerId, now: float) -> None:
        """It alone complained of a peer with which others fare well."""
        self._doubts[reporter] = (self._doubts_of(reporter, now) + 1, now)
        self._doubts.move_to_end(reporter)
        if len(self._doubts) > MOST_REPORTERS:
            self._doubts.popitem(last=False)

    def confirmed(self, reporter: PeerId, now: float) -> None:
        """Others complained of the same peer."""
        if reporter in self._doubts:
            self._doubts[reporter] = (max(0.0, self._doubts_of(reporter, now) - 1), now)

    def weight(self, reporter: PeerId, now: float) -> float:
        """What a complaint of it counts: 1, a half, or nothing."""
        doubts = self._doubts_of(reporter, now)
        return 1.0 if doubts < HALF_FROM else 0.5 if doubts < NOTHING_FROM else 0.0

    def _doubts_of(self, reporter: PeerId, now: float) -> float:
        doubts, at = self._doubts.get(reporter, (0.0, now))
        return float(doubts * 0.5 ** ((now - at) / HALVED_S))
