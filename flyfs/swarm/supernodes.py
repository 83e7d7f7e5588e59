"""All supernodes that are configured, and which of them to ask about what. Shell.

Each key (a URL) has its own order of supernodes; the first that is up is asked. A session is opened when a key first needs it,
and kept. Whoever asks is passed on to the next when one is lost, within the time it has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from math import inf
from typing import Literal, Protocol

import structlog
import trio

from flyfs.core.address import Address
from flyfs.core.errors import Unanswered, Unavailable
from flyfs.core.rendezvous import ranked
from flyfs.limit.host_limit import UNLIMITED, HostLimit
from flyfs.swarm.pulse import IDLE_S
from flyfs.swarm.roster import Roster
from flyfs.swarm.session import SupernodeSession
from flyfs.swarm.standing import Standing, choose
from flyfs.transport.link import Handler
from flyfs.wire.messages import Hello, Message, Welcome

log = structlog.get_logger(__name__)


class NoSupernode(Unavailable):
    """None of the supernodes answers; the message says why, one by one."""


class SupernodesListener(Protocol):
    """Who is told about the sessions; called on the loop."""

    def session_left(self, session: SupernodeSession) -> None:
        """A supernode does not answer any more; whatever it was told is told to nobody."""
        ...

    def supernodes_changed(self) -> None:
        """Another choice than before may be right for any key."""
        ...


@dataclass(frozen=True, slots=True)
class SupernodeState:
    """One supernode, for ``status``: ``state`` is up, down or isolated, ``reason`` says why it is not up."""

    address: str
    state: Literal["up", "down", "isolated"]
    reason: str | None


class Supernodes:
    """Sessions by address. ``run`` must be running."""

    def __init__(
        self,
        roster: Roster,
        hello: Callable[[], Hello],
        listener: SupernodesListener,
        handle: Handler,
        *,
        grace_s: float,
        limit: HostLimit = UNLIMITED,
    ) -> None:
        """``handle`` serves what supernodes send by themselves; ``grace_s`` is how long one that is lost is waited for."""
        self.changed = trio.Event()
        """Set, and replaced, whenever another choice may be right."""
        self._roster = roster
        self._hello = hello
        self._listener = listener
        self._handle = handle
        self._grace_s = grace_s
        self._limit = limit
        self._sessions: dict[Address, SupernodeSession] = {}
        self._scopes: dict[Address, trio.CancelScope] = {}
        self._keys: dict[SupernodeSession, bytes] = {}
        self._nobody_since: float | None = 0.0
        self.trusted_keys: frozenset[bytes] = frozenset()
        """Keys of the supernodes that were talked to since the start: whose signatures over digests count."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps to the roster for ever, and one session at least."""
        self._nobody_since = trio.current_time()
        async with trio.open_nursery() as nursery:
            while True:
                changed = self._roster.changed
                self._keep_to_roster(nursery)
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                await changed.wait()

    def _keep_to_roster(self, nursery: trio.Nursery) -> None:
        listed = [one.address for one in self._roster.candidates]
        for address in [address for address in self._sessions if address not in listed]:
            del self._sessions[address]
            self._scopes.pop(address).cancel()
            log.info("swarm.supernode.unlisted", address=str(address))
        for address in listed:
            if address not in self._sessions:
                self._scopes[address] = trio.CancelScope()
                self._sessions[address] = session = self._new_session(address)
                nursery.start_soon(self._run_session, session, self._scopes[address])
        self._choice_changed()

    def _new_session(self, address: Address) -> SupernodeSession:
        seed = f"{self._hello().peer_id}|{address}"
        spread = blake2b(seed.encode(), digest_size=1).digest()[0] / 255
        idle_s = IDLE_S * (0.75 + 0.5 * spread)
        return SupernodeSession(address, Standing(seed), self._hello, self, self._handle, idle_s=idle_s, limit=self._limit)

    @staticmethod
    async def _run_session(session: SupernodeSession, scope: trio.CancelScope) -> None:
        with scope:
            await session.run()

    def _choice_changed(self) -> None:
        self.choose(self._hello().peer_id)  # one is always there, each peer's own
        self._listener.supernodes_changed()
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    # -- what sessions tell (session.SessionListener) ------------------------------------------------------------------

    def session_came(self, session: SupernodeSession, welcome: Welcome) -> None:
        """A supernode answers."""
        self._nobody_since = None
        if welcome.key:
            others = {key for other, key in self._keys.items() if other is not session and other.up}
            if others - {welcome.key}:
                log.warning("swarm.supernode.key_differs", address=str(session.address))
            self._keys[session] = welcome.key
            self.trusted_keys |= {welcome.key}
        self._choice_changed()

    def session_left(self, session: SupernodeSession) -> None:
        """It does not any more."""
        self._keys.pop(session, None)
        if not self.up:
            self._nobody_since = trio.current_time()
        self._listener.session_left(session)
        self._choice_changed()

    def session_refused(self) -> None:
        """Whoever waits for one that was never reached takes the next."""
        self._choice_changed()

    # -- choosing ------------------------------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Whether any supernode answers now."""
        return any(session.up for session in self._sessions.values())

    @property
    def alone_at(self) -> float:
        """When no supernode will have answered for so long that none is waited for any more; infinity while one does."""
        return inf if self._nobody_since is None else self._nobody_since + self._grace_s

    def order(self, key: str) -> list[SupernodeSession]:
        """All of them, the one that is responsible for ``key`` first."""
        return [self._sessions[address] for address in ranked(key, self._roster.candidates) if address in self._sessions]

    def choose(self, key: str) -> tuple[SupernodeSession | None, float]:
        """Whom to ask about ``key`` now, None for nobody yet; and when that may be another one though nothing happened."""
        order = self.order(key)
        chosen, again = choose([session.standing for session in order], trio.current_time())
        for session in order:
            session.wake()
            if session.standing is chosen:
                return session, again
        return None, again

    async def reach(self, key: str) -> SupernodeSession:
        """Whom to ask about ``key``; waits a moment for sessions that are being opened.

        Raises:
            NoSupernode: none answers, and that has been so for a while.
        """
        began = trio.current_time()
        while True:
            changed = self.changed
            session, again = self.choose(key)
            if session is not None:
                return session
            since = began if self._nobody_since is None else self._nobody_since
            until = again if again < inf else since + self._grace_s
            if until <= trio.current_time():
                raise NoSupernode(self.why())
            with trio.move_on_at(until):
                await changed.wait()

    def is_responsible(self, session: SupernodeSession, key: str) -> bool:
        """Whether a supernode is the first in order for ``key``, and does not only stand in."""
        return session is next(iter(self.order(key)), None)

    async def ask(self, key: str, question: Callable[[SupernodeSession], Message], *, timeout_s: float) -> Message:
        """Asks whoever is responsible for ``key``, or stands in; the next one where the session is lost meanwhile.

        ``question`` gives what to ask a given supernode.

        Raises:
            NoSupernode: none answers.
            Unanswered: the one that is there does not answer in time.
            FlyfsError: what it said.
        """
        until = trio.current_time() + timeout_s
        while True:
            session = await self.reach(key)
            try:
                return await session.ask(question(session), timeout_s=until - trio.current_time())
            except Unanswered:
                if session.up or trio.current_time() >= until:
                    raise

    def states(self) -> list[SupernodeState]:
        """All of them, for people; and each name that cannot be resolved."""
        now = trio.current_time()
        found = [
            SupernodeState(str(address), "down", "not needed so far")
            if (state := session.standing.state(now)) == "unknown"
            else SupernodeState(str(address), state, session.standing.reason)
            for address, session in self._sessions.items()
        ]
        return found + [SupernodeState(name, "down", reason) for name, reason in self._roster.troubles.items()]

    def why(self) -> str:
        """That no supernode answers, and why each of them does not."""
        told = "; ".join(f"{one.address}: {one.reason or 'not tried yet'}" for one in self.states() if one.state != "up")
        return f"no supernode answers ({told or 'none is configured'})"
