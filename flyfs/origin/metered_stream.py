"""A TCP stream to an origin that takes part in the host's limit, below TLS: what crosses the wire is what counts. Shell."""

import math
from collections.abc import Generator
from contextlib import contextmanager

import trio

from flyfs.core.grid import KIB
from flyfs.limit.bucket import Priority
from flyfs.limit.budget import Permit
from flyfs.limit.host_limit import HostLimit
from flyfs.limit.intake import Intake

_RECEIVE_BYTES = 64 * KIB
"""Where the caller does not say: what a trio socket gives at once."""


def demanded() -> Priority:
    """The urgency of heads, handshakes and requests: they are small, and somebody waits for each."""
    return Priority.DEMAND


class MeteredStream(trio.abc.Stream):
    """One connection.

    Attributes:
        intake: whoever reads the socket itself asks it.
    """

    def __init__(self, stream: trio.SocketStream, limit: HostLimit) -> None:
        self.socket = stream.socket
        self.intake = Intake(stream.socket, limit.receive, demanded)
        self._send = limit.send
        self._stream = stream
        self._stall: tuple[trio.CancelScope, float] | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends a request, or a handshake: too little to wait for the budget. Raises as ``trio.SocketStream``."""
        await self._stream.send_all(data)
        self._send.charge(len(data))

    async def wait_send_all_might_not_block(self) -> None:
        """As ``trio.SocketStream``."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """At least a byte, empty at the end. Raises as ``trio.SocketStream``."""
        if not self.intake.limited():
            return await self._stream.receive_some(max_bytes)
        await trio.lowlevel.wait_readable(self.socket)
        permit = await self._permit_unhurried(max_bytes or _RECEIVE_BYTES)
        data = await self._stream.receive_some(permit.count)
        self.intake.took(permit, len(data))
        return data

    async def _permit_unhurried(self, most: int) -> Permit:
        if self._stall is None:
            return await self.intake.permit(most)
        scope, timeout_s = self._stall
        scope.deadline = math.inf
        permit = await self.intake.permit(most)
        scope.deadline = trio.current_time() + timeout_s
        return permit

    @contextmanager
    def stalling(self, timeout_s: float) -> Generator[None, None, None]:
        """Raises ``trio.TooSlowError`` where the other side is silent so long; to wait for the budget is no silence of it."""
        with trio.fail_after(timeout_s) as scope:
            self._stall = (scope, timeout_s)
            try:
                yield
            finally:
                self._stall = None

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._stream.aclose()
