"""What went is told soon, and once for all that went meanwhile."""

import trio
from trio.testing import MockClock

from flyfs.core.ids import BlobId
from flyfs.swarm.losses import LOSS_DELAY_S, Losses
from tests.support.builders import a_blob_id

A, B = a_blob_id("a"), a_blob_id("b")


async def test_losses_are_collected_for_a_moment(autojump_clock: MockClock) -> None:
    told: list[tuple[float, BlobId]] = []

    async def tell(blob_id: BlobId) -> None:
        await trio.lowlevel.checkpoint()
        told.append((trio.current_time() - began, blob_id))

    began = trio.current_time()
    losses = Losses(tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(losses.run)
        for blob_id in (A, B, A):
            losses.happened(blob_id)
        await trio.sleep(LOSS_DELAY_S + 1)
        losses.happened(A)
        await trio.sleep(LOSS_DELAY_S + 1)
        nursery.cancel_scope.cancel()

    assert told == [(LOSS_DELAY_S, A), (LOSS_DELAY_S, B), (2 * LOSS_DELAY_S + 1, A)]
