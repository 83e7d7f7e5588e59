"""Pieces that are let go: their marks first, then their room; never from under somebody."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.core.errors import Stale
from flyfs.core.ids import PieceIndex
from flyfs.store import effects
from flyfs.store.blob_files import DURABLE, BlobFiles, directory_of
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from tests.flyfs.store.builders import PIECE_BYTES, a_blob, bytes_of_blob, digests_of, fill, held, piece_of
from tests.support.builders import picture_of


def pieces(*numbers: int) -> list[PieceIndex]:
    return list(map(PieceIndex, numbers))


def allocated(stored: StoredBlob) -> int:
    """Bytes of the data file that are no hole."""
    fd, size = stored.fileno, stored.blob.size
    total = stop = 0
    while stop < size:
        try:
            start = os.lseek(fd, stop, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            break
        stop = os.lseek(fd, start, os.SEEK_HOLE)
        total += stop - start
    return total


def data_in(directory: Path, stored: StoredBlob) -> bytes:
    return (directory / "blobs" / directory_of(stored.blob.id) / "data").read_bytes()


async def settle(clock: MockClock, until: Callable[[], bool]) -> None:
    """Lets the sync loop's deadlines pass until something is so."""
    for _ in range(500):
        if until():
            return
        await wait_all_tasks_blocked(0.002)
        clock.jump(1.0)
    raise AssertionError("it never became so")


async def a_durable_blob(store: Store, clock: MockClock, count: int = 6, name: str = "a") -> StoredBlob:
    stored = await store.create(a_blob(count, name=name))
    await fill(stored)
    await settle(clock, lambda: stored.durable.count == count)
    return stored


async def test_dropped_pieces_give_their_room_back_and_stay_gone_after_a_restart(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock, 6)
        assert allocated(stored) == 6 * PIECE_BYTES

        assert await stored.drop_pieces(pieces(1, 2, 5, 5)) == 3 * PIECE_BYTES
        assert (picture_of(stored.have), picture_of(stored.durable)) == ("#..##.", "#..##.")
        assert (allocated(stored), store.statistics().used_bytes) == (3 * PIECE_BYTES, 3 * PIECE_BYTES)
        assert stored.read_nowait(PIECE_BYTES, 1) is None
        assert await stored.read(3 * PIECE_BYTES, 5) == piece_of(stored.blob, 3)[:5]
        assert await stored.drop_pieces(pieces(1)) == 0

    async with Store.open(tmp_path) as store:
        again = store.find(a_blob(6).id)
        assert again is not None
        assert picture_of(again.have) == "#..##."
        await fill(again)
        assert await again.read(0, again.blob.size) == bytes_of_blob(again.blob)


async def test_a_shorter_last_piece_gives_all_of_its_room_back(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(2.5))
        await fill(stored)
        assert await stored.drop_pieces(pieces(2)) == PIECE_BYTES // 2
        assert (allocated(stored), os.fstat(stored.fileno).st_size) == (2 * PIECE_BYTES, stored.blob.size)
        assert store.statistics().used_bytes == 2 * PIECE_BYTES


async def test_a_piece_is_gone_at_once_and_its_mark_before_its_bytes(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    go_on = threading.Event()

    def note(name: str) -> None:
        effect = getattr(effects, name)

        def run(*arguments: Any, **named: Any) -> Any:
            go_on.wait(10)
            seen.append(name)
            return effect(*arguments, **named)

        monkeypatch.setattr(effects, name, run)

    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock)
        for name in ("punch_hole", "rename", "sync_entries"):
            note(name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stored.drop_pieces, pieces(0, 2, 3))
            await wait_all_tasks_blocked(0.005)
            assert picture_of(stored.have) == ".#..##"
            assert allocated(stored) == 6 * PIECE_BYTES
            go_on.set()

    assert seen[:4] == ["rename", "sync_entries", "punch_hole", "punch_hole"], "one mark for both runs"


