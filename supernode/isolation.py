"""Which peers are named to nobody for a while, because others fared badly with them, and how they come back. Pure.

A circuit breaker per peer. It opens on strikes by several reporters, on slowness that several of them see, or on a proof; never
on one reporter's word. After a pause that doubles each time the peer is on probation: one reader at a time is sent to it, good
pieces end that, one strike begins the next pause. Source: research on p2p bounds, 3.6.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from statistics import median
from typing import Literal, TypeAlias, TypeVar

from flyfs.core.ids import PeerId
from supernode.credence import Credence

STRIKES = 3.0
STRIKES_WITHIN_S = 60.0
REPORTERS = 2
_STRIKES_OF_ONE = 2
"""However often one reporter complains, it counts twice: the third strike is somebody else's."""

SLOW_SHARE = 0.25
SLOW_REPORTERS = 3
SLOW_SAMPLES = 5
"""Two peers of the same line may differ by two, in opposite directions: a quarter is no noise."""

OPEN_S = (5.0, 900.0)
"""The first and the longest isolation; each is twice as long as the one before, until the peer has done well for the longest."""
_MOST_DOUBLINGS = 10

GOOD_PIECES = 3
TRIAL_S = 30.0
"""How long one reader is left alone with a peer on probation before another one may try."""

AVOID_S = 900.0
"""For how long a reporter that got wrong bytes from a peer is not sent there again, whatever others say."""

MOST_PEERS = 10_000
_MOST_REPORTERS = 32
_MOST_SAMPLES = 8
_FORGET_S = 2 * OPEN_S[1]
"""Nothing was heard of a peer for so long: what it did before says nothing any more."""

FAULTS = {
    "unreachable": "cannot be reached",
    "slow": "leaves requests unanswered that others answer",
    "corrupt": "sends wrong bytes",
    "protocol": "breaks the protocol",
}
"""What a report may say, and how it reads in ``status``."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a reader got from one neighbour since it last told: verified bytes and pieces, and how long it waited for them."""

    peer: PeerId
    size: int
    busy_s: float
    pieces: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a peer is seen; times are seconds of the caller's clock, ``reporters`` is how many accused it (0: it was proved)."""

    state: Literal["healthy", "isolated", "probation"]
    reason: str = ""
    since: float = 0.0
    until: float = 0.0
    reporters: int = 0


HEALTHY = Standing("healthy")


@dataclass(frozen=True, slots=True)
class PeerIsolated:
    """From now on nobody is sent to the peer, until ``standing.until``."""

    peer: PeerId
    standing: Standing


@dataclass(frozen=True, slots=True)
class PeerRestored:
    """The peer has done well on probation."""

    peer: PeerId


Verdict: TypeAlias = PeerIsolated | PeerRestored

_T = TypeVar("_T")


@dataclass(slots=True)
class _Accuser:
    """One reporter's strikes against one peer: the newest, and who has fared well with it since."""

    strikes: deque[tuple[str, float]] = field(default_factory=lambda: deque(maxlen=_STRIKES_OF_ONE))
    denied_by: set[PeerId] = field(default_factory=set)
    doubted: bool = False


@dataclass(slots=True)
class _Record:
    address: str
    heard_at: float
    well_since: float
    accusers: OrderedDict[PeerId, _Accuser] = field(default_factory=OrderedDict)
    rates: OrderedDict[PeerId, deque[tuple[float, float]]] = field(default_factory=OrderedDict)
    avoided_by: OrderedDict[PeerId, float] = field(default_factory=OrderedDict)
    openings: int = 0
    standing: Standing | None = None  # of the last isolation; None once it was restored
    trial: tuple[PeerId, float] | None = None
    good_pieces: int = 0


