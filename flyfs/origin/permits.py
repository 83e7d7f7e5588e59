"""How hard one origin is asked: a few requests at a time, and none while it asked to be left alone. Shell.

A permit is held from before a connection is chosen until the body is closed. Long bodies (whole files) can take all but two
permits, so that a listing or a demanded piece never waits for them. Waiters are served in order.
"""

import math
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
import trio

from flyfs.core.errors import Unavailable
from flyfs.origin.breaker import OriginBreaker

PERMITS_PER_ORIGIN = 8
"""Enough to fill a line with ranged requests; a browser opens six connections to an origin."""
_KEPT_FOR_SHORT = 2
_ORIGINS_REMEMBERED = 1024

log = structlog.get_logger(__name__)


class _OriginState:
    __slots__ = ("all", "asked_away_until", "breaker", "holders", "long")

    def __init__(self, origin: str, permits: int) -> None:
        self.breaker = OriginBreaker(origin)
        self.all = trio.CapacityLimiter(permits)
        self.long = trio.CapacityLimiter(max(permits - _KEPT_FOR_SHORT, 1))
        self.asked_away_until = -math.inf
        self.holders = 0


class OriginPermits:
    """The permits of all origins, by ``scheme://authority``."""

    def __init__(self, permits_per_origin: int = PERMITS_PER_ORIGIN) -> None:
        self._permits = permits_per_origin
        self._states: OrderedDict[str, _OriginState] = OrderedDict()

    @asynccontextmanager
    async def permit(self, origin: str, *, long: bool = False) -> AsyncGenerator[None, None]:
        """Holds one permit; waits for it where all are taken.

        Raises:
            Unavailable: the origin asked to be left alone, or is because it fails; ``retry_after_s`` says for how long still.
        """
        state = self._state_of(origin)
        state.holders += 1
        try:
            async with AsyncExitStack() as held:
                self._check_welcome(origin, state)
                token = object()  # a task may hold several permits, so the request is the borrower
                for limiter in (state.long, state.all) if long else (state.all,):
                    await limiter.acquire_on_behalf_of(token)
                    held.callback(limiter.release_on_behalf_of, token)
                self._check_welcome(origin, state)  # it may have said so while we waited
                self._check_breaker(origin, state)
                yield
        finally:
            state.holders -= 1

    def leave_alone(self, origin: str, seconds: float) -> None:
        """The origin answered 429 or 503 with Retry-After: nobody is let through for ``seconds``."""
        state = self._state_of(origin)
        state.asked_away_until = max(state.asked_away_until, trio.current_time() + seconds)

    def answered(self, origin: str) -> None:
        """The origin answered, and no failure of its own."""
        self._state_of(origin).breaker.answered()

    def failed(self, origin: str, reason: str, file: str | None = None) -> None:
        """The origin did not answer, or failed over ``file``."""
        breaker, now = self._state_of(origin).breaker, trio.current_time()
        if breaker.failed(reason, now, file):
            log.warning("origin.host.isolated", origin=origin, reason=reason, for_s=round(breaker.until - now, 1))

    def isolated(self) -> list[tuple[str, OriginBreaker]]:
        """Origins that failed, and have not answered since."""
        return [(origin, state.breaker) for origin, state in self._states.items() if state.breaker.broken]

    @staticmethod
    def _check_breaker(origin: str, state: _OriginState) -> None:
        wait_s = state.breaker.wait_s(trio.current_time())
        if wait_s > 0:
            raise Unavailable(f"{origin} fails, and is left alone for a moment: {state.breaker.reason}", retry_after_s=wait_s)

    def _check_welcome(self, origin: str, state: _OriginState) -> None:
        left_s = state.asked_away_until - trio.current_time()
        if left_s > 0:
            raise Unavailable(f"{origin} asked to be left alone for another {left_s:.0f} s", retry_after_s=left_s)

    def _state_of(self, origin: str) -> _OriginState:
        state = self._states.get(origin)
        if state is None:
            state = self._states[origin] = _OriginState(origin, self._permits)
            self._forget_idle()
        self._states.move_to_end(origin)
        return state

    def _forget_idle(self) -> None:
        now = trio.current_time()
        for origin in list(self._states)[: max(len(self._states) - _ORIGINS_REMEMBERED, 0)]:
            state = self._states[origin]
            if not state.holders and max(state.asked_away_until, state.breaker.until) <= now:
                del self._states[origin]