async def test_a_piece_that_comes_again_while_it_goes_is_written_after_its_room_is_free(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Event(), threading.Event()
    punch_hole = effects.punch_hole

    def slow(fd: int, start: int, stop: int) -> None:
        started.set()
        go_on.wait(10)
        punch_hole(fd, start, stop)

    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock)
        monkeypatch.setattr(effects, "punch_hole", slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stored.drop_pieces, pieces(1))
            await trio.to_thread.run_sync(started.wait)
            nursery.start_soon(stored.write_piece, PieceIndex(1), piece_of(stored.blob, 1))
            await wait_all_tasks_blocked(0.005)
            assert 1 not in stored.have
            go_on.set()
        assert await stored.read(0, stored.blob.size) == bytes_of_blob(stored.blob)
        assert store.statistics().used_bytes == 6 * PIECE_BYTES


async def test_a_piece_that_goes_while_it_is_marked_is_not_durable_afterwards(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Event(), threading.Event()
    rename = effects.rename

    def slow(*arguments: Any, **named: Any) -> None:
        started.set()
        go_on.wait(10)
        rename(*arguments, **named)

    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        told: list[tuple[int, bool]] = []
        stored.listen(lambda piece, durable: told.append((piece, durable)))
        await fill(stored)
        monkeypatch.setattr(effects, "rename", slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(settle, mock_clock, started.is_set)
            await trio.to_thread.run_sync(started.wait)
            nursery.start_soon(stored.drop_pieces, pieces(1))
            await wait_all_tasks_blocked(0.005)
            go_on.set()
        await settle(mock_clock, lambda: stored.durable.count == 2)
        assert (picture_of(stored.have), (1, True) in told) == ("#.#", False)
    async with Store.open(tmp_path) as store:
        again = store.find(a_blob(3).id)
        assert again is not None
        assert picture_of(again.have) == "#.#"


async def test_on_a_full_disk_the_mark_is_taken_back_in_its_place(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock)
        monkeypatch.setattr(effects, "create_file", failing(28, "No space left on device"))
        assert await stored.drop_pieces(pieces(0, 5)) == 2 * PIECE_BYTES
        assert allocated(stored) == 4 * PIECE_BYTES
        monkeypatch.undo()
    async with Store.open(tmp_path) as store:
        again = store.find(a_blob(6).id)
        assert again is not None
        assert picture_of(again.have) == ".####."


async def test_on_a_full_disk_what_was_never_marked_needs_no_unmarking(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        await fill(stored)
        monkeypatch.setattr(effects, "create_file", failing(122, "Disk quota exceeded"))
        assert await stored.drop_pieces(pieces(1)) == PIECE_BYTES
        monkeypatch.undo()
        assert picture_of(stored.have) == "#.#"


async def test_a_mark_that_tears_when_it_is_taken_back_in_place_costs_the_marks_and_no_more(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock, 60)
    place = tmp_path / "blobs" / directory_of(stored.blob.id) / DURABLE
    before = place.read_bytes()
    async with Store.open(tmp_path) as store:
        again = store.find(stored.blob.id)
        assert again is not None
        await again.drop_pieces(pieces(*range(0, 60, 2)))
    after = place.read_bytes()
    assert len(before) == len(after)
    for cut in range(1, len(after)):
        torn = after[:cut] + before[cut:]
        if torn in (before, after):
            continue
        place.write_bytes(torn)
        async with Store.open(tmp_path) as store:
            assert store.statistics().used_bytes == 0


async def test_a_disk_that_does_not_take_the_mark_back_keeps_the_pieces_and_serves_them(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock, 3)
        with monkeypatch.context() as patched, structlog.testing.capture_logs() as logged:
            patched.setattr(effects, "rename", failing(30, "Read-only file system"))
            assert await stored.drop_pieces(pieces(1)) == 0
        assert [line["event"] for line in logged] == ["store.unmark.failed"]
        assert await stored.read(0, stored.blob.size) == bytes_of_blob(stored.blob)
        assert (list(stored.durable), store.statistics().used_bytes) == ([0, 1, 2], 3 * PIECE_BYTES)
        assert await stored.drops.drop_coldest(9 * PIECE_BYTES) == 3 * PIECE_BYTES


async def test_a_damaged_piece_does_not_count_again_even_where_its_mark_stays(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock, 3)
        with monkeypatch.context() as patched:
            patched.setattr(effects, "rename", failing(5, "Input/output error"))
            assert await stored.drop_pieces(pieces(1), damaged=True) == 0
        assert (held(stored), store.statistics().used_bytes) == ([0, 2], 2 * PIECE_BYTES)
        await fill(stored)
        assert await stored.read(0, stored.blob.size) == bytes_of_blob(stored.blob)
        assert store.statistics().used_bytes == 3 * PIECE_BYTES


async def test_what_was_not_synced_when_its_mark_could_not_go_is_lost(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        await fill(stored)
        with monkeypatch.context() as patched:
            patched.setattr(effects, "rename", failing(5, "Input/output error"))
            assert await stored.drop_pieces(pieces(1)) == 0
        assert (held(stored), store.statistics().used_bytes) == ([0, 2], 2 * PIECE_BYTES)


async def test_room_that_a_disk_does_not_give_back_is_logged_and_written_again(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock, 3)
        with monkeypatch.context() as patched, structlog.testing.capture_logs() as logged:
            patched.setattr(effects, "punch_hole", failing(5, "Input/output error"))
            await stored.drop_pieces(pieces(1))
        assert [line["event"] for line in logged] == ["store.free.failed"]
        assert held(stored) == [0, 2]
        await fill(stored)
        assert await stored.read(0, stored.blob.size) == bytes_of_blob(stored.blob)


async def test_the_coldest_pieces_go_and_none_that_somebody_is_in_or_about_to_be_in(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with Store.open(tmp_path) as store:
        await a_durable_blob(store, mock_clock, 8)
    async with Store.open(tmp_path) as store:  # where everything is cold
        stored = store.find(a_blob(8).id)
        assert stored is not None
        assert stored.read_nowait(0, 1) is not None
        with stored.use(range(1, 3)), stored.use(ahead=lambda: [range(4, 5), range(6, 9)]):
            assert stored.drops.droppable_bytes == 2 * PIECE_BYTES
            assert await stored.drops.drop_coldest(1) == PIECE_BYTES
            assert picture_of(stored.have) == "###.####"
            assert await stored.drops.drop_coldest(PIECE_BYTES + 1) == 2 * PIECE_BYTES
            assert await stored.drops.drop_coldest(1) == 0
            assert picture_of(stored.have) == ".##.#.##"
        with stored.pin():
            assert (await stored.drops.drop_coldest(1), stored.drops.droppable_bytes) == (0, 0)
        assert await stored.drops.drop_coldest(99 * PIECE_BYTES) == 5 * PIECE_BYTES


async def test_nobody_finds_a_hole_under_him_even_where_a_piece_is_damaged(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock, 4)
        with stored.use(range(1, 2)):
            assert await stored.drop_pieces(pieces(1, 2), damaged=True) == 2 * PIECE_BYTES
            assert (picture_of(stored.have), picture_of(stored.durable)) == ("#..#", "#..#")
            assert allocated(stored) == 3 * PIECE_BYTES
            assert os.pread(stored.fileno, PIECE_BYTES, PIECE_BYTES) == piece_of(stored.blob, 1)
        await fill(stored)
        assert (allocated(stored), store.statistics().used_bytes) == (4 * PIECE_BYTES, 4 * PIECE_BYTES)


async def test_a_piece_is_not_taken_from_under_a_read_in_a_thread_nor_before_it_was_sent(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow(fd: int, offset: int, size: int) -> bytes:
        started.set()
        go_on.wait(10)
        return os.pread(fd, size, offset)

    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock, 3)
        monkeypatch.setattr("flyfs.store.page_cache.PageCache.read_nowait", lambda *_: None)
        monkeypatch.setattr("flyfs.store.reader.read_whole", slow)
        read: list[bytes] = []

        async def read_middle() -> None:
            read.append(bytes(await stored.read(PIECE_BYTES + 1, 5)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_middle)
            await trio.to_thread.run_sync(started.wait)
            assert await stored.drops.drop_coldest(9 * PIECE_BYTES) == 2 * PIECE_BYTES
            go_on.set()
        assert read == [piece_of(stored.blob, 1)[1:6]]


async def test_whoever_waits_for_room_does_not_wait_for_a_blob_that_went(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Event(), threading.Event()
    replace = BlobFiles.replace_durable

    def slow(files: BlobFiles, durable: Any) -> None:
        started.set()
        go_on.wait(10)
        replace(files, durable)

    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock, 3)
        monkeypatch.setattr(BlobFiles, "replace_durable", slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stored.drop_pieces, pieces(1))
            await trio.to_thread.run_sync(started.wait)
            nursery.start_soon(store.drop, stored.blob.id)
            await wait_all_tasks_blocked(0.005)
            go_on.set()
        assert await stored.drop_pieces(pieces(2)) == 0
        with pytest.raises(Stale):
            await stored.write_piece(PieceIndex(1), piece_of(stored.blob, 1))
        assert store.statistics().used_bytes == 0


async def test_a_drop_goes_on_when_its_caller_is_cancelled(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock, 3)
        with trio.CancelScope() as scope:
            scope.cancel()
            await stored.drop_pieces(pieces(1))
        await settle(mock_clock, lambda: allocated(stored) == 2 * PIECE_BYTES)
        await fill(stored)
        assert stored.have.complete


async def test_leaving_ends_what_was_begun_to_go(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock, 3)
        with trio.CancelScope() as scope:
            scope.cancel()
            await stored.drop_pieces(pieces(1))
    async with Store.open(tmp_path) as store:
        again = store.find(a_blob(3).id)
        assert again is not None
        assert held(again) == [0, 2]
        assert data_in(tmp_path, again)[PIECE_BYTES : 2 * PIECE_BYTES] == bytes(PIECE_BYTES)


async def test_a_stale_mark_never_lies_over_a_hole(tmp_path: Path, mock_clock: MockClock) -> None:
    """The marks on the disk speak of a piece whose digest was lost; it comes again, goes, and its digest comes again."""
    async with Store.open(tmp_path) as store:
        await a_durable_blob(store, mock_clock, 3)
    digests = tmp_path / "blobs" / directory_of(a_blob(3).id) / "digests"
    digests.write_bytes(b"")
    async with Store.open(tmp_path) as store:
        stored = store.find(a_blob(3).id)
        assert stored is not None
        assert held(stored) == []
        await stored.write_piece(PieceIndex(1), piece_of(stored.blob, 1), proved=True)
        await stored.drop_pieces(pieces(1))
        stored.add_digests(digests_of(stored.blob))
    async with Store.open(tmp_path) as store:
        again = store.find(a_blob(3).id)
        assert again is not None
        for piece in held(again):
            again.manifest.prove(PieceIndex(piece), await again.read(piece * PIECE_BYTES, PIECE_BYTES))


async def test_room_that_a_crash_left_taken_is_free_after_the_next_start(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await a_durable_blob(store, mock_clock, 12)
        await stored.drop_pieces(pieces(*range(3, 12)))
        await fill(stored, range(5, 12))
        with monkeypatch.context() as patched:
            patched.setattr(effects, "sync_data", failing(5, "Input/output error"))
            await store.sync_loop.flush()
        assert allocated(stored) == 10 * PIECE_BYTES
    async with Store.open(tmp_path) as store:
        again = store.find(a_blob(12).id)
        assert again is not None
        assert (allocated(again), picture_of(again.have)) == (3 * PIECE_BYTES, "###.........")
        assert await again.read(0, 3 * PIECE_BYTES) == bytes_of_blob(again.blob)[: 3 * PIECE_BYTES]


async def test_a_disk_that_does_not_give_such_room_back_opens_all_the_same(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        await a_durable_blob(store, mock_clock, 6)
    (tmp_path / "blobs" / directory_of(a_blob(6).id) / DURABLE).unlink()
    monkeypatch.setattr(effects, "punch_hole", failing(95, "Operation not supported"))
    async with Store.open(tmp_path) as store:
        again = store.find(a_blob(6).id)
        assert again is not None
        assert held(again) == []
        await fill(again)
        assert await again.read(0, again.blob.size) == bytes_of_blob(again.blob)


def failing(errno: int, message: str) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno, message)

    return fail
