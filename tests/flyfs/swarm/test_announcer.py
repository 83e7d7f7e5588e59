"""What is told to whom, and how often; on a clock that jumps."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from flyfs.core.ids import BlobId, PieceIndex
from flyfs.swarm.uploads import ANNOUNCE_EVERY_S, Announcer
from flyfs.wire.messages import Have, Message
from tests.support.builders import a_blob_id

BLOB, OTHER = a_blob_id("blob"), a_blob_id("other")


class Told:
    """An announcer, and when the supernode was told of how many pieces."""

    def __init__(self) -> None:
        self.times: list[tuple[float, BlobId, int]] = []
        self.announcer = Announcer(self._tell)

    async def _tell(self, blob_id: BlobId, message: Message) -> None:
        assert isinstance(message, Have)
        self.times.append((round(trio.current_time() - self.began, 3), blob_id, sum(count for _, count in message.runs)))

    began = 0.0

    def gain(self, *pieces: int, blob_id: BlobId = BLOB) -> None:
        for piece in pieces:
            self.announcer.piece_gained(blob_id, PieceIndex(piece), durable=False)


@asynccontextmanager
async def announcing() -> AsyncGenerator[Told, None]:
    told = Told()
    async with trio.open_nursery() as nursery:
        await nursery.start(told.announcer.run)
        told.began = trio.current_time()
        yield told
        nursery.cancel_scope.cancel()


async def test_after_a_quiet_moment_news_go_out_at_once_and_then_together(autojump_clock: MockClock) -> None:
    async with announcing() as told:
        told.gain(1)
        await trio.sleep(0.001)
        told.gain(2)
        await trio.sleep(0.02)
        told.gain(3)
        await trio.sleep(1)

    assert told.times == [(0.0, BLOB, 1), (ANNOUNCE_EVERY_S, BLOB, 2)]


async def test_a_supernode_hears_of_a_crowds_blob_as_seldom_as_it_wants(autojump_clock: MockClock) -> None:
    async with announcing() as told:
        told.announcer.tell_supernode_every(BLOB, 2.0)
        for piece in range(50):
            told.gain(piece)
            await trio.sleep(0.1)
        told.gain(7, blob_id=OTHER)
        await trio.sleep(2.5)

    of_blob = [(at, count) for at, blob_id, count in told.times if blob_id == BLOB]
    assert [at for at, _ in of_blob] == pytest.approx([0, 2, 4, 6], abs=0.1)
    assert sum(count for _, count in of_blob) == 50, "nothing is lost"
    assert [one[1:] for one in told.times if one[1] == OTHER] == [(OTHER, 1)], "others are told at once"


async def test_when_the_crowd_is_over_news_go_out_at_once_again(autojump_clock: MockClock) -> None:
    async with announcing() as told:
        told.announcer.tell_supernode_every(BLOB, 10.0)
        told.gain(1)
        await trio.sleep(1)
        told.announcer.tell_supernode_every(BLOB, 0.0)
        told.gain(2)
        await trio.sleep(10)
        told.gain(3)
        await trio.sleep(1)
        told.gain(4)
        await trio.sleep(1)

    assert [at for at, _, _ in told.times] == pytest.approx([0, 1, 11, 12], abs=0.1)
    assert not told.announcer._supernode_due


async def test_what_was_put_off_until_a_crowd_is_over_is_told_when_it_was_due(autojump_clock: MockClock) -> None:
    async with announcing() as told:
        told.announcer.tell_supernode_every(BLOB, 10.0)
        told.gain(1)
        await trio.sleep(1)
        told.gain(2)
        await trio.sleep(1)
        told.announcer.tell_supernode_every(BLOB, 0.0)
        await trio.sleep(20)

    assert told.times == [(0.0, BLOB, 1), (10.0, BLOB, 1)]
    assert not told.announcer._supernode_due
