"""What the supernodes say of this peer: whether others reach it, and whether they are sent to it. Shell: logs."""

from dataclasses import dataclass

import structlog
import trio

from flyfs.wire.messages import Reached, Shun

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OwnIsolation:
    """Nobody is sent to this peer until then, on the loop's clock."""

    reason: str
    until: float


class Repute:
    """What was said last."""

    def __init__(self) -> None:
        self.reached: bool | None = None
        """Whether others reach this peer at the address that it gives, as a supernode found; None for not known."""
        self.unreached: str | None = None
        """Why they do not."""
        self._isolation: OwnIsolation | None = None

    @property
    def isolation(self) -> OwnIsolation | None:
        """Why nobody is sent here now; None where that is not so."""
        if self._isolation is not None and self._isolation.until <= trio.current_time():
            self._isolation = None
        return self._isolation

    def told(self, message: Reached | Shun) -> None:
        """A supernode says something of this peer."""
        match message:
            case Reached(address=address, reason=reason):
                if reason and self.unreached != reason:
                    log.warning("swarm.address.unreachable", address=address, reason=reason)
                self.reached, self.unreached = not reason, reason or None
            case Shun(reason=reason, for_s=for_s):
                if for_s:
                    log.warning("swarm.self.isolated", reason=reason, for_s=round(for_s, 1))
                self._isolation = OwnIsolation(reason, trio.current_time() + for_s)
