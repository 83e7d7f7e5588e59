"""The requests for pieces of one blob that are under way. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from flyfs.core.ids import PieceIndex
from flyfs.swarm.sources import SUPERNODE, Source


@dataclass(slots=True)
class Flight:
    """One request."""

    source: Source
    started: float
    hedge_at: float
    """When a second source may be asked too, if a reader waits."""
    demand: bool
    """Whether its source knows that a reader waits."""


class Flights:
    """Usually one request for a piece, two where the first took too long."""

    def __init__(self) -> None:
        self._flights: dict[PieceIndex, list[Flight]] = {}
        self.mask = 0
        """The pieces that are on their way."""
        self.count = 0
        self.at_peers = 0
        """How many of the requests went to neighbours."""

    def of(self, piece: PieceIndex) -> Sequence[Flight]:
        """The requests for a piece."""
        return self._flights.get(piece, ())

    def pieces(self) -> list[PieceIndex]:
        """The pieces that are on their way."""
        return list(self._flights)

    def outstanding_at(self, source: Source) -> int:
        """Requests that a source has not answered."""
        return sum(flight.source == source for flights in self._flights.values() for flight in flights)

    def begin(self, piece: PieceIndex, flight: Flight) -> None:
        """A request is sent."""
        self._flights.setdefault(piece, []).append(flight)
        self.mask |= 1 << piece
        self.count += 1
        self.at_peers += flight.source is not None

    def hurried(self, piece: PieceIndex) -> bool:
        """A reader waits for the piece by now: whether the supernode is to be told, which then counts as done."""
        for flight in self._flights.get(piece, ()):
            if flight.source is SUPERNODE and not flight.demand:
                flight.demand = True
                return True
        return False

    def end(self, piece: PieceIndex, source: Source) -> Flight | None:
        """A request ended; None where it was forgotten before."""
        for flight in self._flights.get(piece, ()):
            if flight.source == source:
                self._remove(piece, flight)
                return flight
        return None

    def end_all(self, piece: PieceIndex) -> list[Flight]:
        """The piece is here: its requests are over, one way or another."""
        ended = list(self._flights.get(piece, ()))
        for flight in ended:
            self._remove(piece, flight)
        return ended

    def _remove(self, piece: PieceIndex, flight: Flight) -> None:
        flights = self._flights[piece]
        flights.remove(flight)
        if not flights:
            del self._flights[piece]
            self.mask &= ~(1 << piece)
        self.count -= 1
        self.at_peers -= flight.source is not None

    def __len__(self) -> int:
        """How many pieces are on their way."""
        return len(self._flights)
