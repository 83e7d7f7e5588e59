"""Who is sent pieces now, who waits for a moment, who is told to ask elsewhere: few at once, readers first. Pure.

A line that is shared by few is quick for each of them, and a peer can hand on only what it has whole. Whoever is being served
may queue more behind it and keeps its place while it does; everybody else is refused at once, and finds a neighbour with a free
place. A piece that a reader is blocked on finds a place beyond those, or waits for one of the next.
"""

from collections import deque
from collections.abc import Hashable
from enum import Enum, auto
from typing import Generic, TypeVar

SLOTS = 4
"""Connections served at once (research: p2p bounds, 3.4)."""

DEMAND_SLOTS = 2
"""Beyond those, for pieces that readers wait for."""

WAITING_DEMANDS = 4
"""Connections that may wait for one of these places."""

RETRY_AFTER_S = 0.05
"""Places change hands as often as a piece is sent; 0.1 s costs a crowd of 100 a thousandth."""

Who = TypeVar("Who", bound=Hashable)
Ticket = TypeVar("Ticket", bound=Hashable)


class Verdict(Enum):
    """What becomes of a request."""

    BEGIN = auto()
    """It is sent now."""
    WAIT = auto()
    """Its turn comes: ``ended`` and ``withdrawn`` tell when."""
    REFUSE = auto()
    """The asker should try somebody else, or come back after ``RETRY_AFTER_S``."""


class UploadSlots(Generic[Who, Ticket]):
    """Requests by connection (``Who``); each has a ``Ticket`` of its own."""

    def __init__(self, *, slots: int = SLOTS, demand_slots: int = DEMAND_SLOTS) -> None:
        self._slots = slots
        self._demand_slots = demand_slots
        self._lines: dict[Who, deque[Ticket]] = {}  # what each asked for; the first is being sent to who has a place
        self._served: set[Who] = set()
        self._served_extra: set[Who] = set()  # in the places for readers' pieces, and nothing else in their lines
        self._waiting: deque[Who] = deque()  # with readers' pieces only

    def ask(self, who: Who, ticket: Ticket, *, demand: bool) -> Verdict:
        """A connection asks for a piece."""
        line = self._lines.get(who)
        if line is None:
            return self._newcomer(who, ticket, demand=demand)
        if who in self._served_extra and len(self._served) < self._slots:
            self._served_extra.discard(who)
            self._served.add(who)
        if who not in self._served and not demand:
            return Verdict.REFUSE
        if demand:
            line.insert(0 if who in self._waiting else 1, ticket)
        else:
            line.append(ticket)
        return Verdict.WAIT

    def _newcomer(self, who: Who, ticket: Ticket, *, demand: bool) -> Verdict:
        if self._takes_place(who, demand=demand):
            self._lines[who] = deque([ticket])
            return Verdict.BEGIN
        if not demand or len(self._waiting) >= WAITING_DEMANDS:
            return Verdict.REFUSE
        self._waiting.append(who)
        self._lines[who] = deque([ticket])
        return Verdict.WAIT

    def _takes_place(self, who: Who, *, demand: bool) -> bool:
        if len(self._served) < self._slots:
            self._served.add(who)
        elif demand and len(self._served_extra) < self._demand_slots:
            self._served_extra.add(who)
        else:
            return False
        return True

    def ended(self, who: Who) -> list[Ticket]:
        """What a connection was being sent is through, or broke off: what to send next, to whomever."""
        line = self._lines[who]
        line.popleft()
        begun: list[Ticket] = []
        if not line:
            del self._lines[who]
            self._served.discard(who)
        elif who in self._served:
            begun.append(line[0])
        else:
            self._waiting.append(who)
        self._served_extra.discard(who)
        return begun + self._next()

    def withdrawn(self, who: Who, ticket: Ticket) -> list[Ticket]:
        """A connection does not want a piece any more that it waits for: what to send next. Not for one being sent."""
        line = self._lines[who]
        line.remove(ticket)
        if not line:  # it had no place, or what is being sent would still be in it
            self._waiting.remove(who)
            del self._lines[who]
        return self._next()

    def _next(self) -> list[Ticket]:
        begun: list[Ticket] = []
        while self._waiting and self._takes_place(self._waiting[0], demand=True):
            begun.append(self._lines[self._waiting.popleft()][0])
        return begun
