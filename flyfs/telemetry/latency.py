"""How long the latest of many like things took: exact quantiles over a ring of samples. Pure.

The latest ones, because a p99 since the start hides what happens now. 2,048 samples are 16 KiB, and sorting them at a
status request takes about 0.2 ms.
"""

from array import array
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Milliseconds; 0 where nothing was measured yet."""

    p50_ms: float
    p99_ms: float


class LatencyWindow:
    """The latest samples, ``capacity`` at most."""

    __slots__ = ("_capacity", "_next", "_samples_ms")

    def __init__(self, capacity: int = 2048) -> None:
        if capacity < 1:
            raise ValueError("a window holds at least one sample")
        self._capacity = capacity
        self._samples_ms = array("d")
        self._next = 0

    def add(self, seconds: float) -> None:
        """One more sample; the oldest one leaves a full window."""
        if len(self._samples_ms) < self._capacity:
            self._samples_ms.append(seconds * 1000)
            return
        self._samples_ms[self._next] = seconds * 1000
        self._next = (self._next + 1) % self._capacity

    def quantiles(self) -> Quantiles:
        """The smallest samples that at least half, and 99 of 100, of all samples do not exceed."""
        ordered = sorted(self._samples_ms)
        if not ordered:
            return Quantiles(0.0, 0.0)
        return Quantiles(*(ordered[-(-len(ordered) * percent // 100) - 1] for percent in (50, 99)))
