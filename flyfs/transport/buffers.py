"""Reused buffers for piece bodies under one byte budget for the whole process. Shell (waits, but does no I/O).

A demand that finds the budget spent waits its turn; a prefetch is refused at once, and never gets the last quarter, which a slow
disk might hold for long: read-ahead can never starve a reader. What no reader wants yet gets half of what prefetches may have.
"""

from collections import deque

import trio

from flyfs.core.grid import MIB
from flyfs.limit.budget import Budget
from flyfs.limit.host_limit import UNLIMITED

DEFAULT_BUDGET_BYTES = 64 * MIB
DEMAND_SHARE = 4
"""One in so many bytes is kept for demands."""
PREFETCH_S = 1
"""So much of the host's limit may be on its way before anybody needs it: what is asked for must come before it is given up."""


class BufferPool:
    """Lends memory; what was given back is lent again without being touched by the allocator."""

    def __init__(self, budget_bytes: int = DEFAULT_BUDGET_BYTES, *, receiving: Budget = UNLIMITED.receive) -> None:
        """``receiving`` is what this host may receive in a second."""
        self.budget_bytes = budget_bytes
        self._receiving = receiving
        self._lent_bytes = 0
        self._idle: dict[int, list[bytearray]] = {}
        self._idle_bytes = 0
        self._waiting: deque[tuple[int, trio.Event]] = deque()

    @property
    def lent_bytes(self) -> int:
        """Bytes on loan now."""
        return self._lent_bytes

    async def lend(self, size: int) -> "Loan":
        """A buffer of ``size`` bytes; waits, first come first served, until the budget allows it."""
        loan = self.lend_nowait(size)
        if loan is not None:
            return loan
        turn = trio.Event()
        place = (size, turn)
        self._waiting.append(place)
        try:
            await turn.wait()
        except trio.Cancelled:
            if turn.is_set():  # our bytes were set aside already
                self._lent_bytes -= size
            else:
                self._waiting.remove(place)
            self._wake()
            raise
        return self._loan(size)

    def lend_nowait(self, size: int) -> "Loan | None":
        """A buffer of ``size`` bytes, None where the budget is spent."""
        return self._lend(size, self.budget_bytes)

    def lend_spare(self, size: int, *, background: bool = False) -> "Loan | None":
        """A buffer for a prefetch, or for what no reader wants yet (``background``); None where the rest is kept for others."""
        most = self.budget_bytes - self.budget_bytes // DEMAND_SHARE
        if self._receiving.rate:  # two at least: one is written while the other comes
            most = min(most, max(self._receiving.rate * PREFETCH_S, 2 * size))
        return self._lend(size, max(most // 2, 2 * size) if background else most)

    def _lend(self, size: int, budget_bytes: int) -> "Loan | None":
        if self._waiting or not self._fits(size, budget_bytes):
            return None
        self._lent_bytes += size
        return self._loan(size)

    def _fits(self, size: int, budget_bytes: int) -> bool:
        # One buffer always fits, however small the budget: somebody must get on.
        return self._lent_bytes == 0 or self._lent_bytes + size <= budget_bytes

    def _loan(self, size: int) -> "Loan":
        idle = self._idle.get(size)
        if idle:
            memory = idle.pop()
            self._forget_idle(size)
            return Loan(self, memory)
        return Loan(self, bytearray(size))

    def take_back(self, memory: bytearray) -> None:
        """Called by a loan that ends."""
        size = len(memory)
        self._lent_bytes -= size
        while self._idle and self._idle_bytes + size > self.budget_bytes // 2:
            other = next(iter(self._idle))  # the size that was used first, perhaps by nobody any more
            self._idle[other].pop()
            self._forget_idle(other)
        self._idle.setdefault(size, []).append(memory)
        self._idle_bytes += size
        self._wake()

    def _forget_idle(self, size: int) -> None:
        self._idle_bytes -= size
        if not self._idle[size]:
            del self._idle[size]

    def _wake(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0], self.budget_bytes):
            size, turn = self._waiting.popleft()
            self._lent_bytes += size
            turn.set()


class Loan:
    """A buffer on loan. As a context manager it gives its view, and gives the buffer back on leaving."""

    __slots__ = ("_memory", "_pool", "view")

    def __init__(self, pool: BufferPool, memory: bytearray) -> None:
        self._pool = pool
        self._memory: bytearray | None = memory
        self.view = memoryview(memory)

    def give_back(self) -> None:
        """Ends the loan; the second time does nothing."""
        if self._memory is not None:
            memory, self._memory = self._memory, None
            self.view.release()
            self._pool.take_back(memory)

    def __enter__(self) -> memoryview:
        return self.view

    def __exit__(self, *_: object) -> None:
        self.give_back()
