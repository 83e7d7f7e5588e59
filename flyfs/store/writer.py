"""Writes what the queue says, a batch in one thread hop, while the network goes on receiving. Shell.

Whoever brings a piece waits until it is written and keeps its buffer as it is: the buffer is the queue's memory, under the
one budget of ``transport.buffers``. Where nothing is being written he writes it himself, because to wake somebody else costs a
quarter of a thread hop; what comes meanwhile is left to tasks of our own.
"""

from dataclasses import dataclass
from typing import Protocol

import trio

from flyfs.core.errors import Stale
from flyfs.core.ids import PieceIndex
from flyfs.store import effects
from flyfs.store.write_queue import LANES, Batch, Waiting, WriteQueue

_CLOSED = "the store was closed while a piece waited to be written"


class File(Protocol):
    """What pieces are written into."""

    def write_begins(self, piece: PieceIndex) -> None:
        """Bytes of it may be on their way to the disk from now on."""
        ...

    def write_ended(self, piece: PieceIndex, *, written: bool, demand: bool) -> bool:
        """It is written whole, or could not be; True where it counts, False where it has to be written again.

        ``demand`` tells whether a reader was blocked on it by the time it was written.
        """
        ...


class Unsynced(Protocol):
    """Who knows how much is written and not synced."""

    @property
    def unsynced_bytes(self) -> int:
        """Written, but no sync that covers them has finished."""
        ...


@dataclass(slots=True, eq=False, kw_only=True)
class Order(Waiting):
    """A piece in the queue, with all it takes to write it."""

    target: File
    fileno: int
    offset: int
    data: memoryview
    task: trio.lowlevel.Task
    waits: bool = False
    done: bool = False
    counts: bool = False
    error: Exception | None = None


class Writer:
    """Brings pieces into their files. ``run`` must be running."""

    def __init__(self, queue: WriteQueue[Order], unsynced: Unsynced) -> None:
        """``unsynced`` tells how much the syncs lag behind; ``room_came`` says when they caught up."""
        self._queue = queue
        self._unsynced = unsynced
        self._idle = trio.lowlevel.ParkingLot()
        self._threads = trio.CapacityLimiter(LANES)
        self._scope = trio.CancelScope(shield=True)  # whoever still waits may do so outside of a cancelled program
        self._ended = trio.Event()
        self._batch_ended = trio.lowlevel.ParkingLot()
        self._open = True

    async def run(self) -> None:
        """Writes until ``stop``; a cancelled scope around it does not end it before."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for _ in range(LANES):
                        nursery.start_soon(self._lane)
        finally:
            self._open = False
            for order in self._queue.all_left():
                self._end(order, Stale(_CLOSED))
            with trio.CancelScope(shield=True):
                while self._queue.under_way:
                    await self._batch_ended.park()
            self._ended.set()

    async def stop(self) -> None:
        """Ends ``run`` once the batches under way are written; what still waits is refused."""
        self._scope.cancel()
        with trio.CancelScope(shield=True):  # a thread cannot be left alone with a descriptor that closes
            await self._ended.wait()

    async def write(self, target: File, piece: PieceIndex, place: tuple[int, int], data: memoryview, *, demand: bool) -> bool:
        """Writes a piece, as soon as the queue says so. Once its batch has begun it cannot be cancelled any more.

        Args:
            target: hears when the write begins, and whether it came to an end.
            piece: which one of it.
            place: descriptor and offset.
            data: its bytes; they stay as they are until this returns or raises.
            demand: whether a reader is blocked on it.

        Returns:
            What ``target`` said: whether it counts.

        Raises:
            OSError: the disk refused it.
            Stale: the store was closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._open:
            raise Stale(_CLOSED)
        fileno, offset = place
        order = Order(
            file=target,
            piece=piece,
            size=len(data),
            demand=demand,
            target=target,
            fileno=fileno,
            offset=offset,
            data=data,
            task=trio.lowlevel.current_task(),
        )
        self._queue.piece_came(order)
        batch = self._queue.next_batch(self._unsynced.unsynced_bytes)
        if batch is not None:
            await self._carry_out(batch)
        if not order.done:
            await self._wait(order)
        if order.error is not None:
            raise order.error
        return order.counts

    async def _wait(self, order: Order) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            return trio.lowlevel.Abort.SUCCEEDED if self._queue.piece_left(order) else trio.lowlevel.Abort.FAILED

        order.waits = True
        await trio.lowlevel.wait_task_rescheduled(abort)

    def demanded(self, target: File, piece: PieceIndex) -> None:
        """A reader is blocked on a piece that may wait here."""
        self._queue.piece_demanded(target, piece)
        self._wake()

    def room_came(self) -> None:
        """A sync has finished: more may be written."""
        self._wake()

    def _wake(self) -> None:
        if self._queue.has_batch(self._unsynced.unsynced_bytes):
            self._idle.unpark()

    async def _lane(self) -> None:
        while True:
            batch = self._queue.next_batch(self._unsynced.unsynced_bytes)
            if batch is None:
                await self._idle.park()
            else:
                await self._carry_out(batch)

    async def _carry_out(self, batch: Batch[Order]) -> None:
        """Writes a batch in one hop. Whoever was not cancelled before is not cancelled in it: a thread is waited for.

        Invariant: between the thread's end and ``batch_ended`` nothing else runs, so each byte is counted once at any time.
        """
        for order in batch.pieces:
            order.target.write_begins(order.piece)
        errors: list[OSError | None] = []
        try:
            errors = await trio.to_thread.run_sync(_write_batch, batch.runs, limiter=self._threads)
        finally:
            for at, order in enumerate(batch.pieces):
                error = errors[at] if errors else Stale(_CLOSED)
                order.counts = order.target.write_ended(order.piece, written=error is None, demand=order.demand)
                self._end(order, error)
            self._queue.batch_ended(batch)
            self._batch_ended.unpark_all()
            self._wake()

    @staticmethod
    def _end(order: Order, error: Exception | None) -> None:
        order.done, order.error = True, error
        if order.waits:
            trio.lowlevel.reschedule(order.task)


def _write_batch(runs: tuple[tuple[Order, ...], ...]) -> list[OSError | None]:
    """In a thread: writes all runs, and says of each piece why it could not be written."""
    return [error for run in runs for error in _write_run(run)]


def _write_run(run: tuple[Order, ...]) -> list[OSError | None]:
    try:
        effects.write_run(run[0].fileno, [order.data for order in run], run[0].offset)
    except OSError as error:
        if len(run) == 1:
            return [error]
        return [refused for order in run for refused in _write_run((order,))]  # some of them may fit
    return [None] * len(run)
