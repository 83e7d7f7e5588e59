from pathlib import Path

import pytest
import trio

from flyfs.core.errors import Corrupt, StoreFull
from flyfs.core.ids import PieceIndex
from flyfs.store.store import Store
from flyfs.transport.buffers import BufferPool, Loan
from flyfs.transport.link import FileRange
from supernode.cdn.shelves import MemoryShelf, Spool, SpoolShelf, StoreShelf
from tests.support.builders import a_blob, bytes_of, content_of

BLOB = a_blob(2.5)
ONE, TWO = PieceIndex(0), PieceIndex(1)


def a_loan(pool: BufferPool, piece: int) -> Loan:
    loan = pool.lend_nowait(BLOB.grid.length_of(PieceIndex(piece)))
    assert loan is not None
    loan.view[:] = bytes_of(BLOB, piece)
    return loan


async def test_a_piece_in_memory_goes_once_it_was_sent_to_everybody_who_is_getting_it() -> None:
    pool, shelf = BufferPool(), MemoryShelf()
    await shelf.put(ONE, a_loan(pool, 0))
    first, second = await shelf.lend(ONE), await shelf.lend(ONE)
    assert first.body == bytes_of(BLOB, 0)

    first.done(True)
    assert shelf.holds(ONE)
    second.done(False)
    assert shelf.holds(ONE), "the second did not get it, and may come back"
    assert not shelf.bare
    (await shelf.lend(ONE)).done(True)
    assert not shelf.holds(ONE)
    assert shelf.bare
    assert pool.lent_bytes == 0


async def test_pieces_that_nobody_claims_go_when_buffers_are_short_but_not_while_they_are_sent() -> None:
    pool, shelf = BufferPool(), MemoryShelf()
    await shelf.put(ONE, a_loan(pool, 0))
    await shelf.put(TWO, a_loan(pool, 1))
    lent = await shelf.lend(TWO)
    shelf.drop_unclaimed(trio.current_time() - 100)
    assert shelf.holds(ONE)

    shelf.drop_unclaimed(trio.current_time() + 1)
    assert (shelf.holds(ONE), shelf.holds(TWO)) == (False, True)
    assert lent.body == bytes_of(BLOB, 1)
    lent.done(True)
    assert pool.lent_bytes == 0


@pytest.mark.parametrize("through", [True, False])
async def test_a_shelf_that_ends_gives_back_what_is_being_sent_afterwards(through: bool) -> None:
    pool, shelf = BufferPool(), MemoryShelf()
    await shelf.put(ONE, a_loan(pool, 0))
    await shelf.put(TWO, a_loan(pool, 1))
    lent = await shelf.lend(ONE)
    shelf.close()
    assert lent.body == bytes_of(BLOB, 0)

    lent.done(through)
    assert pool.lent_bytes == 0


class Spooled:
    """A spool with the whole blob, and a shelf on it."""

    def __init__(self, directory: Path) -> None:
        self.spool = Spool(directory)
        self.emptied = 0
        self.shelf = SpoolShelf(self.spool, BLOB.grid, self._emptied)
        self.pool = BufferPool()

    def _emptied(self) -> None:
        self.emptied += 1
        self.shelf.close()

    async def put(self, *pieces: int) -> None:
        for piece in pieces:
            await self.shelf.put(PieceIndex(piece), a_loan(self.pool, piece))
        assert self.pool.lent_bytes == 0

    @property
    def closed(self) -> bool:
        return self.spool.fileno < 0


async def test_a_spool_ends_with_the_last_piece_that_was_sent_and_not_before_all_have_come(tmp_path: Path) -> None:
    spooled = Spooled(tmp_path)
    await spooled.put(0)
    lent = await spooled.shelf.lend(ONE)
    assert lent.body == FileRange(spooled.spool.fileno, 0, 1024)
    lent.done(True)
    spooled.shelf.end_if_sent()
    assert (spooled.emptied, spooled.closed) == (0, False), "others are still to come"

    await spooled.put(1, 2)
    for piece in (1, 2):
        assert spooled.shelf.holds(PieceIndex(piece))
        assert not spooled.shelf.bare
        (await spooled.shelf.lend(PieceIndex(piece))).done(True)
    assert (spooled.emptied, spooled.closed) == (1, True)
    assert spooled.shelf.bare


