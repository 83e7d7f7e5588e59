"""How one supernode is seen from here, and which of several to use now. Pure.

A circuit breaker each: down while it cannot be reached, isolated while it is known to do harm. One that came back is used for
what nobody else serves, and is preferred again once it has been there for a while, each peer at another moment: a supernode that
comes and goes must not take the swarm with it.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import inf
from typing import Literal, TypeAlias

State: TypeAlias = Literal["unknown", "up", "down", "isolated"]

PENDING_S = 0.5
"""How long one that was never tried is waited for before the next in order is used: a connection takes a round trip or two."""

RETRY_S = (0.1, 2.0)
"""The first and the longest pause between attempts to reach it; each attempt costs it little, a reader who waits much."""

SETTLES_S = (30.0, 60.0)
"""How long one that came back must stay before it is preferred again (research: p2p bounds, 3.7)."""

STRIKES = 2
STRIKES_WITHIN_S = 60.0
"""Wrong bytes once may be the network's doing; twice within a minute they are not."""

ISOLATED_S = (5.0, 900.0)
"""The first and the longest isolation; each is twice as long as the one before (research: p2p bounds, 3.6)."""
_MOST_DOUBLINGS = 10


class Standing:
    """One supernode's record. Times are seconds of one monotonic clock."""

    def __init__(self, seed: str) -> None:
        """``seed`` differs from peer to peer and from supernode to supernode; all jitter follows from it."""
        self._seed = seed
        self._up = False
        self._needed = False
        self._known = False  # whether it was reached, or was not, at least once
        self._pending_until = 0.0
        self._failures = 0
        self._next_try = 0.0
        self._settles_at = 0.0
        self._strikes: list[float] = []
        self._isolations = 0
        self._isolated_until = 0.0
        self.reason: str | None = None
        """Why it is not up."""

    # -- events --------------------------------------------------------------------------------------------------------

    def needed(self, now: float) -> bool:
        """Somebody wants to use it, from now on; True where nobody did before."""
        if self._needed:
            return False
        self._needed = True
        self._pending_until = now + PENDING_S
        return True

    def came(self, now: float) -> None:
        """It can be talked to. The first time it is trusted at once."""
        least_s, most_s = SETTLES_S
        self._settles_at = now + least_s + (most_s - least_s) * self._chance("settles") if self._known else now
        self._up = self._known = True
        self._failures = 0
        self.reason = None

    def refused(self, now: float, reason: str) -> None:
        """It could not be reached."""
        first_s, longest_s = RETRY_S
        self._known = True
        pause_s = min(longest_s, first_s * 2 ** min(self._failures, _MOST_DOUBLINGS))
        self._next_try = now + pause_s * (0.75 + 0.5 * self._chance("retry"))
        self._failures += 1
        self._tell(now, reason)

    def lost(self, now: float, reason: str) -> None:
        """It could be talked to until now."""
        self._up = False
        self._next_try = now
        self._tell(now, reason)

    def misbehaved(self, now: float, reason: str, *, gravely: bool = False) -> bool:
        """It sent what it must not: once is enough where that is grave. True where the session with it should end."""
        self._strikes = [*(at for at in self._strikes if now - at < STRIKES_WITHIN_S), now]
        if len(self._strikes) < STRIKES and not gravely:
            return False
        self._strikes.clear()
        first_s, longest_s = ISOLATED_S
        if now - self._isolated_until > longest_s:
            self._isolations = 0
        self._isolated_until = now + min(longest_s, first_s * 2 ** min(self._isolations, _MOST_DOUBLINGS))
        self._isolations += 1
        self.reason = reason
        return True

    def _tell(self, now: float, reason: str) -> None:
        if now >= self._isolated_until:
            self.reason = reason

    def _chance(self, what: str) -> float:
        """A stable number between 0 and 1: no chance, so that each run can be replayed."""
        text = f"{self._seed}|{what}|{self._failures}|{self._isolations}"
        return int.from_bytes(blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48

    # -- what follows --------------------------------------------------------------------------------------------------

    def state(self, now: float) -> State:
        """For people."""
        if now < self._isolated_until:
            return "isolated"
        if self._up:
            return "up"
        return "down" if self._known else "unknown"

    def usable(self, now: float) -> bool:
        """Whether it may be asked."""
        return self._up and now >= self._isolated_until

    def settled(self, now: float) -> bool:
        """Whether it may be preferred."""
        return self.usable(now) and now >= self._settles_at

    @property
    def settles_at(self) -> float:
        """When it may be preferred, if it stays."""
        return self._settles_at

    def pending_until(self, now: float) -> float:
        """Until when it is worth waiting for; ``now`` or earlier where it is not."""
        return self._pending_until if self._needed and not self._known else now

    @property
    def next_try(self) -> float:
        """When to try to reach it; infinity while nobody needs it, or it is there."""
        return inf if self._up or not self._needed else max(self._next_try, self._isolated_until)


def choose(order: Sequence[Standing], now: float) -> tuple[Standing | None, float]:
    """Which of ``order`` (the one responsible first) to use now, None for none yet, and when the choice may be another one.

    Whoever is looked at counts as needed: one that is passed over because it is down should be found again.
    """
    spare: Standing | None = None
    again = inf
    for standing in order:
        standing.needed(now)
        if standing.settled(now):
            return standing, again
        if standing.pending_until(now) > now:
            return None, standing.pending_until(now)
        if standing.usable(now):
            spare = spare or standing
            again = min(again, standing.settles_at)
    return spare, again
