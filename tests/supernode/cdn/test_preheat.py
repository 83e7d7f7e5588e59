"""Reading ahead of everybody, with a real origin and store: how far, for how long, and after what it stops."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from flyfs.core.blob import Blob
from flyfs.core.errors import FlyfsError, StoreFull, Unavailable
from flyfs.transport.greeting import dial
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import Message, Warm, Warmth
from supernode.cdn import preheat
from supernode.cdn.preheat import AT_ONCE, MOST_WAIT_S, Preheater
from tests.flyfs.swarm.rig import PIECE, World, a_world, until
from tests.support.builders import a_hello

PIECES = 9


async def a_known_blob(world: World, path: str = "/f", *, pieces: int = PIECES) -> Blob:
    url, _ = world.put(path, pieces)
    found, _ = await world.supernode.cdn.names.stat(url, max_age_s=0, read=False, pin=False)
    blob = found.blob  # type: ignore[union-attr]
    assert isinstance(blob, Blob)
    return blob


async def warmed(world: World, blob: Blob) -> None:
    """Asks until all of it is held, as ``flyfs warm`` does."""
    with trio.fail_after(10):
        while await world.supernode.cdn.warm(blob, 1.0) < len(blob.grid):
            pass


async def test_all_of_a_blob_is_read_from_its_origin_in_one_go_and_once(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        blob = await a_known_blob(world)

        await warmed(world, blob)

        assert (await world.supernode.cdn.feed(blob)).stored.have.complete
        assert world.sent_bytes("/f") == blob.size
        gets = [asked for method, asked in world.origin.asked("/f") if method == "GET"]
        assert len(gets) == 1
        assert await world.supernode.cdn.warm(blob, 60.0) == PIECES, "and what is held is told at once"
        assert world.sent_bytes("/f") == blob.size


async def test_two_who_ask_for_the_same_blob_share_its_reading(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        blob = await a_known_blob(world)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(warmed, world, blob)
            nursery.start_soon(warmed, world, blob)

        assert world.sent_bytes("/f") == blob.size


async def test_a_caller_waits_no_longer_than_it_says_nor_than_a_supernode_lets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_WAIT_S == 2.0
    monkeypatch.setattr(preheat, "MOST_WAIT_S", 0.05)
    async with a_world(tmp_path) as world:
        blob = await a_known_blob(world)
        world.put("/f", PIECES, hangs="head")
        with trio.fail_after(10):
            assert await world.supernode.cdn.warm(blob, 0.0) == 0
            assert await world.supernode.cdn.warm(blob, math.inf) == 0


async def test_what_nobody_asks_for_any_more_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preheat, "LEASE_S", 0.1)
    async with a_world(tmp_path) as world:
        blob = await a_known_blob(world)
        world.put("/f", PIECES, hangs="body", stops_after=2 * PIECE)
        await world.supernode.cdn.warm(blob, 0.0)
        feed = await world.supernode.cdn.feed(blob)
        await until(lambda: not world.supernode.cdn._preheater._running)
        assert not feed._waiting
        assert not feed.plan._background


async def test_an_origin_that_fails_is_told_and_the_next_call_tries_again(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        blob = await a_known_blob(world)
        world.put("/f", PIECES, status=503)
        with pytest.raises(FlyfsError), trio.fail_after(10):
            await warmed(world, blob)

        world.put("/f", PIECES)

        async def tried_again() -> bool:
            try:
                return await world.supernode.cdn.warm(blob, 1.0) == PIECES
            except FlyfsError:  # it is left alone for a moment
                await trio.sleep(0.02)
                return False

        with trio.fail_after(10):
            while not await tried_again():
                pass


async def test_a_few_blobs_are_read_at_a_time_and_the_others_after_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    bring_all = Preheater._bring_all

    async def counted(one: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await bring_all(one)
        running -= 1

    monkeypatch.setattr(Preheater, "_bring_all", staticmethod(counted))
    async with a_world(tmp_path) as world:
        paths = [f"/{number}" for number in range(AT_ONCE + 2)]
        blobs = [await a_known_blob(world, path) for path in paths]
        for path in paths:
            world.put(path, PIECES, delay_s=0.1)

        async with trio.open_nursery() as nursery:
            for blob in blobs:
                nursery.start_soon(warmed, world, blob)

        assert most == AT_ONCE
        assert [world.sent_bytes(path) for path in paths] == [PIECES * PIECE] * len(paths)


async def test_what_has_no_room_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    async with a_world(tmp_path, limit_bytes=4 * PIECE) as world:
        blob = await a_known_blob(world)
        with pytest.raises(StoreFull, match="larger than what the supernode may keep"):
            await world.supernode.cdn.warm(blob, 0.0)
        assert world.sent_bytes("/f") == 0


async def test_a_supernode_that_keeps_no_bytes_says_so(tmp_path: Path) -> None:
    async with a_world(tmp_path, embedded=True) as world:
        blob = await a_known_blob(world)
        with pytest.raises(Unavailable, match="keeps no bytes; warm this host instead"):
            await world.supernode.cdn.warm(blob, 0.0)


async def ignore(_: Link, message: Message) -> Answer | None:
    return None


async def test_over_the_wire_the_answer_is_how_much_is_held(tmp_path: Path) -> None:
    async with (
        a_world(tmp_path) as world,
        trio.open_nursery() as nursery,
        dial(world.supernode.address, a_hello("anne")) as dialled,
    ):
        nursery.start_soon(dialled.link.run, ignore)
        blob = await a_known_blob(world)
        reply = None
        with trio.fail_after(10):
            while reply != Warmth(held=PIECES):
                reply = await dialled.link.request(Warm(blob=blob, wait_s=1.0), timeout_s=5)

        larger = replace(blob, piece_size=2 * PIECE)  # the same id with another grid: no supernode could have said that
        with pytest.raises(FlyfsError):
            await dialled.link.request(Warm(blob=larger, wait_s=0.0), timeout_s=5)
        nursery.cancel_scope.cancel()
