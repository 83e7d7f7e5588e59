"""The connection to the supernode: found again when lost, and what is asked over it. Shell.

Two connections: one for questions and news, one for pieces, so that a ``stat`` never waits behind bulk. The configured
supernodes are tried in order; after a loss the next one is tried at once, and waiting grows only once all have failed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
import trio

from flyfs.core.address import Address
from flyfs.core.errors import FlyfsError, ProtocolError, Unanswered, Unavailable
from flyfs.core.ids import BlobId
from flyfs.transport.greeting import Dialled, dial
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import Hello, Introduce, Message, Neighbour, Retire, Welcome

GRACE_S = 1.0
"""How long a question waits for a session that is just being found (again); after that it fails at once."""

TELL_TIMEOUT_S = 5.0
"""A supernode that takes no news for this long is as good as lost: the next session starts from the whole state."""

_PAUSE_S = (0.1, 1.0)

log = structlog.get_logger(__name__)


class SessionListener(Protocol):
    """Who is told about the session; called on the loop."""

    def session_came(self, welcome: Welcome) -> None:
        """A supernode answers."""
        ...

    def session_left(self) -> None:
        """It does not any more."""
        ...

    def introduced(self, blob_id: BlobId, neighbours: Sequence[Neighbour]) -> None:
        """The supernode names more neighbours for a blob."""
        ...

    def retired(self, blob_id: BlobId, reason: str) -> None:
        """A blob is over or forked: it must not be served any more."""
        ...


@dataclass(slots=True)
class SupernodeState:
    """One configured supernode, for ``status``."""

    address: Address
    state: str = "down"
    reason: str | None = None


@dataclass(slots=True)
class _Live:
    control: Link
    data: Link
    welcome: Welcome


@dataclass
class SupernodeSession:
    """Asks the first supernode that answers. ``run`` keeps the session alive."""

    addresses: Callable[[], Sequence[Address]]
    """The configured supernodes; asked again before each round, because an embedded one changes its port."""
    hello: Hello
    listener: SessionListener
    states: dict[str, SupernodeState] = field(default_factory=dict)
    _live: _Live | None = None
    _came: trio.Event = field(default_factory=trio.Event)
    _down_since: float | None = None

    @property
    def up(self) -> bool:
        """Whether a supernode answers now."""
        return self._live is not None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps a session with one of the supernodes for ever."""
        task_status.started()
        self._down_since = trio.current_time()
        pause_s = _PAUSE_S[0]
        while True:
            for address in self.addresses():
                if await self._one_session(address):
                    pause_s = _PAUSE_S[0]
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S[1])

    async def _one_session(self, address: Address) -> bool:
        """Talks with one supernode until the session is lost; False where there was none."""
        state = self.states.setdefault(str(address), SupernodeState(address))
        talked = False
        try:
            async with dial(address, self.hello) as control, dial(address, self.hello) as data, trio.open_nursery() as nursery:
                talked = True
                nursery.start_soon(self._run_link, control, nursery.cancel_scope)
                nursery.start_soon(self._run_link, data, nursery.cancel_scope)
                self._begin(state, _Live(control.link, data.link, control.welcome))
        except FlyfsError as error:
            if state.reason != error.message:
                log.warning("swarm.supernode.unreachable", address=str(address), reason=error.message)
            state.reason = error.message
        finally:
            self._end(state)
        return talked

    async def _run_link(self, dialled: Dialled, both: trio.CancelScope) -> None:
        try:
            await dialled.link.run(self._handle)
        except ProtocolError as error:
            log.warning("swarm.supernode.protocol", link=dialled.link.name, reason=error.message)
        finally:
            both.cancel()  # one connection without the other is no session

    def _begin(self, state: SupernodeState, live: _Live) -> None:
        state.state, state.reason = "up", None
        self._live, self._down_since = live, None
        log.info("swarm.supernode.up", address=str(state.address))
        self.listener.session_came(live.welcome)
        self._came.set()

    def _end(self, state: SupernodeState) -> None:
        state.state = "down"
        if self._live is None:
            return
        self._live = None
        self._came = trio.Event()
        self._down_since = trio.current_time()
        state.reason = "the connection was lost"
        if trio.current_effective_deadline() != float("-inf"):  # else we are ending ourselves
            log.warning("swarm.supernode.lost", address=str(state.address))
        self.listener.session_left()

    async def _handle(self, _: Link, message: Message) -> Answer | None:
        match message:
            case Introduce(blob_id=blob_id, neighbours=neighbours):
                self.listener.introduced(blob_id, neighbours)
            case Retire(blob_id=blob_id, reason=reason):
                self.listener.retired(blob_id, reason)
            case _:
                raise Unavailable(f"a peer does not serve {type(message).__name__} on this connection")
        return None

    async def ask(self, message: Message, *, timeout_s: float) -> Message:
        """Asks a question.

        Raises:
            Unavailable: no supernode answers (at once, if that has been so for a second), or not in time.
            FlyfsError: what the supernode said.
        """
        live = await self._session()
        return await live.control.request(message, timeout_s=timeout_s)

    async def fetch(self, message: Message, into: memoryview, *, timeout_s: float) -> Message:
        """Asks for a piece, over the connection for pieces. Raises as ``ask``, but never waits for a session."""
        if self._live is None:
            raise Unanswered(self._unavailable().message)
        return await self._live.data.request(message, timeout_s=timeout_s, into=into)

    async def tell(self, message: Message) -> None:
        """Sends an event; lost without a trace where nobody answers (a new session starts from the whole state)."""
        if self._live is None:
            return
        link = self._live.control
        with trio.move_on_after(TELL_TIMEOUT_S) as scope:
            try:
                await link.send(message)
            except Unavailable:
                return
        if scope.cancelled_caught:
            link.close("it takes no news")

    async def _session(self) -> _Live:
        while self._live is None:
            since = self._down_since if self._down_since is not None else trio.current_time()
            with trio.move_on_at(since + GRACE_S) as scope:
                await self._came.wait()
            if scope.cancelled_caught:
                raise self._unavailable()
        return self._live

    def _unavailable(self) -> Unavailable:
        told = "; ".join(f"{state.address}: {state.reason or 'not tried yet'}" for state in self.states.values())
        return Unavailable(f"no supernode answers ({told or 'none is configured'})")
