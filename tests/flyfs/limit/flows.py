"""Flows that share one bucket in virtual time: an event per slice, no clock, no chance but a seed."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from flyfs.limit.bucket import SECOND_NS, Bucket, Grant, Priority, slice_bytes


@dataclass(slots=True)
class Flow:
    """Moves ``wants`` bytes from ``begins_ns`` on, a slice at a time, as fast as it is let."""

    name: str
    priority: Priority
    wants: int
    begins_ns: int = 0
    late_ns: Callable[[], int] = lambda: 0
    """How late it wakes."""
    moved: int = 0
    ended_ns: int = -1
    _grant: Grant | None = None


@dataclass(slots=True)
class Wire:
    """What moved when."""

    moves: list[tuple[int, str, int]] = field(default_factory=list)

    def bytes_in(self, start_ns: int, stop_ns: int, name: str = "") -> int:
        return sum(count for at, who, count in self.moves if start_ns <= at < stop_ns and who.startswith(name))

    def most_in_any(self, window_ns: int, *, from_ns: int = 0) -> int:
        """The most bytes in any window that begins with a move."""
        most = total = first = 0
        moves = sorted(move for move in self.moves if move[0] >= from_ns)
        for at, _, count in moves:
            total += count
            while moves[first][0] <= at - window_ns:
                total -= moves[first][2]
                first += 1
            most = max(most, total)
        return most


def run(bucket: Bucket, flows: list[Flow], *, until_ns: int) -> Wire:
    """Lets the flows go on until ``until_ns``; each does what a process does: ask, sleep, look again, move."""
    wire = Wire()
    due: list[tuple[int, int]] = [(flow.begins_ns, number) for number, flow in enumerate(flows)]
    heapq.heapify(due)
    while due and due[0][0] < until_ns:
        now, number = heapq.heappop(due)
        flow = flows[number]
        if flow._grant is None:
            flow._grant = bucket.grant(flow.priority, min(slice_bytes(bucket.rate), flow.wants - flow.moved), now)
        start = bucket.start_of(flow._grant)
        if start > now:
            heapq.heappush(due, (start + flow.late_ns(), number))
            continue
        wire.moves.append((now, flow.name, flow._grant.count))
        flow.moved += flow._grant.count
        flow._grant = None
        if flow.moved < flow.wants:
            heapq.heappush(due, (now, number))
        else:
            flow.ended_ns = now
    return wire


ENDLESS = 1 << 60
RATE = 20_000_000


def seconds(count: float) -> int:
    return int(count * SECOND_NS)
