"""What one connection receives, at the pace of the host's budget. Shell (waits)."""

import socket

import trio

from flyfs.limit.bucket import slice_bytes
from flyfs.limit.budget import Budget, Permit
from flyfs.limit.receive_buffer import ReceiveBuffer
from flyfs.limit.turns import Urgency


class Intake:
    """Of one connection.

    Attributes:
        urgency: of what is received now.
    """

    def __init__(self, sock: socket.socket | trio.socket.SocketType, budget: Budget, urgency: Urgency) -> None:
        self.urgency = urgency
        self._budget = budget
        self._buffer = ReceiveBuffer(sock)
        self._held_s = 0.0
        self._held_since: float | None = None

    def limited(self) -> bool:
        """Whether bytes have to be asked for, once they are there. Where that is over, the kernel gets its buffer back."""
        limited = self._budget.limited
        if not limited and self._buffer.fitted:
            self._buffer.release()
        return limited

    @property
    def slice_bytes(self) -> int:
        """How many are given at once while it is limited: more need not be there for a wake-up."""
        return slice_bytes(self._budget.rate)

    async def permit(self, most: int) -> Permit:
        """Waits until some of ``most`` bytes may be taken; tell ``took`` how many there were. Raises OSError once closed."""
        self._buffer.fit(self._budget.rate)
        self._held_since = trio.current_time()
        try:
            return await self._budget.take(most, self.urgency)
        finally:
            self._held_s = self.held_s()
            self._held_since = None

    def took(self, permit: Permit, count: int) -> None:
        """So many of the permitted bytes were there. Raises OSError where the connection is closed."""
        if permit.priority is not None:
            self._budget.owe(self._buffer.uncounted(), permit.priority)
            self._budget.give_back(permit, permit.count - count)

    def came(self, count: int) -> None:
        """So many bytes were taken without being asked for."""
        self._budget.charge(count)

    def held_s(self) -> float:
        """For how long, all in all, bytes that may have been there were left waiting for the budget."""
        return self._held_s + (0.0 if self._held_since is None else trio.current_time() - self._held_since)
