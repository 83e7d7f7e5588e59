"""A store on a disk whose calls fail, one kind after the other: it says so, marks nothing that is not so, and goes on."""

import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.core.blob import Blob
from flyfs.core.errors import ConfigError, FlyfsError
from flyfs.core.ids import PieceIndex
from flyfs.store.blob_files import HEAD, directory_of
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from tests.flyfs.store.builders import a_blob, bytes_of_blob, digests_of, piece_of
from tests.torture.faults import EFFECTS, FaultyDisk

ERRORS = [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT]
OLD, NEW, GONE, LATER = (a_blob(6.5, name=name) for name in ("old", "new", "gone", "later"))


@dataclass(frozen=True, slots=True)
class Fault:
    """One effect that fails; ``late`` where it happens all the same."""

    name: str
    number: int
    late: bool = False

    def __str__(self) -> str:
        return f"{self.name}-{errno.errorcode[self.number]}{'-late' if self.late else ''}"


every_fault = pytest.mark.parametrize(
    "fault",
    [Fault(name, number) for name in EFFECTS for number in ERRORS] + [Fault(name, errno.EIO, late=True) for name in EFFECTS],
    ids=str,
)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    return FaultyDisk(tmp_path, monkeypatch)


class Day:
    """What is done with a store, and what it told meanwhile."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock
        self.told: dict[str, set[int]] = {}
        self.errors: list[FlyfsError] = []

    def listen(self, stored: StoredBlob) -> None:
        def hear(piece: PieceIndex, durable: bool) -> None:
            if durable:
                self.told.setdefault(stored.blob.id, set()).add(piece)

        stored.listen(hear)

    async def attempt(self, action: Callable[[], Awaitable[object]]) -> None:
        """Whatever goes wrong must be one of our own errors."""
        try:
            await action()
        except FlyfsError as error:
            self.errors.append(error)

    async def pass_by(self, seconds: int = 8) -> None:
        """Time passes, in which the store syncs what it can."""
        for _ in range(seconds):
            await wait_all_tasks_blocked(0.0005)
            self._clock.jump(1.0)
        await wait_all_tasks_blocked(0.0005)

    async def keep(self, store: Store, blob: Blob) -> None:
        """Creates and fills a blob as far as it goes; a piece that the disk refuses stops no other."""
        stored = await store.create(blob)
        self.listen(stored)
        with stored.pin():
            stored.add_digests(digests_of(blob))
            for piece in blob.grid:
                await self.attempt(lambda piece=piece: stored.write_piece(piece, piece_of(blob, piece)))
            await self.read(stored)

    async def read(self, stored: StoredBlob) -> None:
        """Everything that is held is read, and right."""
        for piece in stored.have:
            where = stored.blob.grid.range_of(piece)
            assert await stored.read(where.start, len(where)) == piece_of(stored.blob, piece)


async def whole(store: Store, day: Day, blob: Blob) -> None:
    """The store can do all that it should with this blob."""
    errors = len(day.errors)
    await day.keep(store, blob)
    assert day.errors[errors:] == []
    stored = store.find(blob.id)
    assert stored is not None
    assert stored.have.complete
    with trio.fail_after(1000):  # of the store's seconds: threads take a moment of ours, in which its clock goes on
        while not stored.durable.complete:
            await day.pass_by(1)


async def every_piece_that_counts_is_right(directory: Path, told: dict[str, set[int]], gone: set[str]) -> None:
    async with Store.open(directory) as store:
        held: dict[str, set[int]] = {}
        for blob in store.blobs():
            stored = store.find(blob.id)
            assert stored is not None
            held[blob.id] = set(stored.durable)
            for piece in stored.durable:
                where = blob.grid.range_of(piece)
                assert await stored.read(where.start, len(where)) == piece_of(blob, piece)
        for blob_id, pieces in told.items():
            assert pieces <= held.get(blob_id, set()) or blob_id in gone


@every_fault
async def test_a_store_lives_through_calls_that_fail_and_is_whole_afterwards(
    tmp_path: Path, mock_clock: MockClock, disk: FaultyDisk, fault: Fault
) -> None:
    day = Day(mock_clock)
    async with Store.open(tmp_path) as store:
        await whole(store, day, OLD)
        await whole(store, day, GONE)
        before = {blob_id: set(pieces) for blob_id, pieces in day.told.items()}

        old = store.find(OLD.id)
        assert old is not None
        with disk.failing(fault.name, fault.number, late=fault.late), old.pin():  # a full disk may cost what nobody reads
            await day.attempt(lambda: day.keep(store, NEW))
            await day.attempt(lambda: store.drop(GONE.id))
            await day.pass_by()
            assert await old.read(0, OLD.size) == bytes_of_blob(OLD)
            if fault.name == "sync_data":
                assert day.told == before, "what could not be synced was called durable"

        await whole(store, day, LATER)
        await whole(store, day, NEW)
    await every_piece_that_counts_is_right(tmp_path, day.told, {GONE.id})


@every_fault
async def test_a_store_is_left_in_peace_while_calls_fail(
    tmp_path: Path, mock_clock: MockClock, disk: FaultyDisk, fault: Fault
) -> None:
    day = Day(mock_clock)
    async with Store.open(tmp_path) as store:
        await whole(store, day, OLD)
        await day.keep(store, NEW)
        until_it_is_left = disk.failing(fault.name, fault.number, late=fault.late)
        until_it_is_left.__enter__()
    until_it_is_left.__exit__(None, None, None)
    await every_piece_that_counts_is_right(tmp_path, day.told, set())


@every_fault
async def test_a_store_opens_on_a_disk_that_fails_or_says_why_not_and_loses_nothing_by_it(
    tmp_path: Path, mock_clock: MockClock, disk: FaultyDisk, fault: Fault
) -> None:
    day = Day(mock_clock)
    async with Store.open(tmp_path) as store:
        await whole(store, day, OLD)
        await whole(store, day, GONE)
    (tmp_path / "blobs" / directory_of(GONE.id) / HEAD).write_bytes(b"damaged")
    with disk.failing(fault.name, fault.number, late=fault.late), suppress(ConfigError):
        async with Store.open(tmp_path):
            await day.pass_by()

    async with Store.open(tmp_path) as store:
        await whole(store, day, LATER)
    await every_piece_that_counts_is_right(tmp_path, day.told, {GONE.id})


@pytest.mark.parametrize("name", EFFECTS)
async def test_while_a_call_hangs_held_pieces_are_read_and_afterwards_all_is_whole(
    tmp_path: Path, mock_clock: MockClock, disk: FaultyDisk, name: str
) -> None:
    day = Day(mock_clock)
    async with Store.open(tmp_path) as store:
        await whole(store, day, OLD)
        async with trio.open_nursery() as nursery:
            with disk.hanging(name):
                nursery.start_soon(day.keep, store, NEW)
                nursery.start_soon(store.drop, GONE.id)
                await day.pass_by(3)
                old = store.find(OLD.id)
                assert old is not None
                for piece in old.have:
                    where = OLD.grid.range_of(piece)
                    assert await old.read(where.start, len(where)) == piece_of(OLD, piece)
        assert day.errors == []
        await whole(store, day, NEW)
        await whole(store, day, LATER)
    await every_piece_that_counts_is_right(tmp_path, day.told, set())


async def test_nothing_that_changes_the_disk_runs_on_the_loop(tmp_path: Path, mock_clock: MockClock, disk: FaultyDisk) -> None:
    day = Day(mock_clock)
    async with Store.open(tmp_path) as store:
        await whole(store, day, OLD)
        await store.drop(OLD.id)
        await whole(store, day, NEW)
    async with Store.open(tmp_path) as store:
        stored = store.find(NEW.id)
        assert stored is not None
        await day.read(stored)

    assert disk.on_loop <= {"read_file"}, "a blob's small files are read where it is found"
    assert disk.calls.total() > 20
