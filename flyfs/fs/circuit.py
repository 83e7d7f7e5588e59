"""Patience: after one time-out the next question fails within a second, until something changes. Pure.

Whoever waited the whole deadline in vain once should not make every other reader wait as long.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from flyfs.core.errors import FlyfsError

SHORT_S = 0.9
"""Patience after a time-out: with the answer's way through the kernel still within a second."""

HOLD_S = 30.0
"""How long patience stays short when nothing changes."""

REMEMBERED_S = 1.0
"""How long a failure is told again without asking."""

_LIMIT = 1024

K = TypeVar("K", bound=Hashable)


class Circuit(Generic[K]):
    """How long to wait for things that timed out lately, by key.

    ``mark`` is any number that changes when something moves (pieces held, answers received): another mark than at the
    time-out closes the circuit.
    """

    def __init__(self, *, deadline_s: float, short_s: float = SHORT_S) -> None:
        self.deadline_s = deadline_s
        self._short_s = min(short_s, deadline_s)
        self._open: dict[K, tuple[int, float]] = {}

    def patience_s(self, key: K, mark: int, now: float) -> float:
        """Seconds to wait for ``key`` now."""
        found = self._open.get(key)
        if found is None:
            return self.deadline_s
        if found[0] != mark or now >= found[1]:
            del self._open[key]
            return self.deadline_s
        return self._short_s

    def moved(self, key: K, mark: int) -> bool:
        """Whether something moved since ``key`` timed out."""
        found = self._open.get(key)
        return found is not None and found[0] != mark

    def timed_out(self, key: K, mark: int, now: float) -> None:
        """A wait for ``key`` ended without anything."""
        if len(self._open) >= _LIMIT:
            self._open = {other: entry for other, entry in self._open.items() if entry[1] > now}
            if len(self._open) >= _LIMIT:
                self._open.clear()
        self._open[key] = (mark, now + HOLD_S)

    def answered(self, key: K) -> None:
        """Something came for ``key``."""
        self._open.pop(key, None)


class RecentFailures(Generic[K]):
    """Failures that are told again for a moment, so that a retrying program costs nobody anything."""

    def __init__(self) -> None:
        self._errors: dict[K, tuple[FlyfsError, float]] = {}

    def failed(self, key: K, error: FlyfsError, now: float) -> None:
        """Asking for ``key`` failed."""
        if len(self._errors) >= _LIMIT:
            self._errors.clear()
        self._errors[key] = (error, now + REMEMBERED_S)

    def recall(self, key: K, now: float) -> FlyfsError | None:
        """The failure that still answers for ``key``, None where it may be asked again."""
        found = self._errors.get(key)
        if found is None:
            return None
        if now >= found[1]:
            del self._errors[key]
            return None
        return found[0]
