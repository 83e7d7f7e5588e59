"""When pages that were fetched ahead and that nobody has read leave the page cache again. Pure.

A warm-up of many gigabytes must not push the rest of the host out of memory. Pieces that somebody reads or is sent stay: the
kernel knows best about those. Nothing here is needed for right bytes: whoever reads such a piece later waits for the disk.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from flyfs.core.bitmap import runs_of
from flyfs.core.ids import PieceIndex

KEEP_S = 60.0
"""After its piece is durable. A reader uses up the longest window ahead of it (32 MiB) in this time at 0.5 MB/s."""

MEMORY_SHARE = 8
"""At most an eighth of the memory waits for readers that may never come."""


class Owner(Protocol):
    """A blob's data file."""

    unread: dict[PieceIndex, int]
    """Pieces that were fetched ahead and not read since → bytes, 0 before they are durable. Only ``UnreadPages`` changes it; it
    lies with the blob so that a reader can tell at a glance that there are none."""


MOST_AT_ONCE = 32
"""Blobs whose pages go together: each takes a descriptor meanwhile."""

OwnerT = TypeVar("OwnerT", bound=Owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropPages(Generic[OwnerT]):
    """Take clean pages out of the page cache; nobody waits for an answer.

    Attributes:
        owner: the blob.
        runs: pieces as (first, count).
    """

    owner: OwnerT
    runs: tuple[tuple[int, int], ...]


class UnreadPages(Generic[OwnerT]):
    """Events and ``now`` (seconds of one monotonic clock) in, commands out."""

    def __init__(self, *, keep_bytes: int, keep_s: float = KEEP_S) -> None:
        """``keep_bytes`` of unread pieces stay in memory at most, each for ``keep_s``."""
        self._keep_bytes = keep_bytes
        self._keep_s = keep_s
        self._bytes = 0  # durable and unread
        self._waiting: deque[tuple[float, OwnerT, tuple[PieceIndex, ...]]] = deque()  # since when they are durable

    # -- events ---------------------------------------------------------------------------------------------------

    def piece_came(self, owner: OwnerT, piece: PieceIndex) -> None:
        """It was written, and nobody waited for it."""
        owner.unread[piece] = 0

    def piece_used(self, owner: OwnerT, piece: PieceIndex) -> None:
        """Somebody reads it or is sent it, or it is gone."""
        self._bytes -= owner.unread.pop(piece, 0)

    def pieces_durable(self, owner: OwnerT, sizes: Iterable[tuple[PieceIndex, int]], now: float) -> None:
        """They are on the disk, so their pages can go; pieces that are not unread do not matter."""
        pieces: list[PieceIndex] = []
        for piece, size in sizes:
            if owner.unread.get(piece) == 0:
                owner.unread[piece] = size
                self._bytes += size
                pieces.append(piece)
        if pieces:
            self._waiting.append((now, owner, tuple(pieces)))

    def blob_dropped(self, owner: OwnerT) -> None:
        """Its files are gone."""
        self._bytes -= sum(owner.unread.values())
        owner.unread.clear()

    # -- what to do -----------------------------------------------------------------------------------------------

    def next_commands(self, now: float) -> list[DropPages[OwnerT]]:
        """What leaves memory now; it counts as gone."""
        commands: list[DropPages[OwnerT]] = []
        while len(commands) < MOST_AT_ONCE and self.next_deadline() <= now:
            _, owner, pieces = self._waiting.popleft()
            unread = sorted(piece for piece in pieces if owner.unread.get(piece))
            for piece in unread:
                self.piece_used(owner, piece)
            if unread:
                commands.append(DropPages(owner=owner, runs=runs_of(unread)))
        return commands

    def next_deadline(self) -> float:
        """When to ask ``next_commands`` again."""
        if not self._waiting:
            return math.inf
        return -math.inf if self._bytes > self._keep_bytes else self._waiting[0][0] + self._keep_s
