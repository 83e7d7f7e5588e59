"""Tells the supernode what this peer holds no more, soon and seldom. Shell.

A blob that loses pieces mostly loses more of them: its state is told as a whole, once for all that went meanwhile. Until then a
neighbour that asks for one of them is told that it is not held, which is no strike.
"""

from collections.abc import Awaitable, Callable

import trio

from flyfs.core.ids import BlobId

LOSS_DELAY_S = 2.0
"""A peer sent here in vain loses a round trip; the whole state of a large blob is two bitmaps of 32 KiB."""


class Losses:
    """Blobs that went, or lost pieces, since they were last told of."""

    def __init__(self, tell: Callable[[BlobId], Awaitable[None]]) -> None:
        self._tell = tell
        self._lost: dict[BlobId, None] = {}
        self._happened = trio.Event()

    def happened(self, blob_id: BlobId) -> None:
        """A blob went, or lost pieces."""
        self._lost[blob_id] = None
        self._happened.set()

    async def run(self) -> None:
        """Tells for ever."""
        while True:
            await self._happened.wait()
            await trio.sleep(LOSS_DELAY_S)
            self._happened = trio.Event()
            lost, self._lost = self._lost, {}
            for blob_id in lost:
                await self._tell(blob_id)
