"""When an origin that fails is left alone, for all that is wanted of it, and when it is tried again. Pure.

An origin that answers nobody would cost each file's readers a time-out each. What is wrong with one file only is not the
origin's fault: failures count that are about the connection, or about more than one file.
"""

from hashlib import blake2b

FAILURES = 4
WITHIN_S = 30.0
"""So many in a row, within this time: fewer happen to any origin that is restarted."""

OPEN_S = (0.5, 5.0)
"""The first and the longest pause, each twice as long as the one before. A reader waits 30 s: the origin is tried several times
meanwhile."""
_MOST_DOUBLINGS = 10

TRIAL_S = 5.0
"""How long one request alone may take to find out whether the origin is back."""


class OriginBreaker:
    """One origin. ``now`` is one monotonic clock."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._failures: list[tuple[float, str]] = []
        self._openings = 0
        self._trial_since: float | None = None
        self.since = 0.0
        """When it was isolated last."""
        self.until = 0.0
        """Until when it is, or was."""
        self.reason = ""
        """Why."""

    @property
    def broken(self) -> bool:
        """Whether it has not answered since it was isolated."""
        return self._openings > 0

    def isolated(self, now: float) -> bool:
        """Whether nothing is asked of it now."""
        return now < self.until

    def wait_s(self, now: float) -> float:
        """How long a request has to wait; 0 lets it through, as a trial where the origin has not answered since."""
        if self.isolated(now):
            return self.until - now
        if not self.broken:
            return 0.0
        if self._trial_since is not None and now - self._trial_since < TRIAL_S:
            return OPEN_S[0]
        self._trial_since = now
        return 0.0

    def answered(self) -> None:
        """It answered, whatever it said."""
        self._failures.clear()
        self._openings = 0
        self._trial_since = None

    def failed(self, reason: str, now: float, file: str | None = None) -> bool:
        """There was no answer, or a failure of the server over ``file``; True where that isolates it."""
        self._failures = [*(one for one in self._failures if now - one[0] < WITHIN_S), (now, file or "")][-FAILURES:]
        files = {one for _, one in self._failures}
        if self.isolated(now):
            return False  # it was asked before
        if not self.broken and (len(self._failures) < FAILURES or (len(files) == 1 and "" not in files)):
            return False
        first_s, longest_s = OPEN_S
        chance = blake2b(f"{self._origin}|{self._openings}".encode(), digest_size=1).digest()[0] / 255
        doubled_s = first_s * 2 ** min(self._openings, _MOST_DOUBLINGS) * (0.75 + 0.5 * chance)
        self.since, self.until, self.reason = now, now + min(longest_s, doubled_s), reason
        self._openings += 1
        self._trial_since = None
        return True
