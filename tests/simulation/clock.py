"""Virtual time: what was put off happens in order of its moment, then of its being put off. Deterministic."""

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """A queue of what will happen; ``now`` is in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.happened = 0
        self._order = 0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def at(self, moment: float, happens: Callable[..., None], *args: Any) -> None:
        """Puts something off until ``moment``."""
        self._order += 1
        heapq.heappush(self._events, (max(moment, self.now), self._order, happens, args))

    def after(self, seconds: float, happens: Callable[..., None], *args: Any) -> None:
        """Puts something off by ``seconds``."""
        self.at(self.now + seconds, happens, *args)

    def run(self, until_s: float, done: Callable[[], bool]) -> None:
        """Lets things happen until nothing is left, it is ``done``, or the time is over."""
        events = self._events
        while events and events[0][0] <= until_s and not done():
            self.now, _, happens, args = heapq.heappop(events)
            self.happened += 1
            happens(*args)
