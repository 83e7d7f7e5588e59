"""Pieces that nobody vouches for: read here, not durable, and settled by the digest that comes."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.core.errors import Corrupt
from flyfs.core.ids import PieceIndex
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from flyfs.store.unvouched import write_provisional
from tests.flyfs.store.builders import PIECE_BYTES, a_blob, digests_of, fill, held, piece_of

ZERO, ONE, TWO = map(PieceIndex, range(3))


def wrong_piece() -> memoryview:
    return memoryview(bytes(PIECE_BYTES))


class Heard:
    def __init__(self, stored: StoredBlob) -> None:
        self.pieces: list[tuple[int, bool]] = []
        stored.listen(lambda piece, durable: self.pieces.append((piece, durable)))


async def test_a_provisional_piece_is_read_but_gone_after_a_restart(tmp_path: Path, mock_clock: MockClock) -> None:
    blob = a_blob(3)
    async with Store.open(tmp_path) as store:
        stored = await store.create(blob)
        heard = Heard(stored)
        await write_provisional(stored, ONE, piece_of(blob, 1))

        assert stored.read_nowait(PIECE_BYTES, PIECE_BYTES) == piece_of(blob, 1)
        assert (held(stored), list(stored.provisional)) == ([1], [1])
        assert heard.pieces == [(1, False)], "readers wake"

    async with Store.open(tmp_path) as store:
        again = store.find(blob.id)
        assert again is not None
        assert held(again) == []


async def test_a_digest_that_fits_makes_it_a_piece_as_any_other(tmp_path: Path, mock_clock: MockClock) -> None:
    blob = a_blob(3)
    async with Store.open(tmp_path) as store:
        stored = await store.create(blob)
        await write_provisional(stored, ONE, piece_of(blob, 1))
        await write_provisional(stored, TWO, piece_of(blob, 2))
        heard = Heard(stored)
        stored.add_digests(digests_of(blob, 0, 2))

        assert (held(stored), list(stored.provisional)) == ([1, 2], [2])
        assert heard.pieces == [(1, False)]

    async with Store.open(tmp_path) as store:
        again = store.find(blob.id)
        assert again is not None
        assert held(again) == [1]


async def test_a_digest_that_does_not_fit_takes_it_back_and_nothing_else(tmp_path: Path, mock_clock: MockClock) -> None:
    blob = a_blob(4)
    async with Store.open(tmp_path) as store:
        stored = await store.create(blob)
        stored.add_digests(digests_of(blob, 3, 4))
        await stored.write_piece(PieceIndex(3), piece_of(blob, 3))
        await write_provisional(stored, ONE, wrong_piece())
        used = store.statistics().used_bytes
        stored.add_digests(digests_of(blob, 0, 3))

        assert (held(stored), list(stored.provisional)) == ([3], [])
        await stored.write_piece(ONE, piece_of(blob, 1))  # once the room of the wrong one is free
        assert held(stored) == [1, 3]
        assert store.statistics().used_bytes == used

    async with Store.open(tmp_path) as store:
        again = store.find(blob.id)
        assert again is not None
        assert held(again) == [1, 3]
        assert await again.read(PIECE_BYTES, PIECE_BYTES) == piece_of(blob, 1)


async def test_where_the_digest_is_known_the_origin_is_believed_no_more_than_anybody(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        stored.add_digests(digests_of(stored.blob))
        with pytest.raises(Corrupt):
            await write_provisional(stored, ONE, wrong_piece())
        await write_provisional(stored, ONE, piece_of(stored.blob, 1))

        assert (held(stored), list(stored.provisional)) == ([1], [])


async def test_what_is_held_already_stays_as_it_is(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        await fill(stored)
        await write_provisional(stored, ONE, wrong_piece())

        assert stored.read_nowait(PIECE_BYTES, PIECE_BYTES) == piece_of(stored.blob, 1)
        assert not stored.provisional


@pytest.mark.parametrize("right", [True, False])
async def test_a_digest_that_comes_while_the_piece_is_written_decides(tmp_path: Path, mock_clock: MockClock, right: bool) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        outcome: list[str] = []

        async def write() -> None:
            try:
                await write_provisional(stored, ONE, piece_of(stored.blob, 1) if right else wrong_piece())
                outcome.append("kept")
            except Corrupt as error:
                outcome.append(error.message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            while ONE not in stored.provisional:
                await trio.lowlevel.checkpoint()
            stored.add_digests(digests_of(stored.blob))
            await wait_all_tasks_blocked()

        assert outcome == ["kept"] if right else "is another one at the origin" in outcome[0]
        assert (held(stored), list(stored.provisional)) == ([1] if right else [], [])


async def test_one_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        await store.drop(stored.blob.id)
        with pytest.raises(Exception, match="gone from the store"):
            await write_provisional(stored, ONE, piece_of(stored.blob, 1))

        assert not stored.provisional
