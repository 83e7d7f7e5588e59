"""News that come while a peer ends, or while one of its neighbours goes: nobody is left to carry them out, and nothing breaks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from flyfs.core.address import Address
from flyfs.core.errors import Unanswered
from flyfs.core.ids import BlobId, PeerId
from flyfs.swarm.conduct import Conduct
from flyfs.swarm.download import Download
from flyfs.swarm.neighbours import Neighbours
from flyfs.swarm.speeds import STALL_PIECES, STALL_S
from flyfs.transport.greeting import Greeted, bound_address, listen, serve
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import Follow, Hello, Holdings, Message, Neighbour, Piece, Welcome
from tests.support.builders import a_blob_id, a_hello, a_neighbour, a_peer_id

BLOB, ANNE, BAD = a_blob_id(), a_peer_id("anne"), a_peer_id("bad")


async def _tell(_: BlobId, message: Message) -> None:
    raise AssertionError(f"told after the end: {message}")


async def test_faults_and_speeds_that_are_found_when_it_has_ended_are_told_to_nobody(autojump_clock: MockClock) -> None:
    conduct = Conduct(a_peer_id("me"), _tell)
    async with trio.open_nursery() as nursery:
        await nursery.start(conduct.run)
        nursery.cancel_scope.cancel()

    for peer in (ANNE, None, ANNE)[:STALL_PIECES]:
        with conduct.watching(BLOB, peer, 1.0) as request:
            request.answered(Piece(piece=0, length=10, proof=None))
    with pytest.raises(Unanswered), conduct.watching(BLOB, BAD, STALL_S):  # noqa: PT012 - all of it happens while it waits
        await trio.sleep(STALL_S)
        raise Unanswered("the connection went with everything else")
    conduct.rejected(ANNE, BLOB, 7)
    conduct.download_ended(BLOB)


class NoDownloads:
    def download(self, _: BlobId) -> Download | None:
        return None

    def unreachable(self, peer: PeerId, blob_id: BlobId, fault: str) -> None:
        raise AssertionError(f"{peer}, {blob_id}: {fault}")


async def test_nobody_is_met_when_it_has_ended() -> None:
    neighbours = Neighbours(a_hello, NoDownloads())
    async with trio.open_nursery() as nursery:
        await nursery.start(neighbours.run)
        nursery.cancel_scope.cancel()

    neighbours.meet(BLOB, [a_neighbour("bert")])

    assert neighbours.connected == []


class Bert:
    """A peer that can be dialled, and hangs up when told to."""

    def __init__(self) -> None:
        self.links: list[Link] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Neighbour]:
        listener = listen(Address("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve, listener, self._welcome, self._session))
            yield a_neighbour("bert", str(bound_address(listener)))
            nursery.cancel_scope.cancel()

    @staticmethod
    def _welcome(_: Hello) -> Welcome:
        return Welcome(major=1, minor=0, peer_id=a_peer_id("bert"), role="peer", version="0.1.0")

    async def _session(self, greeted: Greeted) -> None:
        self.links.append(greeted.link)
        await greeted.link.run(self._handle)

    @staticmethod
    async def _handle(_: Link, message: Message) -> Answer | None:
        return Answer(Holdings(have=b"", durable=b"")) if isinstance(message, Follow) else None


async def test_a_neighbour_that_is_named_for_more_in_the_moment_in_which_it_goes_is_let_go() -> None:
    neighbours, bert = Neighbours(a_hello, NoDownloads()), Bert()
    async with bert.listening() as place, trio.open_nursery() as nursery:
        await nursery.start(neighbours.run)
        neighbours.meet(BLOB, [place])
        with trio.fail_after(5):
            while not neighbours.connected:
                await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()

        bert.links[0].close()
        number = 0
        with trio.fail_after(5):
            while neighbours.connected:  # named for another blob each time the loop turns
                neighbours.meet(a_blob_id(f"another {number}"), [place])
                number += 1
                await trio.lowlevel.checkpoint()

        nursery.cancel_scope.cancel()
