"""What has happened since the start, in bytes and pieces. Pure.

Plain attributes, because they are counted on every read and every piece; whoever wants to tell them takes ``statistics()``.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterStatistics:
    """The counters at one moment; all but ``pieces_…`` are bytes of payload."""

    origin_bytes: int
    supernode_bytes: int
    peer_bytes: int
    store_bytes: int
    passed_bytes: int
    served_bytes: int
    pieces_verified: int
    pieces_rejected: int


class Counters:
    """Counts of one process.

    Attributes:
        origin_bytes: fetched from origins by this process itself.
        supernode_bytes: fetched from supernodes.
        peer_bytes: fetched from other peers.
        store_bytes: read from the own store for local readers.
        passed_bytes: given to local readers as they came, because the store had no room for them.
        served_bytes: sent to others.
        pieces_verified: pieces whose bytes fitted their digest.
        pieces_rejected: pieces whose bytes did not.
    """

    __slots__ = (
        "origin_bytes",
        "passed_bytes",
        "peer_bytes",
        "pieces_rejected",
        "pieces_verified",
        "served_bytes",
        "store_bytes",
        "supernode_bytes",
    )

    def __init__(self) -> None:
        self.origin_bytes = 0
        self.supernode_bytes = 0
        self.peer_bytes = 0
        self.store_bytes = 0
        self.passed_bytes = 0
        self.served_bytes = 0
        self.pieces_verified = 0
        self.pieces_rejected = 0

    def statistics(self) -> CounterStatistics:
        """The counters now."""
        return CounterStatistics(
            origin_bytes=self.origin_bytes,
            supernode_bytes=self.supernode_bytes,
            peer_bytes=self.peer_bytes,
            store_bytes=self.store_bytes,
            passed_bytes=self.passed_bytes,
            served_bytes=self.served_bytes,
            pieces_verified=self.pieces_verified,
            pieces_rejected=self.pieces_rejected,
        )
