"""Who goes next where only one can: the most urgent, else whoever came first. Shell (waits, but does no I/O)."""

from collections.abc import Callable
from typing import Self, TypeAlias

import trio

from flyfs.limit.bucket import Priority

Urgency: TypeAlias = Callable[[], Priority]
"""How urgent something is now: what was only wanted soon may have become a demand while it waited."""


class Turns:
    """One turn at a time."""

    def __init__(self) -> None:
        self._waiting: list[Place] = []
        self._running: Place | None = None

    def enter(self, urgency: Urgency) -> "Place":
        """A place in the queue, with its turn come at once where nobody else has one; ``leave`` it for certain."""
        place = Place(self, urgency)
        if self._running is None:  # then nobody waits
            self._running = place
            place.give_turn()
        else:
            self._waiting.append(place)
        return place

    def urgency(self) -> Priority | None:
        """Of the most urgent one who waits for a turn; None where nobody does."""
        return min((place.urgency() for place in self._waiting), default=None)

    def left(self, place: "Place") -> None:
        """Called by a place that is left."""
        if place is self._running:
            self._running = None
            self._next()
        elif place in self._waiting:
            self._waiting.remove(place)

    def _next(self) -> None:
        if self._running is None and self._waiting:
            self._running = min(self._waiting, key=lambda place: place.urgency())  # the first of equals
            self._waiting.remove(self._running)
            self._running.give_turn()


class Place:
    """One place in the queue; as a context manager it is left at the end."""

    __slots__ = ("_came", "_turns", "has_turn", "urgency")

    def __init__(self, turns: Turns, urgency: Urgency) -> None:
        self.urgency = urgency
        self.has_turn = False
        self._turns = turns
        self._came: trio.Event | None = None  # most get their turn at once, and need none

    async def turn(self) -> None:
        """Returns when it is this one's turn; as ``trio.Lock.acquire``, it is cancelled before that or not at all."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.has_turn:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        if self._came is None:
            self._came = trio.Event()
        await self._came.wait()

    def give_turn(self) -> None:
        """Called by the queue when it is this one's turn."""
        self.has_turn = True
        if self._came is not None:
            self._came.set()

    def leave(self) -> None:
        """Gives the turn, or the wish for it, up; the second time does nothing."""
        self._turns.left(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
