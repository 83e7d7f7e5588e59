"""Peers and a supernode, all real but the mount, with an origin that does as told."""

import gc
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from flyfs.core.address import Address
from flyfs.core.errors import Denied, NotFound, Stale, TooLarge, Unavailable
from flyfs.core.grid import MIB
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.remote import RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl, parse_url
from flyfs.store.store import Store
from flyfs.store.writer import File, Writer
from flyfs.transport.greeting import bound_address, listen
from tests.flyfs.swarm.rig import PIECE, World, a_peer, a_supernode, a_world, read, until, using
from tests.support.builders import OTHER_KEY
from tests.support.hostile_origin import HostileOrigin, Resource, pattern


def is_settled(store: Store, blob_id: BlobId, *, pieces: int) -> bool:
    """Whether so many pieces are durable and nobody uses the blob, not even to sync it."""
    stored = store.find(blob_id)
    return stored is not None and stored.durable.count == pieces and not stored._uses


EMBEDDED = pytest.mark.parametrize("embedded", [False, True], ids=["own", "embedded"])


# -- names -------------------------------------------------------------------------------------------------------------


async def test_names_are_found_listed_and_missed(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, content = world.put("/d/f", 2.5, modified="Mon, 23 Nov 2026 15:40:49 GMT")
        page = json.dumps([{"name": "f", "type": "file", "size": 1}, {"name": "sub", "type": "directory"}])
        world.put("/d/", content=page.encode(), etag=None, content_type="application/json")

        found = await peer.swarm.stat(url, max_age_s=0)
        assert isinstance(found, RemoteFile)
        assert found.blob is not None
        assert (found.blob.size, found.modified_s, found.sequential) == (len(content), 1795448449, False)
        assert isinstance(await peer.swarm.stat(parse_url(world.origin.url("/d")), max_age_s=0), RemoteDirectory)
        listing = await peer.swarm.list(parse_url(world.origin.url("/d")), max_age_s=0)
        assert [entry.name for entry in listing.entries] == ["f", "sub"]
        with pytest.raises(NotFound):
            await peer.swarm.stat(parse_url(world.origin.url("/none")), max_age_s=0)


async def test_a_long_listing_comes_in_pages_and_is_begun_again_where_it_changes_meanwhile(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        names = [f"a-name-that-is-rather-long-{number:05}" for number in range(3000)]
        page = json.dumps([{"name": name, "type": "file", "size": 1} for name in names])
        world.put("/d/", content=page.encode(), etag=None, content_type="application/json")
        url = parse_url(world.origin.url("/d"))

        listing = await peer.swarm.list(url, max_age_s=10)
        assert [entry.name for entry in listing.entries] == names

        changes = 1
        (session,) = peer.swarm.supernodes.order(str(url))
        ask = session.ask

        async def ask_while_it_changes(message, *, timeout_s):  # type: ignore[no-untyped-def]
            nonlocal changes
            if message.serial and changes:
                changes -= 1
                await world.supernode.cdn.names.list(url.as_directory(), max_age_s=-1)
                world.supernode.cdn.names._listings.forget(url.as_directory())
                await world.supernode.cdn.names.list(url.as_directory(), max_age_s=0)
            return await ask(message, timeout_s=timeout_s)

        session.ask = ask_while_it_changes  # type: ignore[method-assign]
        assert len((await peer.swarm.list(url, max_age_s=10)).entries) == 3000
        changes = 100
        with pytest.raises(Unavailable, match="changed"):
            await peer.swarm.list(url, max_age_s=10)


async def test_the_origin_is_asked_once_however_many_peers_look_at_a_name(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer("a") as anne, world.peer("b") as bert:
        url, _ = world.put("/f", delay_s=0.05)
        async with trio.open_nursery() as nursery:
            for peer in (anne, bert) * 10:
                nursery.start_soon(partial(peer.find, url, max_age_s=10))

        assert len(world.origin.asked("/f")) == 1


async def test_an_address_that_is_forbidden_is_denied_and_never_asked(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        with pytest.raises(Denied, match="--allow-origin"):
            await peer.swarm.stat(parse_url("http://169.254.169.254/latest"), max_age_s=0)


async def test_without_a_supernode_every_question_fails_soon_and_says_why(tmp_path: Path) -> None:
    gone = listen(Address("127.0.0.1", 0))
    address = bound_address(gone)
    gone.close()
    async with a_supernode(tmp_path / "s") as supernode, a_peer(tmp_path / "p", supernode, address) as peer:
        supernode.scope.cancel()
        await until(lambda: not peer.swarm.supernodes.up)
        with pytest.raises(Unavailable, match=f"no supernode answers.*{address}"):
            await peer.swarm.stat(parse_url("http://127.0.0.1:1/f"), max_age_s=0)


# -- reading -----------------------------------------------------------------------------------------------------------


@EMBEDDED
async def test_a_cold_file_costs_one_round_trip_and_each_byte_leaves_the_origin_once(tmp_path: Path, embedded: bool) -> None:
    async with a_world(tmp_path, embedded=embedded) as world, world.peer() as peer:
        url, content = world.put("/f", 9.3)
        async with peer.opened(url) as blob:
            assert await read(blob, 5, 10) == content[5:15]
            assert world.origin.asked("/f")[0] == ("GET", f"bytes=0-{PIECE - 1}")
        assert await peer.content(url) == content
        await peer.settled()

        assert world.sent_bytes("/f") == len(content)
        assert peer.counters.supernode_bytes == len(content)
        assert world.supernode.counters.origin_bytes == len(content)
        assert peer.counters.pieces_verified == 10
        assert await peer.content(url) == content
        assert world.sent_bytes("/f") == len(content)


@EMBEDDED
async def test_reads_at_random_places_bring_right_bytes(tmp_path: Path, embedded: bool) -> None:
    async with a_world(tmp_path, embedded=embedded) as world, world.peer() as peer:
        url, content = world.put("/f", 60.5)
        async with peer.opened(url) as blob, trio.open_nursery() as nursery:

            async def check(offset: int) -> None:
                assert await read(blob, offset, 100_000) == content[offset : offset + 100_000]

            for at in range(40):
                nursery.start_soon(check, at * 7919 * 101 % len(content))
        await peer.settled()

        assert world.sent_bytes("/f") <= len(content) or embedded


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1])
@EMBEDDED
async def test_files_of_any_size_are_read_whole(tmp_path: Path, size: int, embedded: bool) -> None:
    async with a_world(tmp_path, embedded=embedded) as world, world.peer() as peer:
        url, content = world.put("/f", size / PIECE)

        assert await peer.content(url) == content


async def test_many_readers_of_one_piece_are_one_request(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer("a") as anne, world.peer("b") as bert:
        url, content = world.put("/f", 20, delay_s=0.02)
        async with anne.opened(url) as one, bert.opened(url) as two, trio.open_nursery() as nursery:

            async def check(blob) -> None:  # type: ignore[no-untyped-def]
                assert await read(blob, 10 * PIECE, 1000) == content[10 * PIECE : 10 * PIECE + 1000]

            for blob in (one, two) * 20:
                nursery.start_soon(check, blob)

        assert world.sent_bytes("/f") == 2 * PIECE, "the first piece came with the question"
        assert world.supernode.counters.origin_bytes == 2 * PIECE


async def test_a_second_peer_is_served_by_the_first(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer("a") as anne, world.peer("b") as bert:
        url, content = world.put("/f", 30.5)
        assert await anne.content(url) == content
        await anne.settled()
        left = world.supernode.counters.served_bytes
        assert await bert.content(url) == content
        await bert.settled()

        assert bert.counters.peer_bytes + bert.counters.supernode_bytes == len(content)
        assert bert.counters.peer_bytes >= len(content) - 4 * PIECE
        assert world.supernode.counters.served_bytes - left <= 4 * PIECE
        assert anne.counters.served_bytes == bert.counters.peer_bytes
        assert world.sent_bytes("/f") == len(content)


async def test_who_is_served_by_neighbours_learns_a_page_of_digests_at_once(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer("a") as anne, world.peer("b") as bert:
        url, content = world.put("/f", 30.5)
        async with anne.opened(url) as blob:  # piece by piece, so that anne gets as many batches as the supernode makes
            for piece in range(31):
                await read(blob, piece * PIECE, 1)
            blob_id = blob.blob.id
        await anne.settled()
        feed = await world.supernode.cdn.find(blob_id, None)
        assert feed is not None

        assert await bert.content(url) == content
        await bert.settled()

        (batch,) = feed.digests(0)
        assert batch.pieces == range(31)
        stored = bert.store.find(blob_id)
        assert stored is not None
        assert batch in stored.manifest.batches(0)
        assert stored.manifest.batches(0) == (batch,), "it covers, and so replaces, all that came with the pieces"


async def test_peers_that_read_together_share_and_the_supernode_sends_each_piece_about_once(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer("a") as anne, world.peer("b") as bert, world.peer("c") as carl:
        url, content = world.put("/f", 64)
        got: list[bytes] = []

        async def fetch(peer) -> None:  # type: ignore[no-untyped-def]
            got.append(await peer.content(url, step=PIECE))

        async with trio.open_nursery() as nursery:
            for peer in (anne, bert, carl):
                nursery.start_soon(fetch, peer)

        assert got == [content] * 3
        assert world.sent_bytes("/f") == len(content)
        assert world.supernode.counters.served_bytes <= 1.5 * len(content)


async def test_what_was_gained_is_announced_also_by_a_blob_that_was_forgotten_in_between(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, content = world.put("/f", 40)
        async with peer.opened(url) as blob:
            await read(blob, 20 * PIECE, 1)
            blob_id = blob.blob.id
        await peer.settled()
        await until(lambda: world.supernode.holding(blob_id) == {peer.store.peer_id: 1})
        await until(lambda: is_settled(peer.store, blob_id, pieces=1))
        del blob
        peer.store._open_blobs.close()
        gc.collect()
        assert peer.store._objects.get(blob_id) is None

        async with peer.opened(url) as blob:
            await read(blob, 30 * PIECE, 1)
        await until(lambda: world.supernode.holding(blob_id) == {peer.store.peer_id: 2})
        assert await peer.content(url) == content


# -- sources that fail -------------------------------------------------------------------------------------------------


async def test_a_supernode_that_goes_away_and_comes_back_interrupts_a_download_and_nothing_is_fetched_twice(
    tmp_path: Path,
) -> None:
    async with HostileOrigin.serving() as origin:
        content = pattern(40 * PIECE)
        url = parse_url(origin.url("/f"))
        async with a_supernode(tmp_path / "s") as first:
            address = first.address
            async with a_peer(tmp_path / "p", address) as peer:
                origin.put("/f", Resource(content=content, etag='"1"', pause_s=0.005, send_bytes=PIECE))
                blob = await peer.swarm.open(await peer.find(url))
                with using(blob):
                    assert await read(blob, 0, 5 * PIECE) == content[: 5 * PIECE]
                    first.scope.cancel()
                    await until(lambda: not peer.swarm.supernodes.up)
                    await trio.sleep(0.05)
                    async with a_supernode(tmp_path / "s2", address=address) as second:
                        rest = [await read(blob, at, PIECE) for at in range(5 * PIECE, 40 * PIECE, PIECE)]
                        assert b"".join(rest) == content[5 * PIECE :]
                        await until(lambda: second.holding(blob.blob.id) == {peer.store.peer_id: 40})
                assert peer.counters.supernode_bytes == 40 * PIECE, "no piece came twice"
                assert peer.counters.pieces_rejected == 0
                await peer.settled()


async def test_a_new_session_hears_of_everything_the_store_holds(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        first, first_content = world.put("/f", 3, seed=1)
        second, _ = world.put("/g", 3, seed=2)
        async with a_supernode(tmp_path / "s1") as supernode, a_peer(tmp_path / "p", supernode.address) as peer:
            assert await peer.content(first) == first_content
            await peer.content(second)
            blobs = {blob.id for blob in peer.store.blobs()}
            assert len(blobs) == 2
            supernode.scope.cancel()
            await until(lambda: not peer.swarm.supernodes.up)
            async with a_supernode(tmp_path / "s2", address=supernode.address) as again:
                await until(lambda: all(again.holding(one) == {peer.store.peer_id: 3} for one in blobs))
                again.scope.cancel()
                await until(lambda: not peer.swarm.supernodes.up)
                async with a_supernode(tmp_path / "s3", address=supernode.address) as third:
                    await until(lambda: all(third.holding(one) == {peer.store.peer_id: 3} for one in blobs))


async def test_an_origin_that_fails_and_is_well_again_costs_a_reader_a_moment(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, content = world.put("/f", 60)
        async with peer.opened(url) as blob:
            await read(blob, 0, 1)
            world.origin.change("/f", status=500)
            async with trio.open_nursery() as nursery:

                async def check() -> None:
                    assert await read(blob, 50 * PIECE, 100) == content[50 * PIECE : 50 * PIECE + 100]

                before = len(world.origin.asked("/f"))
                nursery.start_soon(check)
                await until(lambda: len(world.origin.asked("/f")) >= before + 2)
                await until(lambda: "500" in blob.why())
                failed = len(world.origin.asked("/f")) - before
                assert failed <= 4, "it is left alone between"
                world.origin.change("/f", status=None)
            assert blob.why() == ""


async def test_a_body_that_breaks_is_read_on_where_it_broke(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, content = world.put("/f", 40)
        async with peer.opened(url) as blob:
            world.origin.change("/f", stops_after=3 * PIECE + 7)
            got = [await read(blob, at, PIECE) for at in range(0, 10 * PIECE, PIECE)]
            assert b"".join(got) == content[: 10 * PIECE]


@EMBEDDED
async def test_an_origin_without_ranges_is_read_from_its_start_once(tmp_path: Path, embedded: bool) -> None:
    async with a_world(tmp_path, embedded=embedded) as world, world.peer() as peer:
        url, content = world.put("/f", 30, ranges=False)
        async with peer.opened(url) as blob:
            assert await read(blob, 25 * PIECE, 10) == content[25 * PIECE : 25 * PIECE + 10]
        assert await peer.content(url) == content

        assert world.sent_bytes("/f") <= 2 * len(content) + PIECE


async def test_a_file_without_ranges_beyond_all_buffers_is_read_once_whatever_is_wanted_first(tmp_path: Path) -> None:
    async with a_world(tmp_path, embedded=True, buffer_bytes=8 * PIECE) as world, world.peer() as peer:
        url, content = world.put("/f", 40, ranges=False)
        async with peer.opened(url) as blob:
            assert await read(blob, 39 * PIECE, 100) == content[39 * PIECE : 39 * PIECE + 100]
            for piece in range(39, -1, -1):
                assert await read(blob, piece * PIECE, PIECE) == content[piece * PIECE : (piece + 1) * PIECE]

        assert world.supernode.counters.origin_bytes == len(content)
        gets = [asked for method, asked in world.origin.asked("/f") if method == "GET"]
        assert len(gets) == 1


@EMBEDDED
async def test_content_without_any_validator_is_read_in_one_answer(tmp_path: Path, embedded: bool) -> None:
    async with a_world(tmp_path, embedded=embedded) as world, world.peer() as peer:
        url, content = world.put("/f", 12.5, etag=None)

        assert await peer.content(url) == content
        whole = [asked for asked in world.origin.asked("/f") if asked == ("GET", None)]
        assert len(whole) == 1


async def test_a_version_that_is_over_is_stale_only_for_pieces_that_nobody_has(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer("a") as anne, world.peer("b") as bert:
        url, content = world.put("/f", 60, seed=1)
        async with anne.opened(url) as old, bert.opened(url) as other:
            await read(other, 30 * PIECE, 1)
            await until(lambda: world.supernode.holding(old.blob.id).get(bert.store.peer_id) == 1)
            fresh_url, fresh = world.put("/f", 60, seed=2)
            assert fresh_url == url

            with pytest.raises(Stale):
                await read(old, 50 * PIECE, 10)
            assert await read(old, 30 * PIECE, 10) == content[30 * PIECE : 30 * PIECE + 10], "a peer has it"
            with pytest.raises(Stale):
                await read(old, 51 * PIECE, 10)
            async with anne.opened(url) as new:
                assert new.blob.id != old.blob.id
                assert await read(new, 50 * PIECE, 10) == fresh[50 * PIECE : 50 * PIECE + 10]


async def test_other_bytes_under_the_same_validator_retire_the_blob_everywhere(tmp_path: Path) -> None:
    async with a_world(tmp_path, embedded=True) as world, world.peer("a") as anne, world.peer("b") as bert:
        url, _ = world.put("/f", 30, seed=1, etag='"same"')
        async with anne.opened(url) as one:
            await read(one, 10 * PIECE, 1)
        await anne.settled()
        blob_id = one.blob.id
        world.put("/f", 30, seed=2, etag='"same"')
        await anne.store.drop(blob_id)
        async with bert.opened(url, max_age_s=100) as two:
            assert two.blob.id == blob_id
            with pytest.raises(Stale, match="same validator"):
                await read(two, 10 * PIECE, 1)
            with pytest.raises(Stale):
                await read(two, 12 * PIECE, 1)
        assert len(world.supernode.retired) == 1
        await until(lambda: bert.store.find(blob_id) is None)


# -- content without a length ------------------------------------------------------------------------------------------


@EMBEDDED
@pytest.mark.parametrize("pieces", [0, 5.5])
async def test_content_without_a_length_is_read_whole_once_and_then_is_a_file_as_any_other(
    tmp_path: Path, embedded: bool, pieces: float
) -> None:
    async with a_world(tmp_path, embedded=embedded) as world, world.peer() as peer:
        url, content = world.put("/f", pieces, framing="chunked", head="no-length", ranges=False)
        unknown = await peer.find(url)
        assert unknown.blob is None
        assert await peer.content(url, max_age_s=100, pin=True) == content
        await peer.settled()

        bodies = [request for request in world.origin.requests if request.method == "GET" and not request.range]
        assert [request.sent_bytes for request in bodies] == [len(content)]
        feeds = world.supernode.cdn._feeds.values()
        assert all(feed.shelf.bare for feed in feeds)


def forget_names(world: World, url: RemoteUrl) -> None:
    """As after the time for which an answer that took long to find serves everybody."""
    world.supernode.cdn.names.forget(url)


async def test_content_without_a_length_is_read_again_where_it_may_have_changed(tmp_path: Path) -> None:
    async with a_world(tmp_path, embedded=True) as world, world.peer() as peer:
        url, content = world.put("/f", 5.5, framing="chunked", head="no-length", ranges=False)
        async with peer.opened(url, pin=True) as blob:
            assert await read(blob, 0, 10) == content[:10]
            forget_names(world, url)
            async with peer.opened(url, pin=True) as again:
                assert again.blob == blob.blob
                assert await read(again, 5 * PIECE, 10) == content[5 * PIECE : 5 * PIECE + 10]
            changed_url, changed = world.put("/f", 5.5, seed=2, framing="chunked", head="no-length", ranges=False)
        forget_names(world, url)
        assert await peer.content(changed_url, pin=True) == changed


@EMBEDDED
async def test_content_without_a_length_nor_a_validator_that_changes_is_another_version(tmp_path: Path, embedded: bool) -> None:
    async with a_world(tmp_path, embedded=embedded) as world, world.peer() as peer:
        url, content = world.put("/f", 3, framing="chunked", head="no-length", ranges=False, etag=None)
        assert await peer.content(url, pin=True) == content
        _, changed = world.put("/f", 3, seed=7, framing="chunked", head="no-length", ranges=False, etag=None)
        forget_names(world, url)

        assert await peer.content(url, pin=True) == changed


@EMBEDDED
async def test_content_without_a_length_beyond_the_limit_is_too_large(tmp_path: Path, embedded: bool) -> None:
    async with a_world(tmp_path, embedded=embedded, pin_limit_bytes=3 * PIECE) as world, world.peer() as peer:
        url, _ = world.put("/f", 20, framing="chunked", head="no-length", ranges=False)
        with pytest.raises(TooLarge, match=str(3 * PIECE)):
            await peer.find(url, pin=True)
        url, content = world.put("/g", 3, framing="chunked", head="no-length", ranges=False)
        assert await peer.content(url, pin=True) == content


# -- nothing stays behind ----------------------------------------------------------------------------------------------


async def test_readers_that_give_up_leave_nothing_behind(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, content = world.put("/f", 60)
        async with peer.opened(url) as blob:
            world.origin.change("/f", hangs="head")
            for at in (50, 55, 50):
                with trio.move_on_after(0.02) as scope:
                    await blob.read(at * PIECE, 10)
                assert scope.cancelled_caught
            download = peer.swarm._downloads[blob.blob.id].download
            assert not download._waiting
            assert not download.picker._wants.demands
            world.origin.change("/f", hangs="")
            assert await read(blob, 58 * PIECE, 10) == content[58 * PIECE : 58 * PIECE + 10]
            world.supernode.scope.cancel()
            await until(lambda: not download.picker._flights)
            assert peer.swarm.buffers.lent_bytes == 0


async def test_a_download_whose_file_is_closed_finishes_what_is_on_its_way_and_ends(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, content = world.put("/f", 60, send_bytes=PIECE, pause_s=0.002)
        async with peer.opened(url) as blob:
            assert await read(blob, 0, 10) == content[:10]
            await until(lambda: len(peer.swarm._downloads[blob.blob.id].download.picker._flights) > 3)
        await peer.settled()

        stored = peer.store.find(blob.blob.id)
        assert stored is not None
        assert 4 <= stored.have.count < 60
        assert not peer.swarm.neighbours.connected


async def test_a_file_that_is_opened_again_while_its_download_ends_is_read_on(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, content = world.put("/f", 60)
        file = await peer.find(url)
        for at in range(59):
            with using(await peer.swarm.open(file)) as blob:
                if at % 3:
                    await trio.lowlevel.checkpoint()
                assert await read(blob, at * PIECE, 10) == content[at * PIECE : at * PIECE + 10]
            for _ in range(at % 7):
                await trio.lowlevel.checkpoint()


async def test_a_small_file_is_taken_whole(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, _ = world.put("/f", 4)
        async with peer.opened(url) as blob:
            await read(blob, 0, 10)
            await until(lambda: blob.figures().supernode_bytes == 4 * PIECE)
        assert (blob.figures().have_pieces, blob.figures().peer_bytes) == (4, 0)


async def test_a_blob_that_the_supernode_evicted_is_fetched_again(tmp_path: Path) -> None:
    async with a_world(tmp_path, limit_bytes=10 * PIECE) as world:
        first, content = world.put("/f", 8, seed=1)
        second, _ = world.put("/g", 8, seed=2)
        async with world.peer("a") as anne:
            assert await anne.content(first) == content
            await anne.settled()
            kept = world.supernode.store
            (first_id,) = kept.blob_ids()
            await until(lambda: is_settled(kept, first_id, pieces=8))  # nothing goes while it is being synced
            for at in range(8):
                async with anne.opened(second, max_age_s=100) as blob:
                    await read(blob, at * PIECE, 1)
            await anne.settled()
            (second_id,) = kept.blob_ids()
            await until(lambda: is_settled(kept, second_id, pieces=8))
        async with world.peer("b") as bert:
            assert await bert.content(first) == content


async def test_a_piece_that_nobody_trusted_signed_is_refused(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, _ = world.put("/f", 12)
        async with peer.opened(url) as blob:
            feed = world.supernode.cdn._feeds[blob.blob.id]
            object.__setattr__(feed._services, "key", OTHER_KEY)
            with trio.move_on_after(0.3):
                await blob.read(11 * PIECE, 10)
            assert PieceIndex(11) not in peer.store.find(blob.blob.id).have  # type: ignore[union-attr]
            assert peer.counters.pieces_rejected >= 1
            assert "key that no supernode of ours uses" in blob.why()
            object.__setattr__(feed._services, "key", world.supernode.key)


async def test_the_window_of_a_large_file_never_exceeds_the_buffers(tmp_path: Path) -> None:
    async with a_world(tmp_path, embedded=True, buffer_bytes=MIB) as world, world.peer() as peer:
        url, content = world.put("/f", 100)

        assert await peer.content(url) == content


async def test_what_a_reader_waits_for_is_written_before_what_is_fetched_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[int, bool]] = []
    hurried: list[int] = []
    write, demanded = Writer.write, Writer.demanded

    async def note(writer: Writer, target: File, piece: PieceIndex, *args: Any, demand: bool) -> bool:
        written.append((piece, demand))
        return await write(writer, target, piece, *args, demand=demand)

    def note_demand(writer: Writer, target: File, piece: PieceIndex) -> None:
        hurried.append(piece)
        demanded(writer, target, piece)

    monkeypatch.setattr(Writer, "write", note)
    monkeypatch.setattr(Writer, "demanded", note_demand)
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, content = world.put("/f", 40)
        async with peer.opened(url, read=False) as blob:
            assert await read(blob, 0, 10) == content[:10]
            await until(lambda: blob.figures().have_pieces > 8)
    assert written.count((0, True)) == 2  # at the peer, and at the supernode
    assert hurried.count(0) >= 2
    assert any(not demand for _, demand in written)
    assert all(not demand for piece, demand in written if piece)
