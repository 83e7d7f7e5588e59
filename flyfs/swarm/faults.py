"""Why a request for a piece brought nothing, as the picker needs to know it. Pure."""

from enum import Enum, auto

from flyfs.core.errors import Corrupt, FlyfsError, ProtocolError, Unanswered
from flyfs.core.manifest import Fork


class Fault(Enum):
    """Why a request brought nothing."""

    NOT_HELD = auto()
    """The source does not have the piece (any more); no strike."""
    BUSY = auto()
    """The source asks us to come back later."""
    NO_BUFFER = auto()
    """We have no memory for a prefetch now."""
    LOST = auto()
    """The connection broke, or no answer came in time."""
    REFUSED = auto()
    """The source answered with a failure: its origin is down, its disk is bad."""
    CORRUPT = auto()
    """The bytes or the proof were wrong."""
    CANCELLED = auto()
    """We gave it up ourselves."""


def fault_of(error: FlyfsError) -> Fault:
    """What a failed request says of its source."""
    match error:
        case Fork():
            return Fault.REFUSED  # nobody's fault: two supernodes disagree
        case Corrupt() | ProtocolError():
            return Fault.CORRUPT
        case Unanswered():
            return Fault.LOST
        case _:
            return Fault.REFUSED
