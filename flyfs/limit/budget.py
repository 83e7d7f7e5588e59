"""One direction's budget, as what moves bytes sees it: ask for a slice, wait until it may begin, move it. Shell (waits).

Within a process one flow of each priority at a time queues at the shared bucket, so that processes share evenly however many
connections each has; demands queue at once. Without a limit the cost is one look at a word of mapped memory, and nothing waits.
"""

from dataclasses import dataclass
from typing import Protocol

import trio

from flyfs.limit.bucket import SECOND_NS, Bucket, Grant, Priority, delayed_start, slice_bytes
from flyfs.limit.layout import GRANTED, RATE, Direction, HeaderWord, load_bucket, save_bucket
from flyfs.limit.turns import Place, Turns, Urgency

CHECK_S = 0.05
"""Who waits looks this often whether it has become urgent, or the limit another one."""

PATIENCE_S = 4.0
"""Whoever waited so long gets a slice as if it were a demand: a connection that nobody reads is given up by its sender."""


class SharedFile(Protocol):
    """The file that all processes of the host share, as ``host_limit`` keeps it."""

    words: memoryview
    """All of it; single words may be read without the lock."""
    looks_at_ns: int
    """From when on ``look`` should be called."""

    def look(self) -> None:
        """Looks whether another file, or another limit, counts by now."""
        ...

    def clock_ns(self) -> int:
        """The host's monotonic clock."""
        ...

    async def lock(self) -> bool:
        """Takes the lock; False where its owner keeps it too long, and one goes on without. Always a checkpoint."""
        ...

    def lock_nowait(self) -> bool:
        """Takes the lock, where it is free."""
        ...

    def unlock(self) -> None:
        """Gives the lock up."""
        ...


@dataclass(frozen=True, slots=True)
class Permit:
    """``count`` bytes may move now. ``priority`` is what they were counted as, None where there is no limit."""

    count: int
    priority: Priority | None


class Budget:
    """One direction."""

    def __init__(self, shared: SharedFile, direction: Direction) -> None:
        self._shared = shared
        self._direction = direction
        self._queues: dict[Priority, Turns] = {priority: Turns() for priority in Priority if priority is not Priority.DEMAND}
        self._owed = [0] * len(Priority)
        """Bytes that moved and are not in the file yet; below 0: in the file, but not moved."""

    @property
    def limited(self) -> bool:
        """Whether bytes have to be asked for."""
        shared = self._shared
        if shared.clock_ns() >= shared.looks_at_ns:
            shared.look()
        return shared.words[self._direction + RATE] != 0

    @property
    def rate(self) -> int:
        """Bytes per second, 0 for no limit."""
        return self._shared.words[self._direction + RATE]

    async def take(self, most: int, urgency: Urgency) -> Permit:
        """Waits until some of ``most`` bytes may move, and says how many: a slice, or all where there is no limit (any more).

        They should move at once; ``give_back`` what does not.
        """
        place, queued_as = None, None
        patient_until = trio.current_time() + PATIENCE_S

        def pressing() -> Priority:
            return Priority.DEMAND if trio.current_time() >= patient_until else urgency()

        try:
            while self.rate:
                priority = pressing()
                if priority is not queued_as:
                    if place is not None:
                        place.leave()
                    place, queued_as = self._enter(priority), priority
                if place is not None and not place.has_turn:
                    with trio.move_on_after(CHECK_S):
                        await place.turn()
                    continue
                permit = await self._granted(most, priority, pressing)
                if permit is not None:
                    return permit
            return Permit(most, None)
        finally:
            if place is not None:
                place.leave()

    def _enter(self, priority: Priority) -> Place | None:
        queue = self._queues.get(priority)
        return queue.enter(lambda: priority) if queue is not None else None

    async def _granted(self, most: int, priority: Priority, urgency: Urgency) -> Permit | None:
        """A grant whose time has come; None where it has to be asked for anew."""
        locked = await self._shared.lock()
        try:
            changes = self._shared.words[HeaderWord.CHANGES]
            grant = self._grant(most, priority)
        finally:
            if locked:
                self._shared.unlock()
        if grant is None:
            return None
        permit = Permit(grant.count, priority)
        try:
            while (wait_ns := self._wait_ns(grant)) > 0:
                await trio.sleep(min(wait_ns / SECOND_NS, CHECK_S))
                if urgency() < priority or self._shared.words[HeaderWord.CHANGES] != changes:
                    self.give_back(permit, permit.count)
                    return None
        except trio.Cancelled:
            self.give_back(permit, permit.count)
            raise
        return permit

    def _grant(self, most: int, priority: Priority) -> Grant | None:
        """Under the lock. None where there is no limit."""
        bucket = load_bucket(self._shared.words, self._direction)
        if not bucket.rate:
            return None
        now_ns = self._shared.clock_ns()
        self._settle(bucket, now_ns)
        grant = bucket.grant(priority, min(most, slice_bytes(bucket.rate)), now_ns)
        save_bucket(self._shared.words, self._direction, bucket)
        return grant

    def _wait_ns(self, grant: Grant) -> int:
        """How long still; read without the lock."""
        words, first = self._shared.words, self._direction + GRANTED
        rate = words[self._direction + RATE]
        above = sum(words[first : first + grant.priority])
        return delayed_start(grant, above, rate) - self._shared.clock_ns() if rate else 0

    def owe(self, count: int, priority: Priority) -> None:
        """Counts bytes that have moved beyond what was asked for, or (below 0) fewer; entered with the next grant."""
        self._owed[priority] += count

    def give_back(self, permit: Permit, count: int) -> None:
        """So many of the permitted bytes did not move, and will not."""
        if permit.priority is not None and count:
            self._owed[permit.priority] -= count
            self._settle_nowait()

    def charge(self, count: int) -> None:
        """Counts bytes that moved without being asked for: frames, and what came along with them."""
        rate = self.rate
        if rate:
            self._owed[Priority.DEMAND] += count
            if self._owed[Priority.DEMAND] > slice_bytes(rate):
                self._settle_nowait()

    def _settle_nowait(self) -> None:
        """Enters in the file what is owed, where nobody has the lock; else the next grant does."""
        if self._shared.lock_nowait():
            try:
                bucket = load_bucket(self._shared.words, self._direction)
                if bucket.rate:
                    self._settle(bucket, self._shared.clock_ns())
                    save_bucket(self._shared.words, self._direction, bucket)
            finally:
                self._shared.unlock()

    def _settle(self, bucket: Bucket, now_ns: int) -> None:
        for priority in Priority:
            owed, self._owed[priority] = self._owed[priority], 0
            if owed > 0:
                bucket.grant(priority, owed, now_ns)
            elif owed < 0:
                bucket.give_back(priority, -owed)
