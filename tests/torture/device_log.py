"""What a disk was told, and which disks a power cut could have left of it. Pure.

A disk keeps everything up to the last flush that it finished. Of what it was told since, it may have kept any writes and lost
any others, whatever their order, and of one it may have kept some sectors. So says Linux' own model, too (dm-log-writes).
"""

import random
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

SECTOR_BYTES = 512
_RECORD = struct.Struct("<cQI")
"""Kind, offset, length; a payload of that length follows."""


@dataclass(frozen=True, slots=True)
class Write:
    """``data`` at ``offset``; told, but perhaps not kept."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Flush:
    """All earlier writes are kept."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened above the disk, between what the disk was told before and after."""

    text: str


Entry: TypeAlias = Write | Flush | Mark


def encode_write(offset: int, data: bytes) -> bytes:
    """The log's record of a write."""
    return _RECORD.pack(b"W", offset, len(data)) + data


def encode_flush() -> bytes:
    """The log's record of a flush."""
    return _RECORD.pack(b"F", 0, 0)


def encode_mark(text: bytes) -> bytes:
    """The log's record of a mark."""
    return _RECORD.pack(b"M", 0, len(text)) + text


def decode_log(data: bytes) -> Iterator[Entry]:
    """The entries of a log in their order; raises ValueError where it is torn."""
    at = 0
    while at < len(data):
        if at + _RECORD.size > len(data):
            raise ValueError("the log ends within a record")
        kind, offset, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        payload = data[at : at + length]
        if len(payload) != length:
            raise ValueError("the log ends within a record")
        at += length
        match kind:
            case b"W":
                yield Write(offset, payload)
            case b"F":
                yield Flush()
            case b"M":
                yield from (Mark(line) for line in payload.decode().splitlines())
            case _:
                raise ValueError(f"no kind of record: {kind!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One disk that may be found after a power cut.

    Attributes:
        stop: the cut came before the entry of this index.
        stable_stop: all writes before this entry were kept.
        kept: writes from there on that were kept all the same, by index, in their order.
        torn_sectors: the sectors that were kept of the last of ``kept``; None for all.
    """

    stop: int
    stable_stop: int
    kept: tuple[int, ...]
    torn_sectors: frozenset[int] | None = None

    def __str__(self) -> str:
        torn = "" if self.torn_sectors is None else f", the last torn to sectors {sorted(self.torn_sectors)}"
        return f"the cut before entry {self.stop}, all before {self.stable_stop} and {list(self.kept)} kept{torn}"


def choose_states(log: Sequence[Entry], count: int, chance: random.Random) -> list[State]:
    """Disks that cuts at random places of the log could have left, by place.

    Args:
        log: what the disk was told.
        count: how many disks.
        chance: same seed, same disks.
    """
    flushes = [index for index, entry in enumerate(log) if isinstance(entry, Flush)]
    states: list[State] = []
    for stop in sorted(chance.randrange(len(log) + 1) for _ in range(count)):
        finished = bisect_left(flushes, stop)
        stable_stop = flushes[finished - 1] + 1 if finished > 0 else 0
        unsure = [index for index in range(stable_stop, stop) if isinstance(log[index], Write)]
        share = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        kept = tuple(index for index in unsure if chance.random() < share)
        states.append(State(stop=stop, stable_stop=stable_stop, kept=kept, torn_sectors=_torn(log, kept, chance)))
    return states


def _torn(log: Sequence[Entry], kept: tuple[int, ...], chance: random.Random) -> frozenset[int] | None:
    """Half of the cuts tear the last write."""
    if not kept or chance.random() < 0.5:
        return None
    last = log[kept[-1]]
    assert isinstance(last, Write)
    sectors = range(-(-len(last.data) // SECTOR_BYTES))
    if chance.random() < 0.5:
        return frozenset(sectors[: chance.randrange(len(sectors) + 1)])  # from the front, as a disk would
    return frozenset(sector for sector in sectors if chance.random() < 0.5)


def unsure_writes_of(log: Sequence[Entry], state: State) -> Iterator[Write]:
    """The writes of ``state`` that no flush had covered."""
    for index in state.kept:
        entry = log[index]
        assert isinstance(entry, Write)
        if index != state.kept[-1] or state.torn_sectors is None:
            yield entry
        else:
            for sector in sorted(state.torn_sectors):
                at = sector * SECTOR_BYTES
                yield Write(entry.offset + at, entry.data[at : at + SECTOR_BYTES])
