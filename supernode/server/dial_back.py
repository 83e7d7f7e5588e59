"""Tries whether peers can be reached where they say: connects, greets, and hangs up. Shell.

Nothing is told to whoever answers but who we are, and nothing to the peer but whether it was itself.
"""

import socket
from collections.abc import Callable
from ipaddress import ip_address

import structlog
import trio

from flyfs.core.address import Address, parse_address
from flyfs.core.errors import FlyfsError
from flyfs.transport.greeting import dial
from flyfs.wire.messages import Hello
from supernode.server.reachability import Claim, Reachability, refusal

ANSWER_S = 3.0
"""How long a peer may take to answer; beyond it neighbours would have gone elsewhere long ago."""

log = structlog.get_logger(__name__)


class DialBack:
    """Keeps the record of who was reached. ``run`` must be running."""

    def __init__(self, hello: Callable[[], Hello]) -> None:
        self._hello = hello
        self._record = Reachability()
        self._came_from: dict[Claim, str] = {}
        self._listeners: dict[Claim, list[Callable[[str | None], None]]] = {}
        self._stirred = trio.Event()

    def peer_came(self, claim: Claim, came_from: str, tell: Callable[[str | None], None]) -> Callable[[], None]:
        """A session of a peer began; ``tell`` hears each verdict (None where it was reached). Gives what ends that."""
        self._came_from[claim] = came_from
        listeners = self._listeners.setdefault(claim, [])
        listeners.append(tell)
        self._record.peer_came(claim, trio.current_time())
        self._stirred.set()

        def leave() -> None:
            self._record.peer_left(claim)
            listeners.remove(tell)
            if not listeners and self._listeners.get(claim) is listeners:
                del self._listeners[claim]
                del self._came_from[claim]

        return leave

    def reaches(self, claim: Claim) -> bool:
        """Whether the peer was reached there."""
        return self._record.reaches(claim)

    def unreachable(self) -> list[tuple[Claim, str]]:
        """Connected peers that could not be reached, and why."""
        return self._record.unreachable()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tries what is due, for ever."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                self._stirred = trio.Event()
                for claim in self._record.next_claims(trio.current_time()):
                    nursery.start_soon(self._try, claim)
                with trio.move_on_at(self._record.next_deadline()):
                    await self._stirred.wait()

    async def _try(self, claim: Claim) -> None:
        reason: str | None = "no answer in time"
        try:
            with trio.move_on_after(ANSWER_S):
                reason = await self._reach(claim)
        finally:
            self._record.tried(claim, reason, trio.current_time())
            self._stirred.set()
        if reason is not None:
            log.info("server.peer.unreachable", peer=claim.peer_id, address=claim.address, reason=reason)
        for tell in tuple(self._listeners.get(claim, ())):
            tell(reason)

    async def _reach(self, claim: Claim) -> str | None:
        """Why the peer is not reached at its address; None where it is."""
        address = parse_address(claim.address)
        try:
            found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except OSError as error:
            return f"the name cannot be resolved ({error.strerror})"
        reason = "the name has no address"
        for *_, place in found:
            host = str(place[0])
            refused = refusal(ip_address(host.partition("%")[0]), self._came_from.get(claim, host))
            reason = refused if refused is not None else await self._greet(Address(host, address.port), claim)
            if not reason:
                return None
        return reason

    async def _greet(self, address: Address, claim: Claim) -> str:
        """Why the peer does not answer there; empty where it does."""
        try:
            async with dial(address, self._hello()) as dialled:
                if dialled.welcome.peer_id != claim.peer_id:
                    return "another peer answers there"
                return ""
        except FlyfsError as error:
            return error.message.removeprefix(f"{address}: ")
