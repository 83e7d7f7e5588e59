"""One blob at the supernode, with a real origin and store."""

from functools import partial
from pathlib import Path

import trio

from flyfs.core.ids import PUBLIC, PieceIndex
from flyfs.core.signing import verify
from supernode.cdn.feed import Feed
from tests.flyfs.swarm.rig import PIECE, World, a_supernode, a_world, until
from tests.support.builders import KEY, OTHER_KEY


async def a_feed(world: World, *, pieces: int) -> Feed:
    url, _ = world.put("/f", pieces)
    found, _ = await world.supernode.cdn.names.stat(url, max_age_s=0, read=False, pin=False)
    blob = found.blob  # type: ignore[union-attr]
    assert blob.principal == PUBLIC
    return await world.supernode.cdn.feed(blob)


async def take(feed: Feed, piece: int, *, demand: bool, ahead: int = 0) -> None:
    lent = await feed.lend(PieceIndex(piece), demand=demand, ahead=ahead)
    lent.done(True)


async def test_prefetches_that_overtake_their_demand_are_one_read_of_the_origin_with_it(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        feed = await a_feed(world, pieces=9)

        async with trio.open_nursery() as nursery:
            for piece in (1, 2, 3):
                nursery.start_soon(partial(take, feed, piece, demand=False, ahead=3))
            nursery.start_soon(partial(take, feed, 0, demand=True, ahead=3))

        gets = [asked for method, asked in world.origin.asked("/f") if method == "GET"]
        assert len(gets) == 1
        assert gets[0] is not None
        assert gets[0].startswith("bytes=0-")


async def test_digests_of_a_page_are_one_batch_for_each_run_that_is_known(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        feed = await a_feed(world, pieces=9)
        for piece in (0, 1, 2, 6, 7):
            await take(feed, piece, demand=True)
            assert feed.proof(PieceIndex(piece)) is not None
        assert len(feed.stored.manifest.batches(0)) == 5

        batches = feed.digests(0)

        assert [batch.pieces for batch in batches] == [range(3), range(6, 8)]
        for batch in batches:
            verify(batch, frozenset([KEY.public]))
        assert feed.digests(1) == ()
        assert world.sent_bytes("/f") == PIECE * 5


async def test_what_was_read_under_another_key_is_told_with_the_key_of_now(tmp_path: Path) -> None:
    async with a_world(tmp_path, key=OTHER_KEY) as world:
        feed = await a_feed(world, pieces=9)
        for piece in range(9):
            await take(feed, piece, demand=True)
        blob = feed.blob
        assert len(feed.digests(0)) == 1
        await until(lambda: feed.stored.durable.complete)
    async with a_supernode(tmp_path / "supernode", key=KEY) as again:
        feed = await again.cdn.feed(blob)

        proof = feed.proof(PieceIndex(3))
        assert proof is not None
        for batch in (proof, *feed.digests(0)):
            verify(batch, frozenset([KEY.public]))
            assert batch.digests == feed.stored.manifest.batches(0)[0].digests
        assert again.counters.origin_bytes == 0
