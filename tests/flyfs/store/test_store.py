"""The store: blobs that are found, made, dropped, evicted, and there again after a restart."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.core.errors import ConfigError, Stale, StoreFull, Unavailable
from flyfs.core.ids import PieceIndex
from flyfs.store import effects, space
from flyfs.store.blob_files import BlobFiles, directory_of
from flyfs.store.cache_directory import CacheDirectory
from flyfs.store.eviction import Disk
from flyfs.store.open_blobs import OpenBlobs
from flyfs.store.page_cache import drop_pages
from flyfs.store.space import CALM_S, REFUSED_FOR_S
from flyfs.store.store import FLUSH_TIMEOUT_S, Store
from flyfs.store.stored_blob import StoredBlob
from tests.flyfs.store.builders import PIECE_BYTES, a_blob, bytes_of_blob, digests_of, fill, held, piece_of


def place_of(directory: Path, name: str = "a", pieces: float = 3) -> Path:
    return directory / "blobs" / directory_of(a_blob(pieces, name=name).id)


async def test_a_restart_finds_what_was_durable_and_its_digests(tmp_path: Path, mock_clock: MockClock) -> None:
    blob = a_blob(2.5)
    async with Store.open(tmp_path) as store:
        await fill(await store.create(blob))
        peer_id = store.peer_id

    async with Store.open(tmp_path) as store:
        assert store.blob_ids() == [blob.id]
        assert store.peer_id == peer_id
        assert store.statistics().used_bytes == blob.size
        stored = store.find(blob.id)
        assert stored is not None
        assert (stored.blob, held(stored), stored.have == stored.durable) == (blob, [0, 1, 2], True)
        assert stored.manifest.batches(0) == (digests_of(blob),)
        assert await stored.read(0, blob.size) == bytes_of_blob(blob)


async def test_the_same_blob_is_one_object_and_made_once(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob())

        assert await store.create(a_blob()) is stored
        assert store.find(a_blob().id) is stored
        assert store.find(a_blob(name="other").id) is None
        assert store.statistics().blobs == 1


async def test_many_who_create_one_blob_at_once_get_one_object(tmp_path: Path, mock_clock: MockClock) -> None:
    made: list[object] = []

    async def create(store: Store) -> None:
        made.append(await store.create(a_blob()))

    async with Store.open(tmp_path) as store, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(create, store)

    assert len(made) == 5
    assert len({id(stored) for stored in made}) == 1


async def test_a_blob_of_the_same_id_on_another_grid_replaces_the_old_one(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        old = await store.create(a_blob(4))
        await fill(old)
        new = await store.create(a_blob(2, piece_size=2 * PIECE_BYTES))

        assert (new.blob.id, held(new), new.have.length) == (old.blob.id, [], 2)
        assert (old.dropped, store.statistics().used_bytes) == (True, 0)


async def test_an_empty_blob_is_complete_at_birth(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(0))

        assert stored.have.complete
        assert stored.read_nowait(0, 10) == b""
        assert await stored.read(0, 10) == b""
        await stored.bring_into_page_cache(0, 0)
    async with Store.open(tmp_path) as store:
        again = store.find(a_blob(0).id)
        assert again is not None
        assert again.have.complete


async def test_a_blob_of_one_tebibyte_is_cheap(tmp_path: Path, mock_clock: MockClock) -> None:
    blob = a_blob(262_144, piece_size=4 * 1024 * 1024)
    last = PieceIndex(262_143)
    data = memoryview(bytes(4 * 1024 * 1024))
    async with Store.open(tmp_path) as store:
        stored = await store.create(blob)
        await stored.write_piece(last, data, proved=True)

        assert stored.blob.size == 1 << 40
        assert stored.read_nowait((1 << 40) - 5, 99) == bytes(5)
        assert store.statistics().used_bytes == 4 * 1024 * 1024
        assert os.fstat(stored.fileno).st_blocks * 512 < 8 * 1024 * 1024


async def test_a_dropped_blob_is_gone_but_its_reader_reads_on(tmp_path: Path, mock_clock: MockClock) -> None:
    blob = a_blob()
    async with Store.open(tmp_path) as store:
        stored = await store.create(blob)
        await fill(stored)
        with stored.use():
            await store.drop(blob.id)

            assert (store.find(blob.id), store.blob_ids(), store.statistics().used_bytes) == (None, [], 0)
            assert await stored.read(0, blob.size) == bytes_of_blob(blob)
            assert not place_of(tmp_path).exists()
        await store.drop(blob.id)
        successor = await store.create(blob)
        assert (successor is stored, held(successor)) == (False, [])
    assert list((tmp_path / "dropped").iterdir()) == []


async def test_a_disk_that_does_not_let_go_is_logged_and_the_blob_is_gone_all_the_same(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise OSError(30, "Read-only file system")

    async with Store.open(tmp_path) as store:
        await store.create(a_blob())
        monkeypatch.setattr(CacheDirectory, "set_aside", refuse)
        await store.drop(a_blob().id)

        assert store.find(a_blob().id) is None


@pytest.mark.parametrize("damaged", ["head", "data", "durable", "digests"])
async def test_a_damaged_file_costs_its_blob_only_and_never_the_start(
    tmp_path: Path, mock_clock: MockClock, damaged: str
) -> None:
    async with Store.open(tmp_path) as store:
        for name in "ab":
            await fill(await store.create(a_blob(name=name)))
    (place_of(tmp_path) / damaged).write_bytes(b"damage")

    async with Store.open(tmp_path) as store:
        stored = store.find(a_blob().id)
        assert stored is None or held(stored) == []
        again = await store.create(a_blob())
        await fill(again)
        assert await again.read(0, again.blob.size) == bytes_of_blob(a_blob())
        other = store.find(a_blob(name="b").id)
        assert other is not None
        assert held(other) == [0, 1, 2]


async def test_what_is_no_blob_is_left_alone_and_half_a_blob_is_removed(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        await fill(await store.create(a_blob()))
    blobs = tmp_path / "blobs"
    (blobs / "README").write_text("not a directory")
    (blobs / "zz").mkdir()
    (blobs / "zz" / "notes").write_text("mine")
    strange = blobs / "zz" / ("0" * 64)
    strange.mkdir()
    place_of(tmp_path, "half").mkdir(parents=True)
    (place_of(tmp_path, "half") / "data").write_text("")
    place_of(tmp_path, "file").parent.mkdir(exist_ok=True)
    place_of(tmp_path, "file").write_text("")
    (tmp_path / "dropped" / "rest").mkdir()

    async with Store.open(tmp_path) as store:
        assert store.blob_ids() == [a_blob().id]
    assert (blobs / "zz" / "notes").read_text() == "mine"
    assert strange.is_dir()
    assert not place_of(tmp_path, "half").exists()
    assert list((tmp_path / "dropped").iterdir()) == []


async def test_the_least_recently_used_blob_makes_room(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path, limit_bytes=7 * PIECE_BYTES) as store:
        for name in "ab":
            await fill(await store.create(a_blob(name=name)))
        await store.sync_loop.flush()
        store.find(a_blob(name="a").id)
        newest = await store.create(a_blob(name="c"))
        await fill(newest)

        assert sorted(store.blob_ids()) == sorted([a_blob(name="a").id, newest.blob.id])
        assert store.statistics().used_bytes == 6 * PIECE_BYTES
        assert not store.statistics().read_through


async def test_the_order_of_use_survives_a_restart(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        for name in "abc":
            await fill(await store.create(a_blob(name=name)))
    async with Store.open(tmp_path) as store:
        store.find(a_blob(name="b").id)
        store.find(a_blob(name="a").id)
        shutil.rmtree(place_of(tmp_path, "b"))

    async with Store.open(tmp_path) as store:
        assert store.blob_ids() == [a_blob(name="c").id, a_blob(name="a").id]


async def test_the_first_refusal_is_warned_of_and_the_end_told_once(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path, limit_bytes=4 * PIECE_BYTES) as store:
        a, b = [await store.create(a_blob(name=name)) for name in "ab"]
        with structlog.testing.capture_logs() as logged, a.pin(), b.pin():
            await fill(a)
            await fill(b, range(1))
            for _ in range(3):
                with pytest.raises(StoreFull, match="4\\.0 KiB are missing"):
                    await b.write_piece(PieceIndex(1), piece_of(b.blob, 1))
            assert (held(b), store.statistics().read_through) == ([0], True)
            assert store.statistics().used_bytes == 4 * PIECE_BYTES
        await store.drop(a.blob.id)
        await b.write_piece(PieceIndex(1), piece_of(b.blob, 1))
        assert (held(b), store.statistics().read_through) == ([0, 1], False)

        assert [line["event"] for line in logged] == ["store.read_through.began"]
        with structlog.testing.capture_logs() as logged:
            mock_clock.jump(CALM_S)
            for piece in (2, 0):
                await b.write_piece(PieceIndex(piece), piece_of(b.blob, piece))
        assert [line["event"] for line in logged] == ["store.read_through.ended"]


async def test_a_full_store_looks_for_victims_now_and_then_not_at_each_piece(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []
    plan = space.plan_eviction

    def count(*arguments: Any, **named: Any) -> Any:
        looked.append(trio.current_time())
        return plan(*arguments, **named)

    monkeypatch.setattr(space, "plan_eviction", count)
    async with Store.open(tmp_path, limit_bytes=3 * PIECE_BYTES) as store:
        a, b = [await store.create(a_blob(name=name)) for name in "ab"]
        with a.pin():
            await fill(a)
            looked.clear()
            for _ in range(20):
                with pytest.raises(StoreFull):
                    await fill(b, range(1))
            assert len(looked) == 1
            mock_clock.jump(REFUSED_FOR_S)
            with pytest.raises(StoreFull):
                await fill(b, range(1))
            assert len(looked) == 2


async def test_the_last_room_of_a_disk_is_left_to_others(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CacheDirectory, "disk", lambda _: Disk(free_bytes=1 << 20, whole_bytes=100 << 20))
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob())
        with pytest.raises(StoreFull, match="are missing"):
            await fill(stored)
        assert (held(stored), store.statistics().free_bytes) == ([], 1 << 20)
        assert store.capacity_bytes == 0


async def test_blobs_go_where_their_inodes_are_wanted(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk(_: object) -> Disk:
        blobs = len(list((tmp_path / "blobs").glob("*/*")))
        return Disk(free_bytes=1 << 40, whole_bytes=1 << 40, free_inodes=20 - 5 * blobs)

    monkeypatch.setattr(CacheDirectory, "disk", disk)
    async with Store.open(tmp_path) as store:
        for name in "abc":
            await store.create(a_blob(name=name))
        newest = await store.create(a_blob(name="d"))

        assert newest.files.made
        assert store.blob_ids() == [a_blob(name=name).id for name in "bcd"]


async def test_a_blob_that_finds_no_room_has_no_files_and_gets_them_with_its_first_piece(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = a_blob()
    async with Store.open(tmp_path) as store:
        with monkeypatch.context() as patched:
            patched.setattr("flyfs.store.effects.make_directory", failing(28, "No space left on device"))
            stored = await store.create(blob)
            assert await store.create(blob) is stored
            assert (store.blob_ids(), store.find(blob.id), place_of(tmp_path).exists()) == ([], None, False)
            assert (stored.read_nowait(0, 1), stored.files.made, store.statistics().read_through) == (None, False, True)
            with pytest.raises(StoreFull, match="No space left on device"):
                await fill(stored)
            assert held(stored) == []
        mock_clock.jump(REFUSED_FOR_S)
        await fill(stored)

        assert (held(stored), store.find(blob.id) is stored, store.statistics().read_through) == ([0, 1, 2], True, False)
        assert await stored.read(0, blob.size) == bytes_of_blob(blob)
    async with Store.open(tmp_path) as store:
        again = store.find(blob.id)
        assert again is not None
        assert held(again) == [0, 1, 2]


async def test_a_blob_without_files_can_be_dropped_replaced_and_forgotten(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        with monkeypatch.context() as patched:
            patched.setattr("flyfs.store.effects.make_directory", failing(28, "No space left on device"))
            old = await store.create(a_blob(4))
            empty = await store.create(a_blob(0, name="empty"))
            assert (empty.have.complete, await empty.read(0, 9)) == (True, b"")
            with old.use():
                pass
            other = await store.create(a_blob(2, piece_size=2 * PIECE_BYTES))
            assert (old.dropped, other.dropped) == (True, False)
            with pytest.raises(Stale):
                await old.write_piece(PieceIndex(0), piece_of(old.blob, 0), proved=True)
            await store.drop(other.blob.id)
            assert other.dropped


async def test_a_blob_that_is_dropped_while_its_files_are_made_leaves_none_that_count(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Event(), threading.Event()
    create = BlobFiles.create

    def slow(*arguments: Any) -> Any:
        started.set()
        go_on.wait(10)
        return create(*arguments)

    async with Store.open(tmp_path) as store:
        with monkeypatch.context() as patched:
            patched.setattr("flyfs.store.effects.make_directory", failing(28, "No space left on device"))
            stored = await store.create(a_blob())
        mock_clock.jump(REFUSED_FOR_S)
        async with trio.open_nursery() as nursery:
            with monkeypatch.context() as patched:
                patched.setattr(BlobFiles, "create", slow)
                nursery.start_soon(expect_stale, stored)
                await trio.to_thread.run_sync(started.wait)
            nursery.start_soon(store.drop, stored.blob.id)
            await wait_all_tasks_blocked()
            go_on.set()
        assert store.blob_ids() == []
        again = await store.create(a_blob())
        await fill(again)
        assert held(again) == [0, 1, 2]


async def expect_stale(stored: StoredBlob) -> None:
    with pytest.raises(Stale):
        await stored.write_piece(PieceIndex(0), piece_of(stored.blob, 0), proved=True)


async def test_who_wants_to_know_hears_of_each_blob_that_went_or_shrank(tmp_path: Path, mock_clock: MockClock) -> None:
    lost: list[str] = []
    async with Store.open(tmp_path) as store:
        store.listen_losses(lost.append)
        a, b = [await store.create(a_blob(name=name)) for name in "ab"]
        await fill(a)
        await store.drop(b.blob.id)
        await store.drop(b.blob.id)
        assert lost == [b.blob.id]
        await a.drop_pieces([PieceIndex(1)])
        assert lost == [b.blob.id, a.blob.id]


async def test_an_exception_of_the_body_leaves_as_it_is_after_the_flush(tmp_path: Path, mock_clock: MockClock) -> None:
    async def fail() -> None:
        async with Store.open(tmp_path) as store:
            await fill(await store.create(a_blob()))
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await fail()
    async with Store.open(tmp_path) as store:
        assert store.statistics().used_bytes == 3 * PIECE_BYTES


async def test_a_cancelled_store_is_flushed_too(tmp_path: Path, mock_clock: MockClock) -> None:
    with trio.CancelScope() as scope:
        async with Store.open(tmp_path) as store:
            await fill(await store.create(a_blob()))
            scope.cancel()
            await trio.sleep_forever()

    async with Store.open(tmp_path) as store:
        assert store.statistics().used_bytes == 3 * PIECE_BYTES


async def test_a_directory_has_one_store_at_a_time(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path / "deep" / "cache"):
        with pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"):
            async with Store.open(tmp_path / "deep" / "cache"):
                pass
    async with Store.open(tmp_path / "deep" / "cache"):
        assert (tmp_path / "deep" / "cache").stat().st_mode & 0o777 == 0o700


async def test_many_small_blobs_keep_few_descriptors(tmp_path: Path, mock_clock: MockClock) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    async with Store.open(tmp_path) as store:
        for number in range(150):
            await fill(await store.create(a_blob(1, name=str(number))))
        await store.sync_loop.flush()

        assert descriptors() - before < 150
        for number in range(150):
            stored = store.find(a_blob(1, name=str(number)).id)
            assert stored is not None
            assert await stored.read(0, 9) == piece_of(stored.blob, 0)[:9]
        assert descriptors() - before < 150
    assert descriptors() == before


async def test_what_all_blobs_are_is_told_from_memory(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        for name in "ab":
            await store.create(a_blob(name=name))
        store.find(a_blob(name="a").id)

        assert store.blobs() == [a_blob(name="b"), a_blob(name="a")]


async def test_leaving_does_not_wait_for_ever_for_a_disk_that_hangs(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, go_on = threading.Event(), threading.Event()

    def hang(_: int) -> None:
        hangs.set()
        go_on.wait(10)

    async def let_time_pass() -> None:
        await trio.to_thread.run_sync(hangs.wait)
        mock_clock.jump(FLUSH_TIMEOUT_S)
        await wait_all_tasks_blocked(0.01)
        go_on.set()

    async with trio.open_nursery() as nursery, Store.open(tmp_path) as store:
        await fill(await store.create(a_blob()))
        monkeypatch.setattr(effects, "sync_data", hang)
        nursery.start_soon(let_time_pass)
    monkeypatch.undo()
    async with Store.open(tmp_path) as store:
        assert store.statistics().used_bytes == 0


async def test_an_order_of_use_that_cannot_be_kept_does_not_spoil_the_end(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    async with Store.open(tmp_path) as store:
        await store.create(a_blob())
        store.find(a_blob().id)
        monkeypatch.setattr("os.utime", refuse)


async def test_writes_that_need_room_together_evict_down_to_the_low_watermark_once(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path, limit_bytes=12 * PIECE_BYTES) as store:
        for name in "abcd":
            await fill(await store.create(a_blob(name=name)))
        await store.sync_loop.flush()
        newest = await store.create(a_blob(name="e"))
        newest.add_digests(digests_of(newest.blob))
        async with trio.open_nursery() as nursery:
            for piece in range(3):
                nursery.start_soon(newest.write_piece, PieceIndex(piece), piece_of(newest.blob, piece))

        assert newest.have.complete
        assert store.blob_ids() == [a_blob(name=name).id for name in "cde"]
        assert store.statistics().used_bytes == 9 * PIECE_BYTES


async def test_what_was_fetched_ahead_and_nobody_read_leaves_memory_a_minute_after_it_is_durable(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[tuple[int, int]] = []

    def note(fd: int, ranges: list[tuple[int, int]]) -> None:
        assert os.fstat(fd).st_size == 6 * PIECE_BYTES
        dropped.extend(ranges)
        drop_pages(fd, ranges)

    monkeypatch.setattr("flyfs.store.sync_loop.drop_pages", note)
    monkeypatch.setattr("flyfs.store.store.OpenBlobs", lambda: OpenBlobs(most_idle=1))
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(6))
        stored.add_digests(digests_of(stored.blob))
        for piece in (0, 1, 2, 4, 5):
            await stored.write_piece(PieceIndex(piece), piece_of(stored.blob, piece))
        await stored.write_piece(PieceIndex(3), piece_of(stored.blob, 3), demand=True)
        assert stored.read_nowait(PIECE_BYTES - 1, 2) is not None
        await stored.bring_into_page_cache(5 * PIECE_BYTES, 6 * PIECE_BYTES)
        while not stored.durable.complete:
            await wait_all_tasks_blocked(0.002)
            mock_clock.jump(1.0)
        other = await store.create(a_blob(name="other"))
        assert not stored.files.is_open
        mock_clock.jump(50.0)
        await wait_all_tasks_blocked(0.01)
        assert (dropped, sorted(stored.unread)) == ([], [2, 4])

        while not dropped:
            mock_clock.jump(10.0)
            await wait_all_tasks_blocked(0.01)
        assert (dropped, stored.unread) == ([(2 * PIECE_BYTES, 3 * PIECE_BYTES), (4 * PIECE_BYTES, 5 * PIECE_BYTES)], {})
        assert store.blob_ids() == [stored.blob.id, other.blob.id]  # to drop pages is no use of the blob
        assert await stored.read(0, stored.blob.size) == bytes_of_blob(stored.blob)


async def test_pages_of_a_blob_that_is_gone_are_left_alone(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob())
        await fill(stored)
        while not stored.durable.complete:
            await wait_all_tasks_blocked(0.002)
            mock_clock.jump(1.0)
        files = stored.files
        files.close()
        shutil.rmtree(place_of(tmp_path))
        mock_clock.jump(100.0)
        await wait_all_tasks_blocked(0.01)
        assert not stored.unread
        await fill(await store.create(a_blob(name="other")))


async def test_a_process_without_descriptors_evicts_nothing_it_would_have_to_open(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise Unavailable("Too many open files")

    async with Store.open(tmp_path) as store:
        await fill(await store.create(a_blob(40)))
    monkeypatch.setattr(BlobFiles, "load", refuse)
    async with Store.open(tmp_path, limit_bytes=40 * PIECE_BYTES) as store:
        other = await store.create(a_blob(name="b"))
        with pytest.raises(StoreFull):
            await fill(other)
        monkeypatch.undo()
        mock_clock.jump(REFUSED_FOR_S)
        await fill(other)
        assert len(store.blob_ids()) == 2


async def test_a_lower_limit_is_kept_from_the_start_on(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        for name in "abcd":
            await fill(await store.create(a_blob(name=name)))
    async with Store.open(tmp_path, limit_bytes=7 * PIECE_BYTES) as store:
        await until_idle(lambda: len(store.blob_ids()) == 2)
        assert store.statistics().used_bytes == 6 * PIECE_BYTES


async def test_a_write_waits_for_the_room_that_is_being_made(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path, limit_bytes=4 * PIECE_BYTES) as store:
        a, b = await store.create(a_blob(4, name="a")), await store.create(a_blob(name="b"))
        with a.use(), b.use(range(3)):
            await fill(a)
            await fill(b)

            assert b.have.complete
            assert a.have.count <= 1
            await until_idle(lambda: store.statistics().used_bytes == (3 + a.have.count) * PIECE_BYTES)
            assert not store.statistics().read_through


async def until_idle(happened: Callable[[], bool]) -> None:
    for _ in range(500):
        if happened():
            return
        await wait_all_tasks_blocked(0.002)
    raise AssertionError("it never became so")


def failing(errno: int, message: str) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno, message)

    return fail
