"""What a download wants beyond what readers are blocked on, over a real store."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from flyfs.core.errors import StoreFull
from flyfs.core.ids import PieceIndex
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from flyfs.swarm.wishes import Wishes
from tests.flyfs.store.builders import a_blob, fill


class Wanted:
    """A blob, its wishes, and what the picker was told last."""

    def __init__(self, stored: StoredBlob) -> None:
        self.stored = stored
        self.wishes = Wishes(stored, self._told)
        self.windows: list[range] = []
        self.whole = False
        stored.listen(self._came)

    def _told(self, windows: Sequence[range], whole: bool) -> None:
        self.windows, self.whole = list(windows), whole

    def _came(self, piece: PieceIndex, durable: bool) -> None:
        if not durable:
            self.wishes.piece_came(piece)


@asynccontextmanager
async def wanted(directory: Path, pieces: int = 6) -> AsyncGenerator[Wanted, None]:
    async with Store.open(directory) as store:
        yield Wanted(await store.create(a_blob(pieces)))


async def test_readers_windows_alone_are_passed_on_as_they_are(tmp_path: Path) -> None:
    async with wanted(tmp_path) as one:
        one.wishes.windows_moved([range(2, 4), range(5, 6)])

        assert (one.windows, one.whole) == ([range(2, 4), range(5, 6)], False)
        assert [one.wishes.is_ahead_of_a_reader(PieceIndex(piece)) for piece in range(6)] == [
            False,
            False,
            True,
            True,
            False,
            True,
        ]


async def test_all_of_it_is_wanted_behind_every_reader_until_nobody_asks(tmp_path: Path) -> None:
    async with wanted(tmp_path) as one:
        one.wishes.windows_moved([range(4, 5)])
        with one.wishes.bringing_all():
            assert (one.windows, one.whole) == ([range(4, 5)], True)
            assert not one.wishes.is_ahead_of_a_reader(PieceIndex(0)), "nobody will read it soon"
            one.wishes.windows_moved([range(5, 6)])
            assert (one.windows, one.whole) == ([range(5, 6)], True)
        assert (one.windows, one.whole) == ([range(5, 6)], False)


async def test_all_is_there_when_the_last_piece_came_whichever_that_is(tmp_path: Path) -> None:
    async with wanted(tmp_path) as one:
        await fill(one.stored, range(1))
        with one.wishes.bringing_all() as first, one.wishes.bringing_all() as second:
            await fill(one.stored, range(3, 6))
            await fill(one.stored, range(1, 2))
            assert not first.done.is_set()
            await fill(one.stored, range(2, 3))

            await first.wait()
            await second.wait()


async def test_what_is_held_already_is_done_at_once(tmp_path: Path) -> None:
    async with wanted(tmp_path) as one:
        await fill(one.stored)
        with one.wishes.bringing_all() as whole:
            assert whole.done.is_set()
            await whole.wait()


async def test_pieces_that_went_since_the_last_time_are_wanted_again(tmp_path: Path) -> None:
    async with wanted(tmp_path) as one:
        with one.wishes.bringing_all():
            await fill(one.stored)
        await one.stored.drop_pieces([PieceIndex(2)], damaged=True)

        with one.wishes.bringing_all() as whole:
            assert not whole.done.is_set()
            await fill(one.stored, range(2, 3))
            assert whole.done.is_set()


async def test_what_is_being_brought_is_not_evicted(tmp_path: Path) -> None:
    async with wanted(tmp_path) as one:
        assert not one.stored.in_use
        with one.wishes.bringing_all():
            assert one.stored.in_use
        assert not one.stored.in_use


async def test_whoever_waits_for_all_hears_that_it_cannot_be_had(tmp_path: Path) -> None:
    async with wanted(tmp_path) as one:
        one.wishes.fail(StoreFull("nobody waits for all of it"))
        with one.wishes.bringing_all() as whole:
            errors: list[StoreFull] = []

            async def wait() -> None:
                try:
                    await whole.wait()
                except StoreFull as error:
                    errors.append(error)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                nursery.start_soon(wait)
                one.wishes.fail(StoreFull("no room for all of it"))
            assert [error.message for error in errors] == ["no room for all of it"] * 2
            with pytest.raises(StoreFull):
                await whole.wait()
