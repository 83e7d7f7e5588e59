"""Which blobs keep their descriptors: those in use, and the last few that were, because descriptors are scarce. Shell."""

from typing import Protocol

IDLE_BLOBS = 64
"""Two descriptors each: little beside a usual limit of 1,024, much for whoever reads many small files again."""


class Idle(Protocol):
    """A blob that can close its descriptors, and opens them again when it is used."""

    def close_descriptors(self) -> None:
        """Nobody uses them now."""


class OpenBlobs:
    """The blobs in use, which it keeps in memory, and those idle ones that still have descriptors."""

    def __init__(self, most_idle: int = IDLE_BLOBS) -> None:
        self._most_idle = most_idle
        self._used: set[Idle] = set()
        self._idle: dict[Idle, None] = {}  # the longest idle first

    def in_use(self, blob: Idle) -> None:
        """Somebody uses ``blob``: it neither closes nor vanishes from memory."""
        self._idle.pop(blob, None)
        self._used.add(blob)

    def idle(self, blob: Idle) -> None:
        """Nobody uses ``blob`` now, but its descriptors are open; the longest idle blob may close."""
        self.gone(blob)
        self._idle[blob] = None
        if len(self._idle) > self._most_idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.close_descriptors()

    def gone(self, blob: Idle) -> None:
        """``blob`` is none of its affairs any more."""
        self._idle.pop(blob, None)
        self._used.discard(blob)

    def close(self) -> None:
        """All blobs close."""
        for blob in (*self._idle, *self._used):
            blob.close_descriptors()
        self._idle.clear()
        self._used.clear()
