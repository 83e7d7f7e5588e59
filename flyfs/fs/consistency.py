"""How old what the mount tells may be: one setting, and what still holds while nobody can be asked. Pure.

Times are seconds of one monotonic clock; ``as_of`` is when something was true at the origin.
"""

from dataclasses import dataclass
from math import isinf

JOINED_S = 0.1
"""Under ``strict``, questions within 100 ms count as one (the contract's number)."""

FOREVER_S = 10 * 365 * 86400.0
"""``max_age_s`` of a question whose answer may be arbitrarily old: finite, because it crosses the wire."""

CONSTANT_TIMEOUT_S = 3600.0
"""For what cannot change: the kernel asks again once an hour at most."""

OFFLINE_S = 600.0
"""What was known less than 10 minutes ago stays valid while nobody can be asked."""

OFFLINE_TIMEOUT_S = 1.0
"""How long the kernel may keep what is told from memory while nobody can be asked."""

_ABSENT_S = 10.0
"""What never changes may still appear for the first time: ``immutable`` believes in an absence no longer than this."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """The consistency setting as a number: 0 is ``strict``, S is ``ttl=S``, infinity is ``immutable``."""

    max_age_s: float = 10.0

    def __post_init__(self) -> None:
        if not self.max_age_s >= 0:
            raise ValueError(f"not an age: {self.max_age_s}")

    @property
    def question_age_s(self) -> float:
        """How old an answer of whoever is asked may be."""
        return min(self.max_age_s, FOREVER_S)

    def fresh(self, as_of: float, now: float) -> bool:
        """Whether something that is there need not be asked for again."""
        return now - as_of <= max(self.max_age_s, JOINED_S)

    def timeout_s(self, as_of: float, now: float) -> float:
        """How long the kernel may keep a name that is there."""
        return min(max(self.max_age_s - (now - as_of), 0.0), CONSTANT_TIMEOUT_S)

    def absent_fresh(self, as_of: float, now: float) -> bool:
        """Whether a name that was certainly not there need not be asked for again."""
        return now - as_of <= max(self._absent_age_s, JOINED_S)

    def absent_timeout_s(self, as_of: float, now: float) -> float:
        """How long the kernel may keep that a name is not there."""
        return min(max(self._absent_age_s - (now - as_of), 0.0), CONSTANT_TIMEOUT_S)

    @property
    def _absent_age_s(self) -> float:
        return _ABSENT_S if isinf(self.max_age_s) else self.max_age_s


def valid_offline(as_of: float, now: float) -> bool:
    """Whether something known as of then may be told while nobody can be asked."""
    return now - as_of < OFFLINE_S
