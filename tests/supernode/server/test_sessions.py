"""What a supernode says to peers that ask for the impossible, on the wire."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.errors import RemoteProtocolError, Unavailable
from flyfs.transport.greeting import dial
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import (
    Digests,
    Done,
    Follow,
    GetDigests,
    GetPiece,
    Have,
    Join,
    Joined,
    Leave,
    List,
    Message,
    NotHeld,
    Ping,
    Report,
    Stat,
)
from supernode.server.sessions import advertised
from tests.flyfs.swarm.rig import PIECE, SupernodeRig, a_supernode, until
from tests.support.builders import a_blob, a_hello, a_peer_id

BLOB = a_blob(3, piece_size=PIECE)
NOTHING = Bitmap(3).to_bytes()


async def _ignore(_: Link, message: Message) -> Answer | None:
    return None


@asynccontextmanager
async def a_link(directory: Path) -> AsyncGenerator[tuple[SupernodeRig, Link], None]:
    hello = a_hello("anne", address="127.0.0.1:7402")
    async with (
        a_supernode(directory) as supernode,
        trio.open_nursery() as nursery,
        dial(supernode.address, hello) as dialled,
    ):
        nursery.start_soon(dialled.link.run, _ignore)
        yield supernode, dialled.link
        nursery.cancel_scope.cancel()


def a_join(blob: Blob, have: bytes = NOTHING) -> Join:
    return Join(blob=blob, have=have, durable=have, reading=True)


def no_url(url: str) -> Blob:
    return replace(BLOB, url=url)


@pytest.mark.parametrize(
    "message",
    [
        a_join(a_blob(3, piece_size=2 * PIECE)),  # another grid under the same id
        a_join(replace(BLOB, principal="somebody")),
        a_join(no_url("http://origin.test/a/../b")),
        a_join(no_url("file:///etc/passwd")),
        a_join(BLOB, b"\xff"),
        Stat(url="nonsense", principal="public", max_age_s=0),
    ],
    ids=["grid", "principal", "url", "scheme", "bitmap", "stat"],
)
async def test_what_no_supernode_could_have_said_is_refused(tmp_path: Path, message: Message) -> None:
    async with a_link(tmp_path) as (supernode, link):
        with pytest.raises(RemoteProtocolError):
            await link.request(message, timeout_s=5)
        assert len(supernode.coordinator.tasks) == 0
        assert supernode.cdn._feeds == {}


@pytest.mark.parametrize(
    "message",
    [
        Stat(url="http://origin.test/a", principal="somebody", max_age_s=0),
        Follow(blob_id=BLOB.id),
        List(url="http://origin.test/", principal="public", max_age_s=0, serial=77, start=5),
    ],
    ids=["principal", "follow", "serial"],
)
async def test_what_cannot_be_served_is_said_so(tmp_path: Path, message: Message) -> None:
    async with a_link(tmp_path) as (_, link):
        with pytest.raises(Unavailable):
            await link.request(message, timeout_s=5)


async def test_pieces_and_digests_of_blobs_that_nobody_knows_are_not_held(tmp_path: Path) -> None:
    async with a_link(tmp_path) as (_, link):
        ask = GetPiece(blob_id=BLOB.id, piece=0, demand=True, proof=True)
        assert await link.request(ask, timeout_s=5) == NotHeld()
        assert await link.request(GetDigests(blob_id=BLOB.id, page=0), timeout_s=5) == Digests(batches=())
        assert await link.request(Ping(), timeout_s=5) == Done()

        assert await link.request(a_join(BLOB), timeout_s=5) == Joined(neighbours=())
        assert await link.request(replace(ask, piece=3), timeout_s=5) == NotHeld()
        assert await link.request(GetDigests(blob_id=BLOB.id, page=9), timeout_s=5) == Digests(batches=())


async def test_news_change_what_is_known_and_nonsense_does_not(tmp_path: Path) -> None:
    async with a_link(tmp_path) as (supernode, link):
        anne = a_peer_id("anne")
        await link.send(Have(blob_id=BLOB.id, runs=((0, 1),)))
        await link.request(a_join(BLOB), timeout_s=5)
        await link.send(Have(blob_id=BLOB.id, runs=((1, 2),)))
        await until(lambda: supernode.holding(BLOB.id) == {anne: 2})
        await link.send(Have(blob_id=BLOB.id, runs=((0, 1),), durable=True))
        await link.send(Have(blob_id=BLOB.id, runs=((2, 9),)))
        await link.send(Report(peer_id=a_peer_id("bert"), blob_id=BLOB.id, fault="corrupt"))
        await link.request(Ping(), timeout_s=5)
        assert supernode.holding(BLOB.id) == {anne: 2}

        await link.send(Leave(blob_id=BLOB.id))
        await until(lambda: supernode.holding(BLOB.id) == {})
        await link.request(a_join(BLOB), timeout_s=5)
        link.close()
        await until(lambda: supernode.members() == 0)
        assert supernode.holding(BLOB.id) == {}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("10.0.0.9:7402", "10.0.0.9:7402"),
        ("0.0.0.0:7402", "192.0.2.1:7402"),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_a_peer_is_reached_where_it_says_or_where_it_came_from(said: str, shown: str) -> None:
    assert advertised(a_hello(address=said), "192.0.2.1") == shown