async def test_a_piece_that_could_not_be_sent_stays_in_its_spool(tmp_path: Path) -> None:
    spooled = Spooled(tmp_path)
    await spooled.put(0)
    (await spooled.shelf.lend(ONE)).done(False)

    assert spooled.shelf.holds(ONE)
    spooled.shelf.drop_unclaimed(float("inf"))
    assert spooled.shelf.holds(ONE)
    spooled.shelf.close()


async def test_a_spool_that_is_closed_lasts_until_what_is_being_sent_from_it_was(tmp_path: Path) -> None:
    spooled = Spooled(tmp_path)
    await spooled.put(0, 1)
    first, second = await spooled.shelf.lend(ONE), await spooled.shelf.lend(TWO)
    spooled.shelf.close()
    assert not spooled.closed
    assert not spooled.shelf.holds(ONE)

    first.done(True)
    assert not spooled.closed
    second.done(False)
    assert spooled.closed
    assert spooled.emptied == 0


async def test_a_spool_gives_its_bytes_back_and_says_where_it_cannot(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "new" / "place")
    content = content_of(BLOB)
    await spool.write(0, memoryview(content))
    back = bytearray(len(content))
    await spool.read(0, memoryview(back))
    assert back == content
    assert list((tmp_path / "new" / "place").iterdir()) == [], "nobody finds it"

    with pytest.raises(Corrupt, match="gave 0 of 10"):
        await spool.read(len(content), memoryview(bytearray(10)))
    spool.close()
    spool.close()
    with pytest.raises(StoreFull, match="cannot grow"):
        await spool.write(0, memoryview(b"x"))


def test_where_no_file_can_be_made_there_is_no_room(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreFull, match="no room for a spool file"):
        Spool(tmp_path / "file" / "below")


async def test_a_store_keeps_what_it_has_room_for_and_memory_the_rest_until_it_was_sent(tmp_path: Path) -> None:
    pool = BufferPool()
    async with Store.open(tmp_path, limit_bytes=1024) as store:
        stored = await store.create(BLOB)
        shelf = StoreShelf(stored)
        with stored.pin():
            await shelf.put(ONE, a_loan(pool, 0))
            assert (shelf.bare, pool.lent_bytes) == (True, 0)
            await shelf.put(TWO, a_loan(pool, 1))
        assert (shelf.holds(ONE), shelf.holds(TWO), shelf.bare) == (True, True, False)
        assert list(stored.have) == [0]

        first, second = await shelf.lend(ONE), await shelf.lend(TWO)
        assert first.body == FileRange(stored.fileno, 0, 1024)
        assert second.body == bytes_of(BLOB, 1)
        assert await stored.drops.drop_coldest(9999) == 0, "not while it is sent"
        second.done(True)
        first.done(True)
        assert (shelf.holds(TWO), shelf.bare, pool.lent_bytes) == (False, True, 0)
        assert await stored.drops.drop_coldest(9999) == 1024
        assert not shelf.holds(ONE)


async def test_what_memory_keeps_for_a_store_goes_when_buffers_are_short_and_at_the_end(tmp_path: Path) -> None:
    pool = BufferPool()
    async with Store.open(tmp_path, limit_bytes=1) as store:
        shelf = StoreShelf(await store.create(BLOB))
        await shelf.put(ONE, a_loan(pool, 0))
        shelf.drop_unclaimed(float("inf"))
        assert (shelf.holds(ONE), pool.lent_bytes) == (False, 0)
        await shelf.put(ONE, a_loan(pool, 0))
        shelf.close()
        assert pool.lent_bytes == 0


async def test_a_piece_that_cannot_be_lent_is_used_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise Corrupt("the disk cannot read")

    pool = BufferPool()
    async with Store.open(tmp_path) as store:
        stored = await store.create(BLOB)
        shelf = StoreShelf(stored)
        await shelf.put(ONE, a_loan(pool, 0))
        monkeypatch.setattr("flyfs.store.stored_blob.StoredBlob.bring_into_page_cache", fail)
        with pytest.raises(Corrupt):
            await shelf.lend(ONE)
        assert not stored.in_use


async def test_a_spool_of_which_only_some_pieces_are_wanted_ends_with_those(tmp_path: Path) -> None:
    spooled = Spooled(tmp_path)
    await spooled.put(1)
    lent = await spooled.shelf.lend(TWO)
    spooled.shelf.all_came()
    assert (spooled.emptied, spooled.shelf.closed) == (0, False)

    lent.done(True)
    assert (spooled.emptied, spooled.shelf.closed) == (1, True)
