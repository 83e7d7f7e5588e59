"""Who talks to whom, and whether the supernode sends a piece that it is asked for. Pure.

Neighbours are chosen from a small sample, so that a crowd costs each newcomer the same however large it is; chance is a stable
hash, so that each run can be replayed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, islice
from typing import TypeAlias

from flyfs.core.ids import PeerId, PieceIndex
from flyfs.core.location import closeness
from supernode.crowd import Participant
from supernode.members import Member, Members
from supernode.tasks import Task

FIRST_NEIGHBOURS = 4
"""Named with the answer to a join; the rest follows when those who came at the same time are known as well."""

NEIGHBOURS = 16
"""Meshes of this degree come within two per cent of central matching, with clean tails at 10,000 peers (research: p2p bounds,
1.3)."""

MOST_NEIGHBOURS = 24
"""Of one peer that many newcomers choose; ``SPARE`` more than ``NEIGHBOURS`` where a peer is only topped up."""
SPARE = 2

FEWEST_NEIGHBOURS = 6
"""With fewer left, more are named."""

MOST_HOLDERS = 3

MOST_REDIRECTS = 3
SENDING_AT_ONCE = 4
READERS_PER_SENDING = 8
"""To so many of a large crowd a piece that they are blocked on is sent at the same time, whoever else has it: a thousand readers
that open a file together all wait for its first piece, and each that gets it hands it on. The others are sent to those; who comes
back so often (once, among few) is sent it all the same. Between regions each piece is sent once, if possible."""

_SAMPLE = 32
_MOST_USEFUL = 16
"""Pieces of difference; more make no better neighbour."""


@dataclass(frozen=True, slots=True)
class Serve:
    """Send the piece, fetching it from the origin where need be."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Others have the piece, or are receiving it."""

    holders: tuple[Member, ...]


Decision: TypeAlias = Serve | Redirect


def choose_neighbours(task: Task, me: Participant, members: Members, *, turn: int, count: int, most: int) -> list[Participant]:
    """At most ``count`` whom a peer should meet: those with most that it lacks, and few neighbours; the close ones first.

    ``turn`` makes another choice each time; nobody gets more than ``most`` neighbours by it. One of each pair can be dialled.
    """
    if count <= 0:
        return []
    mine = members.find(me.peer_id)
    seed = _hash(me.peer_id, turn)
    found: list[tuple[bool, int, int, int, Participant]] = []
    for other_id in _candidates(task, me, seed):
        other, member = task.find(other_id), members.find(other_id)
        if other is None or member is None or mine is None or other is me or other_id in me.neighbours:
            continue
        reached = members.named(other_id) is not None or (other.reading and members.named(me.peer_id) is not None)
        if not reached or len(other.neighbours) >= most:
            continue
        useful = min((other.pieces & ~me.pieces).bit_count(), _MOST_USEFUL)
        seed = _step(seed)
        found.append((other.crowd is not me.crowd, -useful, len(other.neighbours), seed, other))
    found.sort(key=lambda one: one[:4])
    return _close_ones_first([one[-1] for one in found], mine, members, count)


def _close_ones_first(found: Sequence[Participant], mine: Member | None, members: Members, count: int) -> list[Participant]:
    """Two thirds of the places for those in the same zone and rack, where there are such; the others keep zones connected."""

    def shared_labels(one: Participant) -> int:
        member = members.find(one.peer_id)
        return 0 if member is None or mine is None else closeness(mine.location, member.location)

    close = sorted(found, key=shared_labels, reverse=True)[: count - count // 3]
    return [*close, *islice((one for one in found if one not in close), count - len(close))]


def _candidates(task: Task, me: Participant, seed: int) -> Iterator[PeerId]:
    """A sample of the peer's own region; and of all others, where its region is no crowd."""
    yield from _sample(me.crowd.order, seed)
    if not me.crowd.crowded:
        others = [crowd.order for crowd in task.crowds() if crowd is not me.crowd]
        for order in others:
            yield from _sample(order, seed, _SAMPLE // len(others) + 1)


def decide_piece(task: Task, me: Participant, piece: PieceIndex, members: Members, now: float, *, held: bool) -> Decision:
    """Whether the supernode sends a piece to who asks it, and if not, who should be asked.

    It sends what it offered; what nobody near has or is receiving, unless only others far away have it and it would have to be
    read from the origin (it is not ``held``); and to whoever comes back because those who were named could not help.
    """
    peer = me.peer_id
    if me.crowd.seeding.is_offered(peer, piece):
        return Serve()
    times = me.redirected.get(piece, 0)
    patient = me.crowd.readers >= READERS_PER_SENDING or len(list(task.crowds())) > 1
    if times >= (MOST_REDIRECTS if patient else 1):
        return Serve()
    if me.crowd.sending(piece) < _sending_at_once(task, me):
        return Serve()
    seed = _hash(peer, piece, times)
    near = chain(_holders(task, me.crowd.order, piece, peer, seed), me.crowd.receivers(piece, peer, now))
    named = list(islice(_named(near, members), MOST_HOLDERS))
    if not named and not held:
        far = chain.from_iterable(
            _holders(task, crowd.order, piece, peer, seed) for crowd in task.crowds() if crowd is not me.crowd
        )
        named = list(islice(_named(far, members), MOST_HOLDERS))
    return Redirect(tuple(named)) if named else Serve()


def _sending_at_once(task: Task, me: Participant) -> int:
    if not me.crowd.crowded or len(list(task.crowds())) > 1:
        return 0
    return min(SENDING_AT_ONCE, me.crowd.readers // READERS_PER_SENDING)


def _holders(task: Task, order: Sequence[PeerId], piece: PieceIndex, but: PeerId, seed: int) -> Iterator[PeerId]:
    """Some who have the piece: from a sample, and where that has none, from all."""
    found = False
    for peers in (_sample(order, seed), order if len(order) > _SAMPLE else ()):
        for peer in peers:
            one = task.find(peer)
            if peer != but and one is not None and one.pieces >> piece & 1:
                found = True
                yield peer
        if found:
            return


def _named(peers: Iterator[PeerId], members: Members) -> Iterator[Member]:
    seen: set[PeerId] = set()
    for peer in peers:
        member = members.named(peer)
        if member is not None and peer not in seen:
            seen.add(peer)
            yield member


def _sample(order: Sequence[PeerId], seed: int, size: int = _SAMPLE) -> Iterator[PeerId]:
    """At most ``size`` of ``order``; all of them, in a turned order, where they are no more."""
    if len(order) <= size:
        start = seed % len(order) if order else 0
        yield from order[start:]
        yield from order[:start]
        return
    seen: set[int] = set()
    for _ in range(size):
        seed = _step(seed)
        at = (seed >> 33) % len(order)
        if at not in seen:
            seen.add(at)
            yield order[at]


def _hash(*parts: str | int) -> int:
    return int.from_bytes(blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest(), "little")


def _step(seed: int) -> int:
    """The next of a linear congruential generator (Knuth's MMIX)."""
    return (seed * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
