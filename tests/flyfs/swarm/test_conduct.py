"""A neighbour that leaves requests unanswered, and what the supernode hears of it."""

import pytest
import trio
from trio.testing import MockClock

from flyfs.core.errors import Unanswered
from flyfs.core.ids import BlobId
from flyfs.swarm.conduct import Conduct
from flyfs.swarm.speeds import EVERY_S, STALL_PIECES, STALL_S
from flyfs.wire.messages import Message, NotHeld, Piece, Report, Speed, Speeds
from tests.support.builders import a_blob_id, a_peer_id

BLOB, ANNE, BAD = a_blob_id(), a_peer_id("anne"), a_peer_id("bad")


class Supernode:
    def __init__(self) -> None:
        self.heard: list[Message] = []

    async def tell(self, blob_id: BlobId, message: Message) -> None:
        assert blob_id == BLOB
        self.heard.append(message)


async def test_a_stall_while_others_answer_is_told_as_slow_and_a_lost_connection_is_not(autojump_clock: MockClock) -> None:
    supernode = Supernode()
    conduct = Conduct(a_peer_id("me"), supernode.tell)
    async with trio.open_nursery() as nursery:
        await nursery.start(conduct.run)
        for timeout_s in (STALL_S, 100.0):  # in time, or long before
            with pytest.raises(Unanswered), conduct.watching(BLOB, BAD, timeout_s):  # noqa: PT012 - all of it happens while it waits
                for peer in (ANNE, None, ANNE)[:STALL_PIECES]:
                    with conduct.watching(BLOB, peer, 1.0) as request:
                        request.answered(Piece(piece=0, length=10, proof=None))
                await trio.sleep(STALL_S)
                raise Unanswered("nothing came")
        await trio.testing.wait_all_tasks_blocked()
        assert supernode.heard == [Report(peer_id=BAD, blob_id=BLOB, fault="slow")]
        nursery.cancel_scope.cancel()


async def test_what_neighbours_brought_is_told_every_few_seconds_and_at_the_end(autojump_clock: MockClock) -> None:
    supernode = Supernode()
    conduct = Conduct(a_peer_id("me"), supernode.tell)
    conduct.download_ended(BLOB)
    async with trio.open_nursery() as nursery:
        await nursery.start(conduct.run)
        with conduct.watching(BLOB, ANNE, 1.0) as request:
            await trio.sleep(0.5)
            request.answered(Piece(piece=0, length=10, proof=None))
        await trio.sleep(2 * EVERY_S)
        with conduct.watching(BLOB, ANNE, 1.0) as request:
            await trio.sleep(0.25)
            request.answered(NotHeld())
        conduct.rejected(ANNE, BLOB, 7)
        conduct.download_ended(BLOB)
        await trio.testing.wait_all_tasks_blocked()
        first = Speeds(blob_id=BLOB, measured=(Speed(peer_id=ANNE, size=10, busy_s=0.5, pieces=1),))
        last = Speeds(blob_id=BLOB, measured=(Speed(peer_id=ANNE, size=0, busy_s=0.25, pieces=0),))
        assert supernode.heard[0] == first
        assert {type(one) for one in supernode.heard[1:]} == {Report, Speeds}
        assert last in supernode.heard
        assert Report(peer_id=ANNE, blob_id=BLOB, fault="corrupt", piece=7) in supernode.heard
        nursery.cancel_scope.cancel()
