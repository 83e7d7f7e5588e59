"""Room: promised, made in time, and refused where nothing helps."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import structlog.testing
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.core.errors import StoreFull
from flyfs.store.catalogue import Catalogue
from flyfs.store.eviction import Candidate, Disk, DropBlob, DropPieces, Eviction
from flyfs.store.space import REFUSED_FOR_S, ROOM_TIMEOUT_S, Space
from tests.flyfs.store.builders import a_blob

BLOBS = [a_blob(name=str(number)) for number in range(20)]
LIMIT = 1600
BATCH = LIMIT // 16


class Disks:
    """A space over blobs that go as soon as they are told to, or as ``evict`` says."""

    def __init__(self, *sizes: int, limit: int | None = LIMIT, can_punch: bool = True) -> None:
        self.catalogue = Catalogue()
        for blob, size in zip(BLOBS, sizes, strict=False):
            self.catalogue.add(blob, size, used_at_s=0.0)
        self.in_use: set[str] = set()
        self.disk = Disk(free_bytes=1 << 40, whole_bytes=1 << 40)
        self.evicted: list[Eviction] = []
        self.evict: Callable[[Eviction], None] = self.free
        self.space = Space(
            catalogue=self.catalogue,
            limit_bytes=limit,
            disk=lambda: self.disk,
            can_punch=can_punch,
            candidates=self.candidates,
            evict=self._evict,
        )

    def candidates(self) -> Iterator[Candidate]:
        for blob_id, size in list(self.catalogue.by_age()):
            yield Candidate(blob_id=blob_id, droppable_bytes=size, in_use=blob_id in self.in_use)

    async def _evict(self, eviction: Eviction) -> None:
        await trio.lowlevel.checkpoint()
        self.evicted.append(eviction)
        self.evict(eviction)

    def free(self, eviction: Eviction) -> None:
        match eviction:
            case DropBlob(blob_id):
                size = self.catalogue.remove(blob_id)
                self.space.going(size)
                self.space.gone(size)
            case DropPieces(blob_id, size):
                self.space.lose(blob_id, size)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Space]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.space.run)
            await wait_all_tasks_blocked()
            yield self.space
            nursery.cancel_scope.cancel()


async def write(disks: Disks, number: int, size: int) -> None:
    await disks.space.promise(size)
    disks.space.keep(BLOBS[number].id, size)


async def test_room_is_made_before_anybody_has_to_wait_for_it(autojump_clock: MockClock) -> None:
    disks = Disks(150, 100, 1150)
    async with disks.running() as space:
        await space.promise(BATCH)
        await space.promise(1)
        assert disks.evicted == [], "a batch is left"
        await space.promise(1)
        await wait_all_tasks_blocked()
        assert disks.evicted == [DropBlob(BLOBS[0].id)]
        assert space.statistics().used_bytes == 1250


async def test_a_large_promise_waits_until_enough_went(autojump_clock: MockClock) -> None:
    disks = Disks(*[100] * 15)
    async with disks.running() as space:
        await space.promise(800)
        assert space.statistics().used_bytes <= LIMIT - 800
        space.give_back(800)


async def test_waiting_writers_are_all_served_as_room_comes(autojump_clock: MockClock) -> None:
    disks = Disks(*[50] * 20, limit=1000)
    async with disks.running() as space:
        async with trio.open_nursery() as nursery:
            for _ in range(9):
                nursery.start_soon(space.promise, 100)
        assert space.statistics().used_bytes <= 100
        assert not space.refused


async def test_the_limit_holds_whatever_is_written_together(autojump_clock: MockClock) -> None:
    disks = Disks(*[80] * 20)
    disks.in_use = {BLOBS[19].id}

    async def check() -> None:
        while True:
            assert disks.catalogue.used_bytes + disks.space._promised_bytes <= LIMIT
            await trio.lowlevel.checkpoint()

    async with disks.running(), trio.open_nursery() as nursery:
        nursery.start_soon(check)
        async with trio.open_nursery() as writers:
            for _ in range(60):
                writers.start_soon(write, disks, 19, 60)
        nursery.cancel_scope.cancel()
    assert disks.catalogue.used_bytes > LIMIT // 2


async def test_nothing_goes_for_what_does_not_fit_anyway(autojump_clock: MockClock) -> None:
    disks = Disks(100, 100, 1200)
    disks.in_use = {BLOBS[2].id}
    disks.candidates = lambda: (one for one in Disks.candidates(disks) if not one.in_use)  # type: ignore[method-assign]
    disks.space._candidates = disks.candidates
    async with disks.running() as space:
        with pytest.raises(StoreFull, match="are missing"):
            await space.promise(500)
        assert disks.evicted == []
        assert space.statistics().read_through


async def test_a_file_system_that_frees_late_is_not_emptied_for_it(autojump_clock: MockClock) -> None:
    disks = Disks(*[100] * 16, limit=None)
    disks.disk = Disk(free_bytes=0, whole_bytes=1600)

    def evict(eviction: Eviction) -> None:
        assert isinstance(eviction, DropBlob)
        disks.catalogue.remove(eviction.blob_id)

    disks.evict = evict
    async with disks.running() as space:
        with pytest.raises(StoreFull):
            await space.promise(50)
        assert len(disks.evicted) == 3 + 2 + 2, "what makes a batch, three times"


async def test_a_disk_that_takes_its_time_holds_up_nobody_for_long(autojump_clock: MockClock) -> None:
    disks = Disks(1600)

    async def hang(_: Eviction) -> None:
        await trio.sleep_forever()

    disks.space._evict = hang
    async with disks.running() as space:
        began = trio.current_time()
        with pytest.raises(StoreFull, match="within 5 s"):
            await space.promise(1)
        assert trio.current_time() - began == ROOM_TIMEOUT_S
        assert space._waiting == []


async def test_who_gives_up_waiting_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    disks = Disks(1600)

    async def hang(_: Eviction) -> None:
        await trio.sleep_forever()

    disks.space._evict = hang
    async with disks.running() as space:
        with trio.move_on_after(0.1):
            await space.promise(1)
        assert space._waiting == []


async def test_a_kernel_that_refused_is_not_asked_for_a_moment_unless_room_came(autojump_clock: MockClock) -> None:
    disks = Disks(100)
    async with disks.running() as space:
        assert "worn out" in space.kernel_refused("worn out").message
        with pytest.raises(StoreFull, match="worn out"):
            await space.promise(1)
        await trio.sleep(REFUSED_FOR_S)
        await space.promise(1)
        space.kernel_refused("worn out")
        space.lose(BLOBS[0].id, 1)
        await space.promise(1)


async def test_only_a_full_disk_makes_it_worth_evicting_for_a_refused_write(autojump_clock: MockClock) -> None:
    disks = Disks(100, 100, 100)
    async with disks.running() as space:
        assert not await space.make_more_room(OSError(5, "Input/output error"), 10)
        assert disks.evicted == []
        assert await space.make_more_room(OSError(122, "Disk quota exceeded"), 10)
        assert disks.evicted == [DropBlob(BLOBS[0].id)], "a batch"
        disks.in_use = {blob.id for blob in BLOBS}
        assert await space.make_more_room(OSError(28, "No space left on device"), 10)
        assert disks.evicted[1:] == [DropPieces(BLOBS[1].id, 100)]


async def test_inodes_are_missing_where_the_disk_counts_them(autojump_clock: MockClock) -> None:
    disks = Disks()
    disks.disk = Disk(free_bytes=1 << 40, whole_bytes=1 << 40, free_inodes=5)
    async with disks.running() as space:
        with pytest.raises(StoreFull, match="lacks 3 inodes"):
            await space.wait_for_blob_room()
        await space.promise(1)
        disks.disk = Disk(free_bytes=1 << 40, whole_bytes=1 << 40, free_inodes=0)
        await trio.sleep(REFUSED_FOR_S)
        with pytest.raises(StoreFull, match="lacks 1 inodes"):
            await space.promise(1)


async def test_a_refusal_after_another_is_not_warned_of_again(autojump_clock: MockClock) -> None:
    disks = Disks(100)
    with structlog.testing.capture_logs() as logged:
        async with disks.running() as space:
            for _ in range(3):
                space.kernel_refused("worn out")
    assert [(line["event"], line["reason"]) for line in logged] == [("store.read_through.began", "worn out")]
