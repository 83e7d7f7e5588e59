"""While no supernode answers: what a peer asks its origin for by itself, and what becomes of it afterwards."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from flyfs.core.address import Address
from flyfs.core.errors import NotFound, Stale, Unavailable
from flyfs.core.ids import BlobId
from flyfs.core.remote import RemoteDirectory, RemoteFile
from flyfs.core.urls import parse_url
from flyfs.origin.address_guard import AddressPolicy
from flyfs.swarm import confirming, swarm
from flyfs.transport.greeting import dial
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import Follow, GetPiece, Holdings, Message, NotHeld, Piece
from tests.flyfs.swarm.rig import PIECE, PeerRig, World, a_peer, a_supernode, a_world, read, until
from tests.support.builders import OTHER_KEY, a_hello

ALLOWED = AddressPolicy(own_host=True)
MODIFIED = "Mon, 23 Nov 2026 15:40:49 GMT"


@pytest.fixture(autouse=True)
def soon_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm, "ALONE_AFTER_S", (0.2, 0.3))


@asynccontextmanager
async def left_alone(directory: Path) -> AsyncGenerator[tuple[World, PeerRig], None]:
    """An origin, and a peer whose supernode is gone."""
    async with a_world(directory) as world, world.peer(asks_origins=ALLOWED) as peer:
        yield world, peer


async def lose(world: World, peer: PeerRig) -> None:
    world.supernode.scope.cancel()
    await until(lambda: not peer.swarm.supernodes.up)


async def no_answer(_: Link, message: Message) -> Answer | None:
    return None


async def ask_as_neighbour(peer: PeerRig, blob_id: BlobId, piece: int) -> tuple[Holdings, object]:
    """What the peer tells and gives to another one."""
    host, _, port = peer.swarm.address.rpartition(":")
    async with dial(Address(host, int(port)), a_hello("stranger")) as dialled, trio.open_nursery() as nursery:
        nursery.start_soon(dialled.link.run, no_answer)
        holdings = await dialled.link.request(Follow(blob_id=blob_id), timeout_s=5)
        message = GetPiece(blob_id=blob_id, piece=piece, demand=True, proof=True)
        reply = await dialled.link.request(message, timeout_s=5, into=memoryview(bytearray(PIECE)))
        nursery.cancel_scope.cancel()
    assert isinstance(holdings, Holdings)
    return holdings, reply


async def test_a_file_that_is_being_read_is_read_on_from_its_origin(tmp_path: Path) -> None:
    async with left_alone(tmp_path) as (world, peer):
        url, content = world.put("/f", 12)
        async with peer.opened(url) as blob:
            assert await read(blob, 0, PIECE) == content[:PIECE]
            await until(lambda: peer.swarm.memberships.home(blob.blob.id) is not None)
            held = blob.figures().have_pieces
            await lose(world, peer)
            began = trio.current_time()
            got = [await read(blob, at, PIECE) for at in range(0, len(content), PIECE)]
            assert b"".join(got) == content
            assert trio.current_time() - began < 3.0

            figures = blob.figures()
            assert figures.origin_bytes == peer.counters.origin_bytes == len(content) - held * PIECE > 0
            assert figures.have_pieces == 12
            assert peer.counters.pieces_rejected == 0
        asked = [request.range for request in world.origin.requests]
        assert len(asked) == len(set(asked)), "nothing was read twice"


async def test_such_a_piece_serves_this_peer_alone_until_a_supernode_vouches_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirming, "AGAIN_S", (0.2, 0.2))
    async with left_alone(tmp_path) as (world, peer):
        url, content = world.put("/f", 60, etag=None, modified=MODIFIED)
        async with peer.opened(url) as blob:
            await read(blob, 0, 1)
            blob_id, address = blob.blob.id, world.supernode.address
            await lose(world, peer)
            assert await read(blob, 50 * PIECE, PIECE) == content[50 * PIECE : 51 * PIECE]
            stored = peer.store.find(blob_id)
            assert stored is not None
            assert 50 in stored.provisional
            holdings, reply = await ask_as_neighbour(peer, blob_id, 50)
            assert isinstance(reply, NotHeld)
            assert not holdings.have[50 // 8] >> 50 % 8 & 1

            async with a_supernode(tmp_path / "another", address=address) as another:
                await until(lambda: another.holding(blob_id).get(peer.store.peer_id))
                assert 50 not in another.held_by(peer.store.peer_id, blob_id)
                async with a_peer(tmp_path / "b", another) as bert:
                    assert (await bert.find(url)).blob == blob.blob, "the same version, whoever names it"
                    async with bert.opened(url) as other:
                        assert await read(other, 50 * PIECE, 10) == content[50 * PIECE : 50 * PIECE + 10]
                        assert bert.counters.peer_bytes == 0
                    await until(lambda: 50 not in stored.provisional)
                    await until(lambda: 50 in another.held_by(peer.store.peer_id, blob_id))
                _, reply = await ask_as_neighbour(peer, blob_id, 50)
                assert isinstance(reply, Piece)
                await until(lambda: 50 in stored.durable)


async def test_a_piece_that_turns_out_to_be_another_one_is_dropped_and_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirming, "AGAIN_S", (0.2, 0.2))
    async with left_alone(tmp_path) as (world, peer):
        url, content = world.put("/f", 60, seed=1, etag='"same"')
        async with peer.opened(url) as blob:
            await read(blob, 0, 1)
            address = world.supernode.address
            await lose(world, peer)
            world.put("/f", 60, seed=2, etag='"same"')  # the origin lies about its versions
            wrong = await read(blob, 50 * PIECE, PIECE)
            assert wrong != content[50 * PIECE : 51 * PIECE]
            world.put("/f", 60, seed=1, etag='"same"')
            async with a_supernode(tmp_path / "another", address=address) as another:
                await until(lambda: peer.swarm.supernodes.up)
                async with a_peer(tmp_path / "b", another) as bert, bert.opened(url) as other:
                    await read(other, 50 * PIECE, 10)
                stored = peer.store.find(blob.blob.id)
                assert stored is not None
                await until(lambda: 50 not in stored.provisional)
                assert await read(blob, 50 * PIECE, PIECE) == content[50 * PIECE : 51 * PIECE]
                assert another.retired == []
                assert peer.counters.pieces_rejected == 0


async def test_names_and_listings_come_from_the_origin_too(tmp_path: Path) -> None:
    async with left_alone(tmp_path) as (world, peer):
        url, content = world.put("/d/f", 2, etag=None, modified=MODIFIED)
        page = b'[{"name": "f", "type": "file", "size": 1}]'
        world.put("/d/", content=page, etag=None, content_type="application/json")
        directory = parse_url(world.origin.url("/d"))
        await lose(world, peer)

        found = await peer.swarm.stat(url, max_age_s=0)
        assert isinstance(found, RemoteFile)
        assert found.blob is not None
        assert (found.blob.size, found.modified_s, found.blob.generation > 0) == (len(content), 1795448449, True)
        assert isinstance(await peer.swarm.stat(directory, max_age_s=0), RemoteDirectory)
        assert [entry.name for entry in (await peer.swarm.list(directory, max_age_s=0)).entries] == ["f"]
        with pytest.raises(NotFound):
            await peer.swarm.stat(parse_url(world.origin.url("/none")), max_age_s=0)
        assert await peer.content(url) == content
        again = await peer.find(url)
        assert [blob.id for blob in peer.store.blobs()] == [again.blob.id], "it is recognised"  # type: ignore[union-attr]


async def test_where_origins_must_not_be_asked_from_here_everything_fails_as_before(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, _ = world.put("/f", 12)
        async with peer.opened(url) as blob:
            await read(blob, 0, 1)
            await lose(world, peer)
            before = len(world.origin.requests)
            with pytest.raises(Unavailable, match="no supernode answers"):
                await peer.find(url)
            with pytest.raises(Unavailable, match="no supernode answers"):
                await peer.swarm.list(parse_url(world.origin.url("/")), max_age_s=0)
            with trio.move_on_after(0.5) as scope:
                await blob.read(11 * PIECE, 10)
            assert scope.cancelled_caught
            assert len(world.origin.requests) == before


async def test_a_refusal_of_our_own_says_nothing_about_the_name(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer(asks_origins=AddressPolicy()) as peer:
        url, _ = world.put("/f", 12)
        async with peer.opened(url) as blob:
            await read(blob, 0, 1)
            await lose(world, peer)
            for ask in (peer.find(url), peer.swarm.list(parse_url(world.origin.url("/")), max_age_s=0)):
                with pytest.raises(Unavailable, match="no supernode answers.*from here: refused: .*--allow-origin"):
                    await ask
            with trio.move_on_after(0.7) as scope:
                await blob.read(11 * PIECE, 10)
            assert scope.cancelled_caught, "no error of its own: a supernode may come back in time"
            assert "--allow-origin" in blob.why()


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ({"etag": None}, "nothing tells its versions apart"),
        ({"ranges": False}, "from its start only"),
        ({"status": 403}, "403"),
        ({"stops_after": 10}, "without sending complete message body"),
    ],
)
async def test_what_only_a_supernode_can_read_is_left_to_it(tmp_path: Path, does: dict[str, object], why: str) -> None:
    async with left_alone(tmp_path) as (world, peer):
        url, _ = world.put("/f", 60, **{name: value for name, value in does.items() if name == "etag"})
        file = await peer.find(url, read=False)
        await lose(world, peer)
        world.origin.change("/f", **does)
        opened = await peer.swarm.open(file)
        with trio.move_on_after(1.0) as scope:
            await opened.read(50 * PIECE, 10)
        assert scope.cancelled_caught
        assert why in opened.why()
        opened.close()


async def test_content_without_a_length_is_left_to_a_supernode(tmp_path: Path) -> None:
    async with left_alone(tmp_path) as (world, peer):
        url, _ = world.put("/f", 3, framing="chunked", head="no-length", ranges=False)
        await lose(world, peer)
        assert (await peer.find(url)).blob is None
        with pytest.raises(Unavailable, match="no supernode answers.*gives no length"):
            await peer.find(url, pin=True)


async def test_a_version_that_is_over_is_stale(tmp_path: Path) -> None:
    async with left_alone(tmp_path) as (world, peer):
        url, _ = world.put("/f", 60, seed=1)
        file = await peer.find(url, read=False)
        await lose(world, peer)
        world.put("/f", 60, seed=2)
        opened = await peer.swarm.open(file)
        with pytest.raises(Stale, match="this version is over"):
            await read(opened, 50 * PIECE, 10)
        opened.close()


async def test_when_a_supernode_comes_it_is_asked_and_the_origin_no_more(tmp_path: Path) -> None:
    async with left_alone(tmp_path) as (world, peer):
        url, content = world.put("/f", 60)
        async with peer.opened(url) as blob:
            await read(blob, 0, 1)
            address = world.supernode.address
            await lose(world, peer)
            await read(blob, 30 * PIECE, 1)
            await until(lambda: not blob._download._flights)  # what is read ahead is counted after the read
            alone = peer.counters.origin_bytes
            async with a_supernode(tmp_path / "another", address=address):
                await until(lambda: peer.swarm.supernodes.up)
                assert await read(blob, 50 * PIECE, PIECE) == content[50 * PIECE : 51 * PIECE]
                assert (await peer.find(url)).blob == blob.blob
                assert peer.counters.origin_bytes == alone


async def test_what_another_key_signed_is_offered_to_nobody_until_ours_vouches_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a cache that an embedded supernode filled, before the mount joined a fleet."""
    monkeypatch.setattr(confirming, "AGAIN_S", (0.2, 0.2))
    async with a_world(tmp_path, key=OTHER_KEY) as world:
        url, content = world.put("/f", 20)
        async with world.peer("a") as anne:
            assert await anne.content(url) == content
            await anne.settled()
            (blob,) = anne.store.blobs()
        async with (
            a_supernode(tmp_path / "fleet") as fleet,
            a_peer(tmp_path / "a", fleet) as anne,
            a_peer(tmp_path / "b", fleet) as bert,
            a_peer(tmp_path / "c", fleet) as carl,
        ):
            await until(lambda: fleet.holding(blob.id) == {anne.store.peer_id: 0})
            assert isinstance((await ask_as_neighbour(anne, blob.id, 5))[1], NotHeld)
            assert await bert.content(url) == content
            assert (bert.counters.pieces_rejected, bert.counters.peer_bytes) == (0, 0)

            await until(lambda: fleet.holding(blob.id).get(anne.store.peer_id) == 20)
            _, reply = await ask_as_neighbour(anne, blob.id, 5)
            assert isinstance(reply, Piece)
            assert reply.proof is not None
            assert reply.proof.key == fleet.key.public
            assert await carl.content(url) == content
            assert (carl.counters.pieces_rejected, carl.counters.peer_bytes > 0) == (0, True)
        assert anne.counters.supernode_bytes + anne.counters.peer_bytes == 0, "the bytes were right all the time"
