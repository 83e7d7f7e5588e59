"""Who talks to whom, and what the supernode itself hands out: one copy of each piece, then neighbours first. Pure."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

from flyfs.core.ids import PeerId, PieceIndex
from supernode.members import Member, Members
from supernode.tasks import Task

MAX_NEIGHBOURS = 12
"""Meshes of this degree come within two per cent of central matching, with clean tails at 10,000 peers."""

MAX_HOLDERS = 3


@dataclass(frozen=True, slots=True)
class Serve:
    """Send the piece, fetching it from the origin where need be."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Others have the piece, or are receiving it."""

    holders: tuple[Member, ...]


Decision: TypeAlias = Serve | Redirect


def choose_neighbours(task: Task, peer: PeerId, members: Members) -> list[Member]:
    """Whom a reader should meet: those who hold most, ties by a stable hash, so that readers spread."""
    others = [member for other in task.holdings if other != peer and (member := members.named(other))]
    others.sort(key=lambda member: (-task.holdings[member.peer_id].count, _spread(peer, member.peer_id)))
    return others[:MAX_NEIGHBOURS]


def decide_piece(task: Task, piece: PieceIndex, peer: PeerId, members: Members, now: float) -> Decision:
    """Whether the supernode serves a piece itself.

    It does when nobody else has it or is receiving it, or when the asker comes back because those could not help.
    """
    if task.was_redirected(piece, peer):
        return Serve()
    holders = [member for other in task.holders(piece, peer) if (member := members.named(other))]
    if not holders:
        receiver = task.receiver(piece, peer, now)
        member = members.named(receiver) if receiver is not None else None
        holders = [member] if member is not None else []
    if not holders:
        return Serve()
    holders.sort(key=lambda member: _spread(peer, member.peer_id, piece))
    return Redirect(tuple(holders[:MAX_HOLDERS]))


def _spread(*parts: str | int) -> bytes:
    """A stable pseudo-random rank: no chance, so that each run can be replayed."""
    return blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
