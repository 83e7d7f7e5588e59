"""Whether the other side of a session is still there: when to ask, and when to give it up. Pure.

A process that is stopped keeps its connections, and so does a host that vanished. Whoever waits for an answer hears from it
within 2 s, or it is gone; with nothing to wait for it is asked now and then, so that fail-over does not begin with a reader.
"""

from dataclasses import dataclass
from typing import TypeAlias

QUIET_S = 0.5
"""How long nothing may come while an answer is due, before the first ping."""

PING_EVERY_S = 1.0
"""Between pings during a long wait: an origin may take its time, and a thousand peers may be waiting for it."""

ANSWER_S = 1.0
"""How long a ping may take. With the pause before it, silence is found out after 1.5 s, or 2 s in a long wait."""

IDLE_S = 10.0
"""Between pings while nothing is due: a thousand a second from ten thousand peers, an eighth of what one core answers."""


@dataclass(frozen=True, slots=True)
class SendPing:
    """Ask whether anybody is there."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nobody is: the session is over."""

    silent_s: float


Command: TypeAlias = SendPing | GiveUp


class Pulse:
    """One session's signs of life; ``now`` is one monotonic clock."""

    def __init__(self, now: float, *, idle_s: float = IDLE_S) -> None:
        """``idle_s`` differs a little from peer to peer, so that they do not all ask at once."""
        self._idle_s = idle_s
        self._heard = now
        self._waiting = 0
        self._waiting_since = now
        self._pause_s = QUIET_S
        self._pinged: float | None = None

    def asked(self, now: float) -> bool:
        """A question was sent; True where nothing else was due, so that the deadline may be another one."""
        self._waiting += 1
        if self._waiting > 1:
            return False
        self._waiting_since, self._pause_s = now, QUIET_S
        return True

    def answered(self) -> None:
        """A question was answered, or is not waited for any more."""
        self._waiting -= 1

    def heard(self, at: float) -> None:
        """Something came at ``at``: whatever it was, somebody is there."""
        self._heard = max(self._heard, at)
        if self._pinged is not None and at >= self._pinged:
            self._pinged = None

    def next_commands(self, now: float) -> list[Command]:
        """What to do now; a ping counts as sent."""
        if now < self.next_deadline():
            return []
        if self._pinged is not None:
            return [GiveUp(now - self._heard)]
        self._pinged = now
        self._pause_s = PING_EVERY_S
        return [SendPing()]

    def next_deadline(self) -> float:
        """When ``next_commands`` has something to say, if nothing happens before."""
        if self._pinged is not None:
            return self._pinged + ANSWER_S
        if self._waiting:
            return max(self._heard, self._waiting_since) + self._pause_s
        return self._heard + self._idle_s
