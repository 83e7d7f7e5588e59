"""Which supernode is responsible for a key, and who stands in for it: rendezvous hashing. Pure.

Whoever has the same list has the same order, without a word between them. One that leaves the list takes its own keys along and
no others. Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (IEEE/ACM ToN 6(1), 1998);
priorities and weights mean what they mean in RFC 2782.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log

from blake3 import blake3

from flyfs.core.address import Address

_ALMOST_NEVER = 0.001
"""What a weight of 0 counts beside others: RFC 2782 wants a very small chance, and an even one where all are 0."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A supernode in the list.

    Attributes:
        priority: a lower number is asked first, whatever the weights.
        weight: its share of the keys among those of the same priority.
    """

    address: Address
    priority: int = 0
    weight: int = 1


def ranked(key: str, candidates: Iterable[Candidate]) -> list[Address]:
    """All addresses, the one that is responsible for ``key`` first; the order is the same in every process and version."""
    scored = [(one.priority, -_score(key, one), str(one.address), one.address) for one in candidates]
    return [address for _, _, _, address in sorted(scored, key=lambda one: one[:3])]


def _score(key: str, candidate: Candidate) -> float:
    """The larger the nearer; larger for more weight, in proportion (the logarithmic method)."""
    digest = blake3(f"{candidate.address}\0{key}".encode("utf-8", "surrogateescape")).digest(length=8)
    chance = ((int.from_bytes(digest, "little") >> 12) + 0.5) / 2**52  # strictly between 0 and 1 in a double's 53 bits
    return (candidate.weight or _ALMOST_NEVER) / -log(chance)
