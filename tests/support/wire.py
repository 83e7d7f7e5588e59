"""How many bytes crossed a wire, second by second, from figures that somebody else counts. Shell: a thread that samples."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

_EVERY_S = 0.004
_BLURRED_S = 0.002
"""A sample that took so long says nothing about when it was."""


class Wire:
    """Samples of a growing sum of bytes."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._samples: list[tuple[float, int]] = []
        self._ended = threading.Event()

    @classmethod
    @contextmanager
    def watched(cls, count: Callable[[], int]) -> "Generator[Wire, None, None]":
        """One that is sampled while inside."""
        wire = cls(count)
        thread = threading.Thread(target=wire._sample, name="wire")
        thread.start()
        try:
            yield wire
        finally:
            wire._ended.set()
            thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_EVERY_S):
            before = time.monotonic()
            count = self._count()
            after = time.monotonic()
            if after - before < _BLURRED_S:
                self._samples.append(((before + after) / 2, count))

    def rates(self, start: float, stop: float) -> tuple[float, float]:
        """Bytes per second in the leanest and in the fullest of all seconds that lie within ``[start, stop]`` (monotonic)."""
        samples = [sample for sample in self._samples if start <= sample[0] <= stop]
        found: list[float] = []
        first = 0
        for at, count in samples:
            while samples[first + 1][0] <= at - 1:
                first += 1
            since, before = samples[first]
            if since <= at - 1:
                found.append((count - before) / (at - since))
        assert found, f"no second between {start} and {stop} was sampled"
        return min(found), max(found)
