"""Blobs that another supernode had until now, and how long to wait for their holders before the origin is read. Pure.

When a supernode goes, all its peers come over within moments, each with what it holds; whoever reads is among the first, and asks
for a piece at once. Reading the origin for it would be reading it twice.
"""

from flyfs.core.ids import BlobId

TAKEOVER_S = 0.3
"""Peers notice a broken connection at once, and the offers of all that matter are there some round trips later."""

_MOST = 10_000


class Takeovers:
    """Blobs that were first heard of from a peer that takes part in them, not from a question about a name."""

    def __init__(self) -> None:
        self._until: dict[BlobId, float] = {}

    def blob_came(self, blob_id: BlobId, now: float) -> float:
        """Nobody took part in it until now; until when holders may come."""
        self._until.pop(blob_id, None)
        self._until[blob_id] = now + TAKEOVER_S
        if len(self._until) > _MOST:
            del self._until[next(iter(self._until))]
        return now + TAKEOVER_S

    def until(self, blob_id: BlobId) -> float | None:
        """Until when holders may still come; None where the blob is our own."""
        return self._until.get(blob_id)
