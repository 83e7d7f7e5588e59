"""How many bytes crossed a wire, second by second, from a sum that somebody else keeps. Shell: a thread that samples."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

_EVERY_S = 0.004
_BLURRED_S = 0.002
"""A sample that took so long says nothing about when it was."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes per second: in the leanest and in the fullest of all seconds within some time, and over all of it."""

    leanest: float
    fullest: float
    mean: float


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

    def rates(self, start: float, stop: float) -> Rates:
        """What went within ``[start, stop]`` (monotonic), which must hold a second.

        Where the machine stalled and samples are missing, a "second" is a bit longer than one.
        """
        samples = [sample for sample in self._samples.copy() if start <= sample[0] <= stop]
        seconds: list[float] = []
        first = 0
        for at, count in samples:
            while samples[first + 1 : first + 2] and samples[first + 1][0] <= at - 1:
                first += 1
            since, before = samples[first]
            if since <= at - 1:
                seconds.append((count - before) / (at - since))
        assert seconds, f"no second between {start} and {stop} was sampled"
        (began, before), (ended, after) = samples[0], samples[-1]
        return Rates(min(seconds), max(seconds), (after - before) / (ended - began))
