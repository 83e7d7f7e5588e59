"""The arithmetic of one budget: when may who move how many bytes. Pure; the state lies in a file that all processes share.

A token bucket kept as times (GCRA, ITU-T I.371): ``free_at[p]`` is when the next byte of priority ``p`` may move. What is
granted moves that time on for its own priority and for all below, never for those above: a demand does not see the queue of
what matters less, and whoever waits in that queue is pushed back by as much as was granted above it meanwhile. Nobody owns a
share, so what one process leaves the others take, and a process that dies leaves at most one slice unused.
"""

from dataclasses import dataclass, field
from enum import IntEnum

from flyfs.core.grid import KIB, MIB


class Priority(IntEnum):
    """What comes first where the budget does not suffice for all."""

    DEMAND = 0
    """A reader is blocked on it. Also frames without a body: they are small and somebody waits for each."""
    PREFETCH = 1
    """A reader will want it soon."""
    BACKGROUND = 2
    """Nobody waits: what is fetched ahead of any reader, and what is sent for such a request."""


SECOND_NS = 1_000_000_000
SLICE_NS = 10_000_000
"""What is granted at once lasts so long: a demand finds at most one such slice of something else before it."""
LEAST_SLICE_BYTES = 32 * KIB
MOST_SLICE_BYTES = MIB
"""A usual piece."""
BURST_NS = 20_000_000
"""How much unused time is made up for: covers late wake-ups, and adds no more than 2 % to any second."""
HORIZON_NS = 60 * SECOND_NS
"""No honest queue is longer: times beyond come from a clock that was another one (a directory that outlived a reboot)."""

_WORD = (1 << 64) - 1


def slice_bytes(rate: int) -> int:
    """How much is granted at once at ``rate`` bytes per second."""
    return max(LEAST_SLICE_BYTES, min(rate * SLICE_NS // SECOND_NS, MOST_SLICE_BYTES))


@dataclass(frozen=True, slots=True)
class Grant:
    """``count`` bytes may move from ``start_ns`` on, later where more urgent bytes were granted meanwhile."""

    priority: Priority
    count: int
    start_ns: int
    above: int
    """Bytes granted to more urgent priorities by then (``Bucket.above``)."""


@dataclass(slots=True)
class Bucket:
    """One direction. Times in nanoseconds of the host's monotonic clock; sums of bytes wrap at 2**64."""

    rate: int
    """Bytes per second; 0 for no limit, and then nothing may be asked here."""
    free_at: list[int] = field(default_factory=lambda: [0, 0, 0])
    granted: list[int] = field(default_factory=lambda: [0, 0, 0])

    def grant(self, priority: Priority, count: int, now_ns: int) -> Grant:
        """Sets ``count`` bytes aside: they may move once ``start_of`` says so."""
        self._forget_nonsense(now_ns)
        unused_since = min(now_ns, self.free_at[Priority.BACKGROUND])  # its time counts everything
        floor = max(now_ns - BURST_NS, unused_since)
        start_ns = max(floor, self.free_at[priority])
        lasts_ns = count * SECOND_NS // self.rate
        for one in range(priority, len(self.free_at)):
            self.free_at[one] = max(floor, self.free_at[one]) + lasts_ns
        self.granted[priority] = (self.granted[priority] + count) & _WORD
        return Grant(priority, count, start_ns, self.above(priority))

    def give_back(self, priority: Priority, count: int) -> None:
        """So many granted bytes were not moved, and will not be."""
        lasts_ns = count * SECOND_NS // self.rate
        for one in range(priority, len(self.free_at)):
            self.free_at[one] = max(0, self.free_at[one] - lasts_ns)
        self.granted[priority] = (self.granted[priority] - count) & _WORD

    def above(self, priority: Priority) -> int:
        """Bytes granted so far to what is more urgent than ``priority``."""
        return sum(self.granted[:priority]) & _WORD

    def start_of(self, grant: Grant) -> int:
        """When the granted bytes may move, by what is known now."""
        return delayed_start(grant, self.above(grant.priority), self.rate)

    def _forget_nonsense(self, now_ns: int) -> None:
        for one, free_at in enumerate(self.free_at):
            if free_at > now_ns + HORIZON_NS:
                self.free_at[one] = now_ns


def delayed_start(grant: Grant, above: int, rate: int) -> int:
    """When a grant may begin, ``above`` bytes having been granted to what is more urgent."""
    since = (above - grant.above) & _WORD
    if since > _WORD >> 1:  # more was given back than granted since
        return grant.start_ns
    return grant.start_ns + since * SECOND_NS // rate
