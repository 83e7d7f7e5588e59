"""Which peers can be reached where they say, and when to try: each address once, failures again with growing pauses. Pure.

A peer behind NAT, or with a wrong ``--advertise``, would cost every neighbour that is sent to it a time-out. It is a leech:
served, and named to nobody.
"""

from collections import OrderedDict
from dataclasses import dataclass
from heapq import heappop, heappush
from ipaddress import ip_address
from itertools import count
from math import inf

from flyfs.core.ids import PeerId
from flyfs.origin.address_guard import AddressKind, IpAddress, kind_of

AT_ONCE = 32
"""Addresses that are tried at the same time: a flash crowd of them takes seconds where nobody answers, not minutes."""

AGAIN_S = (30.0, 900.0)
"""The first and the longest pause before an address that could not be reached is tried again; a peer that returns does not
shorten it."""

LASTS_S = 600.0
"""How long an address that was reached counts as such for a peer that comes again."""

_MOST = 50_000


@dataclass(frozen=True, slots=True)
class Claim:
    """A peer says that it is reached at ``address``."""

    peer_id: PeerId
    address: str


@dataclass(slots=True)
class _Record:
    sessions: int = 0
    trying: bool = False
    reached: bool = False
    expires: float = inf
    reason: str | None = None
    failures: int = 0
    due: float = inf


class Reachability:
    """Claims of connected peers, and what became of them. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._records: OrderedDict[Claim, _Record] = OrderedDict()
        self._due: list[tuple[float, int, Claim]] = []  # a heap; an entry counts while its record has the same time
        self._order = count()
        self._trying = 0

    def peer_came(self, claim: Claim, now: float) -> None:
        """One more session of a peer makes the claim."""
        record = self._records.get(claim)
        if record is None:
            record = self._records[claim] = _Record(due=now)
        self._records.move_to_end(claim)
        record.sessions += 1
        self._forget_where_many()
        if record.reached and now >= record.expires:
            record.due = now
        if record.sessions == 1 and record.due < inf and not record.trying:
            heappush(self._due, (record.due, next(self._order), claim))

    def _forget_where_many(self) -> None:
        if len(self._records) <= _MOST:
            return
        for claim, record in self._records.items():
            if not record.sessions and not record.trying:
                del self._records[claim]
                return

    def peer_left(self, claim: Claim) -> None:
        """One session less; what is known is kept, because it may come again."""
        self._records[claim].sessions -= 1

    def tried(self, claim: Claim, reason: str | None, now: float) -> None:
        """An address was tried: ``reason`` says why it does not lead to the peer, None that it does."""
        record = self._records[claim]
        record.trying = False
        self._trying -= 1
        record.reason, record.reached = reason, reason is None
        if reason is None:
            record.failures, record.due, record.expires = 0, inf, now + LASTS_S
            return
        first_s, longest_s = AGAIN_S
        record.due = now + min(longest_s, first_s * 2 ** min(record.failures, 10))
        record.failures += 1
        if record.sessions:
            heappush(self._due, (record.due, next(self._order), claim))

    def next_claims(self, now: float) -> list[Claim]:
        """The addresses to try now; they count as being tried."""
        found: list[Claim] = []
        while self._trying < AT_ONCE and self._due and self._due[0][0] <= now:
            due, _, claim = heappop(self._due)
            record = self._records.get(claim)
            if record is not None and record.sessions and not record.trying and record.due == due:
                record.trying = True
                self._trying += 1
                found.append(claim)
        return found

    def next_deadline(self) -> float:
        """When there may be one to try, if nothing happens before."""
        return self._due[0][0] if self._due and self._trying < AT_ONCE else inf

    def reaches(self, claim: Claim) -> bool:
        """Whether the peer was reached there."""
        record = self._records.get(claim)
        return record is not None and record.reached

    def unreachable(self) -> list[tuple[Claim, str]]:
        """Connected peers that could not be reached, and why."""
        return [(claim, record.reason) for claim, record in self._records.items() if record.sessions and record.reason]


def refusal(address: IpAddress, came_from: str) -> str | None:
    """Why an address is not even tried, None where it is: a peer must not make us knock at doors that are not its own."""
    match kind_of(address):
        case AddressKind.PUBLIC | AddressKind.PRIVATE:
            return None
        case AddressKind.LOOPBACK if ip_address(came_from.partition("%")[0]).is_loopback:
            return None
        case kind:
            return f"a {kind.value} address, which does not lead from here to the peer"
