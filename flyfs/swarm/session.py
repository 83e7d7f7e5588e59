"""The session with one supernode: opened when somebody needs it, found again when lost, given up when silent. Shell.

Two connections: one for questions, news and demanded pieces, one for all other pieces, so that nothing that somebody waits for
is behind bulk. When to try, and how long one that misbehaved is left alone, its standing decides; whether it is still there, the
pulse.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

import structlog
import trio

from flyfs.core.address import Address
from flyfs.core.errors import FlyfsError, ProtocolError, Unanswered, Unavailable
from flyfs.limit.host_limit import UNLIMITED, HostLimit
from flyfs.limit.turns import Urgency
from flyfs.swarm.pulse import ANSWER_S, GiveUp, Pulse, SendPing
from flyfs.swarm.standing import Standing
from flyfs.transport.greeting import Dialled, dial
from flyfs.transport.link import MAX_INCOMING, Handler, Link
from flyfs.wire.messages import GetPiece, Hello, Message, Ping, Welcome

TELL_TIMEOUT_S = 5.0
"""A supernode that takes no news for this long is as good as lost: the next session starts from the whole state."""

MAX_ASKED = MAX_INCOMING - 56
"""Questions on their way at once: fewer than the other side serves at once, so that a ping never waits behind them."""

log = structlog.get_logger(__name__)


class SessionListener(Protocol):
    """Who is told about a session; called on the loop."""

    def session_came(self, session: "SupernodeSession", welcome: Welcome) -> None:
        """A supernode answers."""
        ...

    def session_left(self, session: "SupernodeSession") -> None:
        """It does not any more."""
        ...

    def session_refused(self) -> None:
        """The first attempt to reach one failed: it is worth waiting for no longer."""
        ...


class _Live:
    """One session while it lasts."""

    def __init__(self, control: Link, data: Link, pulse: Pulse) -> None:
        self.control = control
        self.data = data
        self.pulse = pulse
        self.stirred = trio.Event()  # an answer is due that was not before
        self.asking = trio.CapacityLimiter(MAX_ASKED)

    @property
    def lost(self) -> bool:
        return self.control.closed or self.data.closed

    @contextmanager
    def due(self) -> Generator[None, None, None]:
        """While an answer is due."""
        if self.pulse.asked(trio.current_time()):
            self.stirred.set()
        try:
            yield
        finally:
            self.pulse.answered()


class SupernodeSession:
    """One supernode, as this peer talks to it. ``run`` must be running."""

    def __init__(
        self,
        address: Address,
        standing: Standing,
        hello: Callable[[], Hello],
        listener: SessionListener,
        handle: Handler,
        *,
        idle_s: float,
        limit: HostLimit = UNLIMITED,
    ) -> None:
        """``handle`` serves what the supernode sends by itself; ``idle_s`` is the pause between pings while nothing is due."""
        self.address = address
        self.standing = standing
        self._hello = hello
        self._listener = listener
        self._handle = handle
        self._idle_s = idle_s
        self._limit = limit
        self._live: _Live | None = None
        self._woken = trio.Event()

    def __repr__(self) -> str:
        return f"<SupernodeSession {self.address}>"

    @property
    def up(self) -> bool:
        """Whether the supernode answers now."""
        return self._live is not None

    def wake(self) -> None:
        """Its standing may say that it should be tried now."""
        self._woken.set()

    async def run(self) -> None:
        """Opens the session whenever its standing says so, for ever."""
        while True:
            self._woken = trio.Event()
            if self.standing.next_try <= trio.current_time():
                await self._talk()
            else:
                with trio.move_on_at(self.standing.next_try):
                    await self._woken.wait()

    async def _talk(self) -> None:
        """Talks with the supernode until the session is lost."""
        live: _Live | None = None
        reason = self.standing.reason
        try:
            async with (
                dial(self.address, self._hello(), self._limit) as control,
                dial(self.address, self._hello(), self._limit) as data,
                trio.open_nursery() as nursery,
            ):
                now = trio.current_time()
                live = _Live(control.link, data.link, Pulse(now, idle_s=self._idle_s))
                nursery.start_soon(self._run_link, live, control, nursery.cancel_scope)
                nursery.start_soon(self._run_link, live, data, nursery.cancel_scope)
                nursery.start_soon(self._watch, live, nursery)
                self._begin(live, control.welcome)
        except FlyfsError as error:
            if reason != error.message:
                log.warning("swarm.supernode.unreachable", address=str(self.address), reason=error.message)
            self._refused(error)
        finally:
            if live is not None:
                self._end(live)

    def _refused(self, error: FlyfsError) -> None:
        now = trio.current_time()
        first = self.standing.state(now) == "unknown"
        self.standing.refused(now, error.message)
        if isinstance(error, ProtocolError):
            self.standing.misbehaved(now, error.message, gravely=True)
        if first:
            self._listener.session_refused()

    def _begin(self, live: _Live, welcome: Welcome) -> None:
        self._live = live
        self.standing.came(trio.current_time())
        log.info("swarm.supernode.up", address=str(self.address))
        self._listener.session_came(self, welcome)

    def _end(self, live: _Live, reason: str = "the connection was lost") -> None:
        """The session is over, whoever notices first. Whoever waits for an answer wakes up in a world that knows."""
        if self._live is not live:
            return
        self._live = None
        live.control.close(reason)
        live.data.close(reason)
        self.standing.lost(trio.current_time(), reason)
        if trio.current_effective_deadline() != float("-inf"):  # else we are ending ourselves
            log.warning("swarm.supernode.lost", address=str(self.address), reason=reason)
        self._listener.session_left(self)

    async def _run_link(self, live: _Live, dialled: Dialled, both: trio.CancelScope) -> None:
        try:
            await dialled.link.run(self._handle)
        except ProtocolError as error:
            log.warning("swarm.supernode.protocol", link=dialled.link.name, reason=error.message)
            self.standing.misbehaved(trio.current_time(), error.message, gravely=True)
        finally:
            self._end(live)
            both.cancel()  # one connection without the other is no session

    async def _watch(self, live: _Live, nursery: trio.Nursery) -> None:
        """Pings when it has been quiet for too long, and ends the session when that brings nothing either."""
        while True:
            live.stirred = trio.Event()
            live.pulse.heard(max(live.control.heard_at, live.data.heard_at))
            for command in live.pulse.next_commands(trio.current_time()):
                match command:
                    case SendPing():
                        nursery.start_soon(self._ping, live)
                    case GiveUp(silent_s):
                        self._end(live, f"silent for {silent_s:.1f} s")
                        return
            with trio.move_on_at(live.pulse.next_deadline()):
                await live.stirred.wait()

    @staticmethod
    async def _ping(live: _Live) -> None:
        try:
            await live.control.request(Ping(), timeout_s=ANSWER_S)
        except FlyfsError:
            return  # whether that means anything, the pulse says

    def misbehaved(self, reason: str) -> None:
        """The supernode sent bytes that do not fit their digest."""
        if self.standing.misbehaved(trio.current_time(), reason) and self._live is not None:
            self._end(self._live, reason)

    async def ask(self, message: Message, *, timeout_s: float) -> Message:
        """Asks a question.

        Raises:
            Unanswered: the supernode does not answer, or not in time.
            FlyfsError: what it said.
        """
        live = self._living()
        until = trio.current_time() + timeout_s
        with trio.move_on_at(until) as scope:
            await live.asking.acquire()
        if scope.cancelled_caught:
            raise Unanswered(f"{self.address}: {MAX_ASKED} questions are waiting for their answers")
        try:
            return await self._request(live, live.control, message, until - trio.current_time())
        finally:
            live.asking.release()

    async def fetch(self, message: GetPiece, into: memoryview, *, timeout_s: float, urgency: Urgency) -> Message:
        """Asks for a piece, over the connection for bulk unless it is demanded. Raises as ``ask``."""
        live = self._living()
        return await self._request(
            live, live.control if message.demand else live.data, message, timeout_s, into=into, urgency=urgency
        )

    async def _request(
        self,
        live: _Live,
        link: Link,
        message: Message,
        timeout_s: float,
        *,
        into: memoryview | None = None,
        urgency: Urgency | None = None,
    ) -> Message:
        try:
            with live.due():
                return await link.request(message, timeout_s=max(0.0, timeout_s), into=into, urgency=urgency)
        except Unanswered:
            if live.lost:  # whoever asked may hear of it before the session does
                self._end(live)
            raise

    async def tell(self, message: Message) -> None:
        """Sends an event; lost without a trace where nobody answers (a new session starts from the whole state)."""
        if self._live is None:
            return
        live = self._live
        with trio.move_on_after(TELL_TIMEOUT_S) as scope:
            try:
                await live.control.send(message)
            except Unavailable:
                return
        if scope.cancelled_caught:
            self._end(live, "it takes no news")

    def _living(self) -> _Live:
        if self._live is None:
            raise Unanswered(f"{self.address}: {self.standing.reason or 'not tried yet'}")
        return self._live
