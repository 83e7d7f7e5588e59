"""The supernodes that are configured, as addresses, while that changes: names in the DNS, an embedded one's port. Shell.

A name that cannot be resolved for a while keeps what it stood for.
"""

from collections.abc import Iterable

import structlog
import trio

from flyfs.core.address import Address, SrvName
from flyfs.core.errors import Unavailable
from flyfs.core.rendezvous import Candidate
from flyfs.transport.srv import ask_srv

TTL_BOUNDS_S = (1.0, 300.0)
"""How long an answer is believed, whatever time to live it has: a server is not asked all the time, a mistake ends in minutes."""

RETRY_S = 1.0

log = structlog.get_logger(__name__)


class Roster:
    """Who is to be asked. ``changed`` is set, and replaced, at each change."""

    def __init__(self, fixed: Iterable[Address] = ()) -> None:
        """``fixed`` never change."""
        self._told: dict[str, tuple[Candidate, ...]] = {"": tuple(map(Candidate, fixed))}
        self.troubles: dict[str, str] = {}
        """Why a name could not be resolved the last time it was tried, by name."""
        self.changed = trio.Event()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All of them now, each address once."""
        by_address: dict[Address, Candidate] = {}
        for told in self._told.values():
            for one in told:
                by_address.setdefault(one.address, one)
        return tuple(by_address.values())

    def tell(self, source: str, candidates: Iterable[Candidate]) -> None:
        """From now on ``source`` (a name, or whoever knows one) stands for these."""
        before, told = self._told.get(source, ()), tuple(candidates)
        self._told[source] = told
        if set(told) != set(before):
            changed, self.changed = self.changed, trio.Event()
            changed.set()

    async def follow(self, name: SrvName, resolver: Address | None) -> None:
        """Keeps to what the DNS says of ``name``, for ever."""
        source = str(name)
        while True:
            try:
                answer = await ask_srv(name, resolver)
            except Unavailable as error:
                if self.troubles.get(source) != error.message:
                    log.warning("swarm.supernodes.unresolved", name=source, reason=error.message)
                self.troubles[source] = error.message
                await trio.sleep(RETRY_S)
                continue
            self.troubles.pop(source, None)
            self.tell(source, answer.candidates)
            least_s, most_s = TTL_BOUNDS_S
            await trio.sleep(min(max(answer.ttl_s, least_s), most_s))
