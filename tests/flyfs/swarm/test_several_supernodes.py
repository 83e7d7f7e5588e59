"""Several supernodes of one fleet, all real but the mount: who is asked what, and what happens when one goes."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from flyfs.core.address import Address
from flyfs.core.errors import Unavailable
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.remote import RemoteFile
from flyfs.core.rendezvous import Candidate, ranked
from flyfs.core.urls import RemoteUrl, parse_url
from flyfs.swarm import standing
from flyfs.swarm.roster import Roster
from flyfs.transport.greeting import Greeted, bound_address, listen, serve
from flyfs.transport.link import Link
from flyfs.wire.messages import Digests, Done, GetDigests, Leave, Message, Ping
from supernode.cdn.shelves import Lent
from tests.flyfs.swarm.rig import PIECE, PeerRig, SupernodeRig, World, a_peer, a_supernode, a_world, read, until
from tests.support.builders import OTHER_KEY, a_peer_id, a_welcome


class Fleet:
    """An origin, and two supernodes that share a key."""

    def __init__(self, world: World, second: SupernodeRig) -> None:
        self.world = world
        self.first = world.supernode
        self.second = second
        self._names = iter(range(1000))

    @property
    def addresses(self) -> list[Address]:
        return [self.first.address, self.second.address]

    def put(self, pieces: float, *, at: SupernodeRig, **does: object) -> tuple[RemoteUrl, bytes]:
        """A file that ``at`` is responsible for."""
        for name in self._names:
            url, content = self.world.put(f"/f{name}", pieces, seed=name, **does)
            if ranked(str(url), map(Candidate, self.addresses))[0] == at.address:
                return url, content
        raise AssertionError("never")

    def peer(self, name: str, **settings: object):  # type: ignore[no-untyped-def]
        return a_peer(self.world.directory / name, self.first, self.second, **settings)  # type: ignore[arg-type]

    def sent_bytes(self, url: RemoteUrl) -> int:
        return self.world.sent_bytes("/" + url.segments[-1])


@asynccontextmanager
async def a_fleet(directory: Path) -> AsyncGenerator[Fleet, None]:
    async with a_world(directory) as world, a_supernode(directory / "second") as second:
        yield Fleet(world, second)


def stop_answering(supernode: SupernodeRig) -> None:
    """As a process that is stopped: its connections stay, and nothing comes over them any more."""

    async def stays_silent(link: Link, message: Message, *_: object, **__: object) -> None:
        await trio.sleep_forever()

    for link in supernode.sessions._links.values():
        link.send = stays_silent.__get__(link)  # type: ignore[method-assign]


async def held_by(supernode: SupernodeRig, blob_id: BlobId, peer: PeerRig, pieces: int) -> None:
    await until(lambda: supernode.holding(blob_id).get(peer.store.peer_id) == pieces)


async def test_each_name_and_blob_has_its_own_supernode_and_others_are_left_alone(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet, fleet.peer("p") as peer:
        for supernode, other in ((fleet.first, fleet.second), (fleet.second, fleet.first)):
            url, content = fleet.put(12, at=supernode)
            before = other.counters.origin_bytes
            assert await peer.content(url) == content
            assert other.counters.origin_bytes == before
            (blob,) = (blob for blob in peer.store.blobs() if blob.url == str(url))
            await held_by(supernode, blob.id, peer, 12)
            assert other.holding(blob.id) == {}
            assert fleet.sent_bytes(url) == len(content)


async def test_a_session_is_opened_when_it_is_needed_and_one_always_is(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet, fleet.peer("p") as peer:
        states = {one.address: (one.state, one.reason) for one in peer.swarm.supernodes.states()}
        assert sorted(states.values()) == [("down", "not needed so far"), ("up", None)]
        idle = fleet.first if states[str(fleet.first.address)][0] == "down" else fleet.second
        assert idle.sessions._links == {}

        url, _ = fleet.put(1, at=idle)
        await peer.find(url)

        assert [one.state for one in peer.swarm.supernodes.states()] == ["up", "up"]


@pytest.mark.parametrize("how", ["killed", "silent"])
async def test_when_the_primary_goes_in_the_middle_of_a_file_the_next_takes_over_within_two_seconds(
    tmp_path: Path, how: str
) -> None:
    async with a_fleet(tmp_path) as fleet, fleet.peer("a") as anne, fleet.peer("b") as bert:
        url, content = fleet.put(40, at=fleet.first, etag=None, modified="Mon, 23 Nov 2026 15:40:49 GMT")
        assert await anne.content(url) == content
        async with bert.opened(url, max_age_s=100) as blob:
            for at in range(0, 20 * PIECE, PIECE):
                assert await read(blob, at, PIECE) == content[at : at + PIECE]
            blob_id = blob.blob.id
            await held_by(fleet.first, blob_id, anne, 40)
            if how == "killed":
                fleet.first.scope.cancel()
            else:
                stop_answering(fleet.first)
            began, slowest = trio.current_time(), 0.0
            for at in range(20 * PIECE, 40 * PIECE, PIECE):
                asked = trio.current_time()
                assert await read(blob, at, PIECE) == content[at : at + PIECE]
                slowest = max(slowest, trio.current_time() - asked)
            assert slowest < 2.0
            if how == "silent":  # who waits for nothing notices in its own time: an answer that is due makes it sooner
                async with trio.open_nursery() as nursery:
                    for peer in (anne, bert):
                        nursery.start_soon(peer.find, url)
            await held_by(fleet.second, blob_id, bert, 40)
            await held_by(fleet.second, blob_id, anne, 40)
            assert trio.current_time() - began < 8
        assert (await bert.find(url)).blob.id == blob_id  # type: ignore[union-attr]
        assert fleet.sent_bytes(url) == len(content)
        assert bert.counters.pieces_rejected == 0
        if how == "killed":
            states = {one.address: one.state for one in bert.swarm.supernodes.states()}
            assert states == {str(fleet.first.address): "down", str(fleet.second.address): "up"}
        else:
            assert bert.swarm.memberships.home(blob_id).address == fleet.second.address  # type: ignore[union-attr]


async def test_a_newcomer_after_the_primary_is_gone_is_sent_to_those_who_hold_it(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet, fleet.peer("a") as anne:
        url, content = fleet.put(30, at=fleet.first)
        assert await anne.content(url) == content
        await anne.settled()
        (blob,) = anne.store.blobs()
        fleet.first.scope.cancel()
        await held_by(fleet.second, blob.id, anne, 30)

        async with fleet.peer("b") as bert:
            assert await bert.content(url) == content
            await bert.settled()
            assert bert.counters.peer_bytes >= len(content) - PIECE
        assert fleet.sent_bytes(url) <= len(content) + PIECE


async def test_a_reader_that_waits_at_a_supernode_that_falls_silent_is_served_by_the_next(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet, fleet.peer("p") as peer:
        url, content = fleet.put(40, at=fleet.first)
        async with peer.opened(url) as blob:
            await read(blob, 0, PIECE)
            stop_answering(fleet.first)
            began = trio.current_time()
            assert await read(blob, 39 * PIECE, PIECE) == content[39 * PIECE :]
            assert 1.0 < trio.current_time() - began < 2.5
            began = trio.current_time()
            assert (await peer.find(url)).blob == blob.blob
            assert trio.current_time() - began < 0.5


async def test_a_supernode_that_took_over_reads_no_piece_ahead_that_somebody_holds(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet, fleet.peer("a") as anne, fleet.peer("b") as bert:
        url, content = fleet.put(60, at=fleet.first)
        async with anne.opened(url, max_age_s=100) as one:
            for piece in (*range(20, 40), 59):
                await read(one, piece * PIECE, 1)
        await anne.settled()
        held = sum(len(one.blob.grid.range_of(piece)) for piece in anne.store.find(one.blob.id).have)  # type: ignore[union-attr]
        fleet.first.scope.cancel()
        await until(lambda: anne.store.peer_id in fleet.second.holding(one.blob.id))

        assert await bert.content(url) == content
        assert fleet.second.counters.origin_bytes <= len(content) - held + PIECE, "the first came with the question"
        await bert.settled()


async def test_a_supernode_that_serves_bad_pieces_is_isolated_and_the_next_takes_over(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet, fleet.peer("p") as peer:
        url, content = fleet.put(40, at=fleet.first)
        async with peer.opened(url) as blob:
            await read(blob, 0, PIECE)
            feed = await fleet.first.cdn.find(blob.blob.id, None)
            assert feed is not None
            lend = feed.shelf.lend

            async def lend_rubbish(piece: PieceIndex) -> Lent:
                right = await lend(piece)
                return Lent(memoryview(bytes(PIECE)), right.done)

            feed.shelf.lend = lend_rubbish  # type: ignore[method-assign]
            for at in range(20 * PIECE, 40 * PIECE, PIECE):
                assert await read(blob, at, PIECE) == content[at : at + PIECE]

        assert peer.counters.pieces_rejected >= 2
        states = {one.address: (one.state, one.reason) for one in peer.swarm.supernodes.states()}
        assert states == {
            str(fleet.first.address): ("isolated", "it sends pieces that do not fit their digests"),
            str(fleet.second.address): ("up", None),
        }


async def test_idle_blobs_return_home_once_it_has_settled_and_open_ones_when_they_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "SETTLES_S", (0.4, 0.5))
    async with a_fleet(tmp_path) as fleet, fleet.peer("p") as peer:
        idle, _ = fleet.put(3, at=fleet.first)
        url, content = fleet.put(40, at=fleet.first)
        await peer.content(idle)
        async with peer.opened(url) as blob:
            await read(blob, 0, PIECE)
            ids = [one.id for one in peer.store.blobs()]
            await held_by(fleet.first, ids[0], peer, 3)
            fleet.first.scope.cancel()
            for blob_id in ids:
                await until(lambda blob_id=blob_id: peer.store.peer_id in fleet.second.holding(blob_id))  # type: ignore[misc]
            async with a_supernode(tmp_path / "again", address=fleet.first.address) as again:
                await until(lambda: len(again.sessions._links) == 2)
                came = trio.current_time()
                await until(lambda: peer.store.peer_id in again.holding(ids[0]))
                assert trio.current_time() - came > 0.3
                await until(lambda: peer.store.peer_id not in fleet.second.holding(ids[0]))
                assert await read(blob, 39 * PIECE, PIECE) == content[39 * PIECE :]
                assert peer.swarm.memberships.home(blob.blob.id).address == fleet.second.address  # type: ignore[union-attr]
                blob.close()
                await until(lambda: peer.store.peer_id in again.holding(blob.blob.id))
                await until(lambda: peer.store.peer_id not in fleet.second.holding(blob.blob.id))
                blob.close = lambda: None  # type: ignore[method-assign]
                newer, _ = fleet.put(1, at=fleet.first)
                await peer.find(newer)
                assert again.cdn.names._names.peek(newer) is not None


async def test_a_list_that_changes_is_followed(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet:
        roster = Roster()
        roster.tell("srv://x", [Candidate(fleet.first.address)])
        async with a_peer(tmp_path / "p", roster=roster) as peer:
            url, content = fleet.put(40, at=fleet.second)
            async with peer.opened(url) as blob:
                await read(blob, 0, PIECE)
                assert peer.swarm.memberships.home(blob.blob.id).address == fleet.first.address  # type: ignore[union-attr]

                roster.tell("srv://x", [Candidate(fleet.second.address)])
                await until(lambda: peer.store.peer_id in fleet.second.holding(blob.blob.id))
                await until(lambda: fleet.first.members() == 0)
                assert await read(blob, 39 * PIECE, PIECE) == content[39 * PIECE :]
            assert [one.address for one in peer.swarm.supernodes.states()] == [str(fleet.second.address)]


async def test_supernodes_with_different_keys_are_a_mistake_that_harms_no_byte(tmp_path: Path) -> None:
    async with (
        a_world(tmp_path) as world,
        a_supernode(tmp_path / "second", key=OTHER_KEY) as second,
        a_peer(tmp_path / "p", world.supernode, second) as peer,
    ):
        fleet = Fleet(world, second)
        for at in (fleet.first, fleet.second):
            url, content = fleet.put(12, at=at)
            assert await peer.content(url) == content
        assert peer.counters.pieces_rejected == 0


async def test_where_nobody_is_configured_it_is_said_so(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet, a_peer(tmp_path / "p") as peer:
        url, _ = fleet.put(1, at=fleet.first)
        with pytest.raises(Unavailable, match=r"no supernode answers \(none is configured\)"):
            await peer.find(url)


async def test_a_listing_whose_supernode_goes_is_begun_again_at_the_next(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet, fleet.peer("p") as peer:
        names = [f"a-name-that-is-rather-long-{number:05}" for number in range(3000)]
        page = json.dumps([{"name": name, "type": "file", "size": 1} for name in names])
        url, _ = fleet.put(1, at=fleet.first)
        directory = next(
            f"/d{number}/"
            for number in range(1000)
            if ranked(fleet.world.origin.url(f"/d{number}/"), map(Candidate, fleet.addresses))[0] == fleet.first.address
        )
        fleet.world.put(directory, content=page.encode(), etag=None, content_type="application/json")
        (session, _) = peer.swarm.supernodes.order(fleet.world.origin.url(directory))
        ask = session.ask

        async def ask_until_it_goes(message, *, timeout_s):  # type: ignore[no-untyped-def]
            if message.serial:
                fleet.first.scope.cancel()
                await until(lambda: not session.up)
            return await ask(message, timeout_s=timeout_s)

        session.ask = ask_until_it_goes  # type: ignore[method-assign]
        listing = await peer.swarm.list(parse_url(fleet.world.origin.url(directory)), max_age_s=10)

        assert [entry.name for entry in listing.entries] == names
        assert isinstance(await peer.find(url), RemoteFile)


async def test_a_supernode_that_sends_rubbish_is_isolated_at_once(tmp_path: Path) -> None:
    async def rubbish(greeted: Greeted) -> None:
        with suppress(OSError):
            greeted.link._sock.send(b"\xff" * 64)
        await trio.sleep(1)

    listener = listen(Address("127.0.0.1", 0))
    async with a_supernode(tmp_path / "s") as well, trio.open_nursery() as nursery:
        await nursery.start(partial(serve, listener, lambda _: a_welcome(), rubbish))
        async with a_peer(tmp_path / "p", well, bound_address(listener)) as peer:
            peer.swarm.supernodes.choose("any")
            for session in peer.swarm.supernodes.order("any"):
                session.standing.needed(trio.current_time())
                session.wake()
            await until(lambda: {one.state for one in peer.swarm.supernodes.states()} == {"up", "isolated"})
            (bad,) = (one for one in peer.swarm.supernodes.states() if one.state == "isolated")
            assert bad.address == str(bound_address(listener))
            assert bad.reason
        nursery.cancel_scope.cancel()


async def test_news_that_no_supernode_should_send_are_refused_and_questions_answered(tmp_path: Path) -> None:
    async with a_fleet(tmp_path) as fleet, fleet.peer("p") as peer:
        url, content = fleet.put(6, at=fleet.first)
        assert await peer.content(url) == content
        (blob,) = peer.store.blobs()
        await held_by(fleet.first, blob.id, peer, 6)
        ask = partial(fleet.first.sessions._ask, peer.store.peer_id)
        batches = await ask(GetDigests(blob_id=blob.id, page=0), 5.0)
        assert isinstance(batches, Digests)
        assert {piece for batch in batches.batches for piece in batch.pieces} == set(range(6))
        assert await ask(GetDigests(blob_id=BlobId("ab" * 32), page=0), 5.0) == Digests(batches=())
        assert await ask(Ping(), 5.0) == Done()
        with pytest.raises(Unavailable, match="does not serve Leave"):
            await ask(Leave(blob_id=blob.id), 5.0)
        with pytest.raises(Unavailable, match="is not connected"):
            await fleet.first.sessions._ask(a_peer_id("nobody"), Ping(), 5.0)