class Isolation:
    """All peers that anything was reported of. ``now`` is one monotonic clock."""

    def __init__(self, *, open_s: tuple[float, float] | None = None) -> None:
        """``open_s`` overrides the first and the longest isolation, for tests."""
        self._first_s, self._longest_s = open_s or OPEN_S
        self._records: OrderedDict[PeerId, _Record] = OrderedDict()  # the one touched last at the end
        self._isolated_at: dict[str, PeerId] = {}
        self._credence = Credence()
        self.isolations = 0
        """How often a peer was isolated since the start."""

    # -- events --------------------------------------------------------------------------------------------------------

    def peer_came(self, peer: PeerId, address: str, now: float) -> None:
        """A peer is reached at ``address``: whoever is isolated there does not get away with another id."""
        before = self._isolated_at.get(address)
        if before is None or before == peer:
            return
        old = self._records[before]
        assert old.standing is not None
        record = self._touch(peer, address, now)
        if record.standing is None:
            record.openings, record.standing = old.openings, old.standing
            self._isolated_at[address] = peer

    def reported(self, reporter: PeerId, peer: PeerId, fault: str, now: float, address: str = "") -> list[Verdict]:
        """``reporter`` fared badly with ``peer``, which is reached at ``address``."""
        if fault not in FAULTS or reporter == peer:
            return []
        record = self._touch(peer, address, now)
        if fault == "corrupt":
            _remember(record.avoided_by, reporter, now + AVOID_S)
        state = self.standing(peer, now).state
        if state == "isolated":
            return []  # what was under way when it was isolated
        if state == "probation":
            return self._strike_on_probation(peer, record, reporter, fault, now)
        accuser = record.accusers.get(reporter) or _Accuser()
        _remember(record.accusers, reporter, accuser)
        accuser.strikes.append((fault, now))
        return self._judge_strikes(peer, record, now)

    def proved(self, peer: PeerId, reason: str, now: float, address: str = "") -> list[Verdict]:
        """We saw for ourselves what ``peer`` does."""
        record = self._touch(peer, address, now)
        return [] if self.standing(peer, now).state == "isolated" else self._open(peer, record, reason, 0, now)

    def speeds_reported(self, reporter: PeerId, measured: Sequence[Measured], now: float) -> list[Verdict]:
        """How fast a reader's neighbours are for it, seen against each other: its own line is the same for all of them."""
        rates = {one.peer: one.size / one.busy_s for one in measured if one.busy_s > 0 and one.peer != reporter}
        verdicts: list[Verdict] = []
        for one in measured:
            if one.peer == reporter:
                continue
            if one.pieces > 0:
                verdicts += self._fared_well(reporter, one.peer, one.pieces, now)
            others = [rate for peer, rate in rates.items() if peer != one.peer]
            if one.peer in rates and others and (typical := median(others)) > 0:
                verdicts += self._compared(reporter, one.peer, rates[one.peer] / typical, now)
        return verdicts

    def named(self, reader: PeerId, peer: PeerId, now: float) -> None:
        """``reader`` is being sent to ``peer``: where that is on probation, this is its trial."""
        record = self._records.get(peer)
        if record is not None and self.standing(peer, now).state == "probation" and self.may_meet(reader, peer, now):
            record.trial = (reader, now)

    # -- what follows --------------------------------------------------------------------------------------------------

    def standing(self, peer: PeerId, now: float) -> Standing:
        """How a peer is seen now."""
        record = self._records.get(peer)
        if record is None or record.standing is None:
            return HEALTHY
        told = record.standing
        if now < told.until:
            return told
        return Standing("probation", told.reason, told.since, told.until, told.reporters)

    def may_meet(self, reader: PeerId, peer: PeerId, now: float) -> bool:
        """Whether ``reader`` may be sent to ``peer``."""
        record = self._records.get(peer)
        if record is None:
            return True
        state = self.standing(peer, now).state
        if state == "isolated" or record.avoided_by.get(reader, now) > now:
            return False
        tried_by, since = record.trial or (reader, now)
        return state == "healthy" or tried_by == reader or now - since >= TRIAL_S

    def isolated(self, now: float) -> list[tuple[PeerId, str, Standing]]:
        """All that are isolated now, with their addresses, the latest last."""
        found = [(peer, self._records[peer].address, self.standing(peer, now)) for peer in self._isolated_at.values()]
        return sorted((one for one in found if one[2].state == "isolated"), key=lambda one: (one[2].since, one[0]))

    def __len__(self) -> int:
        return len(self._records)

    # -- strikes -------------------------------------------------------------------------------------------------------

    def _judge_strikes(self, peer: PeerId, record: _Record, now: float) -> list[Verdict]:
        weights: dict[PeerId, float] = {}
        strikes = corrupt = 0.0
        faults: list[str] = []
        for reporter, accuser in record.accusers.items():
            fresh = [fault for fault, at in accuser.strikes if now - at < STRIKES_WITHIN_S]
            weight = self._credence.weight(reporter, now)
            if fresh and weight > 0:
                weights[reporter] = weight
                strikes += weight * len(fresh)
                corrupt += weight * ("corrupt" in fresh)
                faults += fresh
        if len(weights) < REPORTERS or (strikes < STRIKES and corrupt < REPORTERS):
            return []
        worst = "corrupt" if corrupt >= REPORTERS else max(sorted(set(faults)), key=faults.count)
        for reporter in weights:
            self._credence.confirmed(reporter, now)
        return self._open(peer, record, FAULTS[worst], len(weights), now)

    def _strike_on_probation(self, peer: PeerId, record: _Record, reporter: PeerId, fault: str, now: float) -> list[Verdict]:
        """Only the word of who was sent there counts, and once: another reader has the next trial."""
        if record.trial is None or record.trial[0] != reporter:
            return []
        assert record.standing is not None
        _remember(record.avoided_by, reporter, now + AVOID_S)
        return self._open(peer, record, FAULTS[fault], max(record.standing.reporters, 1), now)

    def _open(self, peer: PeerId, record: _Record, reason: str, reporters: int, now: float) -> list[Verdict]:
        if record.standing is None and now - record.well_since > self._longest_s:
            record.openings = 0
        chance = int.from_bytes(blake2b(f"{peer}|{record.openings}".encode(), digest_size=6).digest(), "big") / 2**48
        doubled_s = self._first_s * 2 ** min(record.openings, _MOST_DOUBLINGS)
        until = now + min(self._longest_s, doubled_s * (0.75 + 0.5 * chance))
        record.openings += 1
        record.standing = Standing("isolated", reason, now, until, reporters)
        record.trial, record.good_pieces = None, 0
        record.accusers.clear()
        record.rates.clear()
        self._isolated_at[record.address or peer] = peer
        self.isolations += 1
        return [PeerIsolated(peer, record.standing)]

    # -- what readers measure ------------------------------------------------------------------------------------------

    def _fared_well(self, reporter: PeerId, peer: PeerId, pieces: int, now: float) -> list[Verdict]:
        record = self._records.get(peer)
        if record is None:
            return []
        for accuser_id, accuser in record.accusers.items():
            if accuser_id != reporter and not accuser.doubted and len(record.accusers) == 1:
                accuser.denied_by.add(reporter)
                if len(accuser.denied_by) >= REPORTERS:  # one against two
                    accuser.doubted = True
                    self._credence.contradicted(accuser_id, now)
        if self.standing(peer, now).state != "probation" or record.trial is None or record.trial[0] != reporter:
            return []
        record.good_pieces += pieces
        if record.good_pieces < GOOD_PIECES:
            return []
        record.standing, record.trial, record.well_since = None, None, now
        self._forget_address(peer, record)
        return [PeerRestored(peer)]

    def _compared(self, reporter: PeerId, peer: PeerId, share: float, now: float) -> list[Verdict]:
        """A reader gets ``share`` of what it gets elsewhere. Nothing is kept of who does well and was never complained of."""
        record = self._records.get(peer)
        if record is None and share >= SLOW_SHARE:
            return []
        record = record or self._touch(peer, "", now)
        if self.standing(peer, now).state != "healthy":
            return []
        samples = record.rates.get(reporter) or deque(maxlen=_MOST_SAMPLES)
        _remember(record.rates, reporter, samples)
        samples.append((now, share))
        return self._judge_rates(peer, record, now)

    def _judge_rates(self, peer: PeerId, record: _Record, now: float) -> list[Verdict]:
        """By the median of the reporters' medians: however many samples one sends, it is one voice."""
        fresh = {
            reporter: shares
            for reporter, samples in record.rates.items()
            if (shares := [share for at, share in samples if now - at < STRIKES_WITHIN_S])
            and self._credence.weight(reporter, now) > 0
        }
        if len(fresh) < SLOW_REPORTERS or sum(map(len, fresh.values())) < SLOW_SAMPLES:
            return []
        share = median(median(shares) for shares in fresh.values())
        if share >= SLOW_SHARE:
            return []
        return self._open(peer, record, f"gives {share:.0%} of what its readers get elsewhere", len(fresh), now)

    # -- memory --------------------------------------------------------------------------------------------------------

    def _touch(self, peer: PeerId, address: str, now: float) -> _Record:
        record = self._records.get(peer)
        if record is None:
            record = self._records[peer] = _Record(address, now, now)
        record.heard_at = now
        self._records.move_to_end(peer)
        if address and address != record.address:
            self._forget_address(peer, record)
            record.address = address
            if record.standing is not None:
                self._isolated_at[address] = peer
        self._forget(now)
        return record

    def _forget(self, now: float) -> None:
        """The longest untouched goes where there are too many, or where it was long ago."""
        peer, record = next(iter(self._records.items()))
        if len(self._records) > MOST_PEERS or now - record.heard_at > _FORGET_S:
            del self._records[peer]
            self._forget_address(peer, record)

    def _forget_address(self, peer: PeerId, record: _Record) -> None:
        for place in (record.address, peer):
            if self._isolated_at.get(place) == peer:
                del self._isolated_at[place]


def _remember(table: OrderedDict[PeerId, _T], reporter: PeerId, value: _T) -> None:
    """Into a table that is bounded: the reporter heard longest ago goes."""
    table[reporter] = value
    table.move_to_end(reporter)
    if len(table) > _MOST_REPORTERS:
        table.popitem(last=False)
