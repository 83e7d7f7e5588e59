"""All of a blob for somebody who is no reader: behind every reader, and known as such to whoever serves it."""

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from flyfs.core.errors import FlyfsError, StoreFull
from flyfs.core.ids import PieceIndex
from supernode.cdn.feed import Feed
from tests.flyfs.swarm.rig import PATIENCE_S, PIECE, a_world, read

PIECES = 40


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool, bool]]:
    """Pieces that a supernode was asked for: which, whether a reader is blocked on it, and whether nobody will read it soon."""
    asked: list[tuple[int, bool, bool]] = []
    lend = Feed.lend

    async def lend_and_note(feed: Feed, piece: PieceIndex, **how: Any) -> Any:
        asked.append((piece, how["demand"], how["background"]))
        return await lend(feed, piece, **how)

    monkeypatch.setattr(Feed, "lend", lend_and_note)
    return asked


async def test_every_piece_comes_once_in_the_background(tmp_path: Path, asked: list[tuple[int, bool, bool]]) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, content = world.put("/f", PIECES)
        async with peer.opened(url) as blob:
            with trio.fail_after(PATIENCE_S), blob.bringing_all() as whole:
                await whole.wait()
            assert blob.held_bytes == len(content)
        assert world.sent_bytes("/f") == len(content)
        assert sorted(piece for piece, _, _ in asked) == list(range(PIECES))
        assert {(demand, background) for _, demand, background in asked} == {(False, True)}


async def test_a_reader_beside_it_is_a_reader_as_any_other(tmp_path: Path, asked: list[tuple[int, bool, bool]]) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, content = world.put("/f", PIECES, delay_s=0.05)
        async with peer.opened(url) as blob:
            with trio.fail_after(PATIENCE_S), blob.bringing_all() as whole:
                place = (PIECES - 1) * PIECE
                assert await read(blob, place, PIECE) == content[place:]
                await whole.wait()
        assert (PIECES - 1, True, False) in asked
        assert all(not demand or not background for _, demand, background in asked)


async def test_who_gives_up_ends_the_asking(tmp_path: Path, asked: list[tuple[int, bool, bool]]) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, _ = world.put("/f", PIECES, delay_s=0.05)
        async with peer.opened(url) as blob:
            with blob.bringing_all():
                pass
            await trio.lowlevel.checkpoint()
        await peer.settled()
        assert blob.held_bytes < PIECES * PIECE


async def test_what_the_store_cannot_keep_ends_it(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer(limit_bytes=8 * PIECE) as peer:
        url, _ = world.put("/f", PIECES)
        async with peer.opened(url) as blob:
            with trio.fail_after(PATIENCE_S), pytest.raises(StoreFull, match="--cache-limit"), blob.bringing_all() as whole:
                await whole.wait()


async def test_what_the_origin_says_ends_it(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, _ = world.put("/f", PIECES)
        async with peer.opened(url) as blob:
            world.put("/f", PIECES, seed=1)  # this version is over
            with trio.fail_after(PATIENCE_S), pytest.raises(FlyfsError, match="version"), blob.bringing_all() as whole:
                await whole.wait()
