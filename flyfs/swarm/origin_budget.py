"""How much a peer may ask origins for by itself while no supernode answers: a few requests at a time, a few a second. Pure.

Ten thousand peers may lose their supernode at the same moment; without a bound their origin would be next (research: p2p bounds,
3.7). Bytes are not counted: an origin suffers from requests.
"""

from math import inf

AT_ONCE = 2
BURST = 32
"""Enough to open a program or a small file at once."""
PER_S = 8.0
KEPT_FOR_DEMAND = BURST // 2
"""What prefetches leave to readers that are blocked."""


class OriginBudget:
    """Permits for single requests. Times are seconds of one monotonic clock."""

    def __init__(self, now: float) -> None:
        self._permits = float(BURST)
        self._as_of = now
        self._under_way = 0

    def ask(self, now: float, *, demand: bool) -> float:
        """0.0 where a request may be sent now, which counts as sent; else after how many seconds to ask again.

        Infinity means: when a request has ended.
        """
        self._permits = min(BURST, self._permits + (now - self._as_of) * PER_S)
        self._as_of = now
        if self._under_way >= AT_ONCE:
            return inf
        missing = 1 + (0 if demand else KEPT_FOR_DEMAND) - self._permits
        if missing > 1e-9:  # sums of small steps are not exact
            return missing / PER_S
        self._permits -= 1
        self._under_way += 1
        return 0.0

    def ended(self) -> None:
        """A request has ended."""
        self._under_way -= 1
