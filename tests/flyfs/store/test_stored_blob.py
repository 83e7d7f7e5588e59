"""One stored blob: reads that never lie, writes that count once, listeners, and who keeps it open."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.core.errors import Corrupt, Stale, StoreFull, Unavailable
from flyfs.core.grid import MIB
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import Fork
from flyfs.store import effects
from flyfs.store.blob_files import BlobFiles
from flyfs.store.faults import Expected
from flyfs.store.open_blobs import OpenBlobs
from flyfs.store.page_cache import BUFFER_BYTES
from flyfs.store.reader import PiecesLost
from flyfs.store.space import REFUSED_FOR_S
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from flyfs.store.write_queue import MEMORY_SHARE
from tests.flyfs.store.builders import KEY, PIECE_BYTES, a_blob, bytes_of_blob, digests_of, fill, held, piece_of

ZERO, ONE, TWO = PieceIndex(0), PieceIndex(1), PieceIndex(2)


def go_cold(stored: StoredBlob) -> None:
    os.fsync(stored.fileno)
    os.posix_fadvise(stored.fileno, 0, 0, os.POSIX_FADV_DONTNEED)


async def test_held_bytes_are_read_at_any_offset_and_clipped_to_the_blob(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(2.5))
        await fill(stored)
        whole = bytes_of_blob(stored.blob)

        for offset in (0, 1, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES + 7, stored.blob.size - 1):
            for size in (0, 1, PIECE_BYTES, 9999):
                assert stored.read_nowait(offset, size) == whole[offset : offset + size]
                assert await stored.read(offset, size) == whole[offset : offset + size]
        assert stored.read_nowait(stored.blob.size + 5, 5) == b""
        assert await stored.read(stored.blob.size + 5, 5) == b""


async def test_only_pieces_that_are_held_are_read(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        await fill(stored, range(1, 2))

        assert stored.read_nowait(PIECE_BYTES, PIECE_BYTES) == piece_of(stored.blob, 1)
        assert stored.read_nowait(PIECE_BYTES - 1, 2) is None
        assert stored.read_nowait(0, 1) is None
        assert stored.read_nowait(stored.blob.size, 1) == b""
        with pytest.raises(PiecesLost, match="not all held"):
            await stored.read(2 * PIECE_BYTES - 1, 2)
        with pytest.raises(PiecesLost, match="not all held"):
            await stored.bring_into_page_cache(2 * PIECE_BYTES - 1, 2 * PIECE_BYTES + 1)


async def test_cold_bytes_are_read_in_a_thread_and_brought_into_the_page_cache(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(40))
        await fill(stored)
        for _ in range(5):
            go_cold(stored)
            assert await stored.read(20 * PIECE_BYTES, PIECE_BYTES) == piece_of(stored.blob, 20)

        go_cold(stored)
        await stored.bring_into_page_cache(3, stored.blob.size)
        assert stored.read_nowait(20 * PIECE_BYTES, PIECE_BYTES) == piece_of(stored.blob, 20)
        await stored.bring_into_page_cache(3, stored.blob.size)


async def test_a_read_larger_than_the_static_buffer_is_whole(tmp_path: Path, mock_clock: MockClock) -> None:
    blob = a_blob(3, piece_size=BUFFER_BYTES // 2)
    async with Store.open(tmp_path) as store:
        stored = await store.create(blob)
        await fill(stored)

        assert stored.read_nowait(0, blob.size) is None
        assert await stored.read(0, blob.size) == bytes_of_blob(blob)


async def test_only_proved_bytes_are_kept(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(2.5))
        with pytest.raises(Corrupt, match="no digest known"):
            await stored.write_piece(ZERO, piece_of(stored.blob, 0))
        stored.add_digests(digests_of(stored.blob))
        with pytest.raises(Corrupt, match="does not match"):
            await stored.write_piece(ZERO, piece_of(stored.blob, 1))
        with pytest.raises(Corrupt, match="does not match"):
            await stored.write_piece(TWO, piece_of(stored.blob, 1))
        with pytest.raises(ValueError, match="has 2048 bytes, not 4096"):
            await stored.write_piece(TWO, piece_of(stored.blob, 1), proved=True)
        with pytest.raises(ValueError, match="no piece 3"):
            await stored.write_piece(PieceIndex(3), piece_of(stored.blob, 1))

        assert (held(stored), store.statistics().used_bytes) == ([], 0)


async def test_digests_that_fork_or_do_not_fit_are_refused(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        stored.add_digests(digests_of(stored.blob))
        stored.add_digests(digests_of(stored.blob))
        assert len(stored.unsaved_digests) == 1
        with pytest.raises(Fork):
            stored.add_digests(KEY.sign(stored.blob.id, 1, b"x" * 32))
        with pytest.raises(ValueError, match="does not fit"):
            stored.add_digests(KEY.sign(stored.blob.id, 2, b"x" * 64))


async def test_a_piece_is_written_once_however_many_bring_it(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    write_run = effects.write_run

    def count(fd: int, pieces: Sequence[memoryview], offset: int) -> None:
        writes.append(offset)
        write_run(fd, pieces, offset)

    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        stored.add_digests(digests_of(stored.blob))
        monkeypatch.setattr(effects, "write_run", count)
        told: list[tuple[int, bool]] = []
        stored.listen(lambda piece, durable: told.append((piece, durable)))
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(stored.write_piece, ONE, piece_of(stored.blob, 1))

        assert (writes, told) == ([PIECE_BYTES], [(1, False)])
        await stored.write_piece(ONE, memoryview(b"not even looked at"))


async def test_a_write_that_the_disk_refused_can_be_tried_again_after_a_moment(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[str] = []
    write_run = effects.write_run
    calls: list[int] = []

    def refuse_first(fd: int, pieces: Sequence[memoryview], offset: int) -> None:
        calls.append(offset)
        if len(calls) == 1:
            write_run(fd, [pieces[0][:100]], offset)
            raise OSError(122, "Disk quota exceeded")
        write_run(fd, pieces, offset)

    async def write(stored: StoredBlob) -> None:
        with pytest.raises(StoreFull) as refused:
            await stored.write_piece(ONE, piece_of(stored.blob, 1))
        outcomes.append(refused.value.message)

    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        stored.add_digests(digests_of(stored.blob))
        monkeypatch.setattr(effects, "write_run", refuse_first)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, stored)
            nursery.start_soon(write, stored)

        assert outcomes == ["the store takes no more bytes: Disk quota exceeded"] * 2
        assert (len(calls), store.statistics().read_through) == (1, True)
        mock_clock.jump(REFUSED_FOR_S)
        await stored.write_piece(ONE, piece_of(stored.blob, 1))
        assert stored.read_nowait(PIECE_BYTES, PIECE_BYTES) == piece_of(stored.blob, 1)
        assert store.statistics().used_bytes == PIECE_BYTES


async def test_where_the_kernel_has_less_room_than_the_rule_something_goes_and_the_write_is_tried_again(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run = effects.write_run
    blobs = tmp_path / "blobs"

    def quota(fd: int, pieces: list[memoryview], offset: int) -> None:
        if sum(file.stat().st_blocks for file in blobs.glob("*/*/data")) >= 3 * PIECE_BYTES // 512:
            raise OSError(122, "Disk quota exceeded")
        write_run(fd, pieces, offset)

    monkeypatch.setattr(effects, "write_run", quota)
    async with Store.open(tmp_path) as store:
        a, b = [await store.create(a_blob(name=name)) for name in "ab"]
        await fill(a)
        with b.use(range(3)):
            await fill(b, range(1))
        assert (store.blob_ids(), held(b)) == ([b.blob.id], [0])
        with b.pin():
            await fill(b)
            other = await store.create(a_blob(name="c"))
            with pytest.raises(StoreFull, match="quota"):
                await fill(other)


async def test_want_of_descriptors_is_no_fault_of_the_piece(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: BlobFiles) -> None:
        raise Unavailable("Too many open files")

    monkeypatch.setattr("flyfs.store.store.OpenBlobs", lambda: OpenBlobs(most_idle=0))
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        monkeypatch.setattr(BlobFiles, "open", refuse)
        with pytest.raises(StoreFull, match="Too many open files"):
            await fill(stored)


async def test_listeners_hear_of_held_and_then_of_durable_pieces_until_they_end(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        told: list[tuple[int, bool]] = []
        deaf: list[tuple[int, bool]] = []
        end = stored.listen(lambda piece, durable: deaf.append((piece, durable)))
        end()
        end()
        durable = trio.Event()

        def hear(piece: PieceIndex, is_durable: bool) -> None:
            told.append((piece, is_durable))
            if is_durable:
                durable.set()

        stored.listen(hear)
        await fill(stored, range(2))
        assert (held(stored), list(stored.durable)) == ([0, 1], [])
        await wait_all_tasks_blocked()
        mock_clock.jump(1.0)
        await durable.wait()

        assert (told, deaf) == ([(0, False), (1, False), (0, True), (1, True)], [])
        assert list(stored.durable) == [0, 1]
        assert not stored.in_use


async def test_a_blob_that_is_dropped_while_it_is_written_takes_no_more(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Event(), threading.Event()
    write_run = effects.write_run

    def slow(fd: int, pieces: Sequence[memoryview], offset: int) -> None:
        started.set()
        go_on.wait(10)
        write_run(fd, pieces, offset)

    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        stored.add_digests(digests_of(stored.blob))
        async with trio.open_nursery() as nursery:
            with monkeypatch.context() as patched:
                patched.setattr(effects, "write_run", slow)
                nursery.start_soon(expect_stale, stored)
                await trio.to_thread.run_sync(started.wait)
                await store.drop(stored.blob.id)
            successor = await store.create(stored.blob)
            successor.add_digests(digests_of(successor.blob))
            await successor.write_piece(ZERO, piece_of(successor.blob, 0), demand=True)  # in the lane that is free
            go_on.set()

        assert (held(successor), store.statistics().used_bytes) == ([0], PIECE_BYTES)
        assert held(stored) == []
        with pytest.raises(Stale):
            await stored.write_piece(ONE, piece_of(stored.blob, 1))
        with pytest.raises(Stale):
            assert stored.fileno
        stored.add_digests(digests_of(stored.blob, 0, 1))
        assert stored.unsaved_digests == ()


async def test_a_dropped_blob_with_no_reader_left_is_stale(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        await fill(stored)
        await store.drop(stored.blob.id)

        assert stored.read_nowait(0, 1) is None
        with pytest.raises(Stale):
            await stored.read(0, 1)


async def expect_stale(stored: StoredBlob) -> None:
    with pytest.raises(Stale):
        await stored.write_piece(ZERO, piece_of(stored.blob, 0))


async def test_a_cancelled_write_leaves_no_flight_and_no_promise(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        stored.add_digests(digests_of(stored.blob))
        with trio.CancelScope() as scope:
            scope.cancel()
            await stored.write_piece(ZERO, piece_of(stored.blob, 0))
        assert scope.cancelled_caught

        await stored.write_piece(ZERO, piece_of(stored.blob, 0))
        assert (held(stored), store.statistics().used_bytes) == ([0], PIECE_BYTES)


async def test_a_piece_that_nobody_vouches_for_is_held_but_not_durable(tmp_path: Path, mock_clock: MockClock) -> None:
    blob = a_blob(3)
    async with Store.open(tmp_path) as store:
        stored = await store.create(blob)
        await stored.write_piece(ZERO, piece_of(blob, 0), proved=True)
        await stored.write_piece(ONE, piece_of(blob, 1), proved=True)
        assert held(stored) == [0, 1]
        stored.add_digests(digests_of(blob, 0, 1))

    async with Store.open(tmp_path) as store:
        again = store.find(blob.id)
        assert again is not None
        assert held(again) == [0]


async def test_a_blob_that_closes_forgets_what_cannot_become_durable(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flyfs.store.store.OpenBlobs", lambda: OpenBlobs(most_idle=1))
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        await stored.write_piece(ZERO, piece_of(stored.blob, 0), proved=True)
        await store.create(a_blob(name="other"))

        assert (held(stored), store.statistics().used_bytes) == ([], 0)
        await stored.write_piece(ZERO, piece_of(stored.blob, 0), proved=True)
        stored.add_digests(digests_of(stored.blob))
        await store.sync_loop.flush()
        assert (held(stored), list(stored.durable)) == ([0], [0])


async def test_an_idle_blob_closes_and_opens_again_when_it_is_used(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flyfs.store.store.OpenBlobs", lambda: OpenBlobs(most_idle=1))
    async with Store.open(tmp_path) as store:
        stored = [await store.create(a_blob(name=name)) for name in "ab"]
        for one in stored:
            await fill(one)
        await store.sync_loop.flush()

        for one in stored * 2:
            assert one.read_nowait(0, one.blob.size) == bytes_of_blob(one.blob)
        with stored[0].use():
            descriptor = stored[0].fileno
            assert stored[1].read_nowait(0, 1) is not None
            await store.create(a_blob(name="c"))
            assert stored[0].fileno == descriptor


async def test_a_blob_that_was_never_opened_again_can_be_used_no_more(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flyfs.store.store.OpenBlobs", lambda: OpenBlobs(most_idle=0))
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob())
        with stored.use():
            assert store.find(stored.blob.id) is stored
        assert not stored.in_use


async def test_a_sync_that_fails_takes_the_pieces_back_and_those_that_the_disk_has_count_again(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(4))
        await fill(stored, range(1))
        await store_idles(mock_clock, lambda: list(stored.durable) == [0])
        told: list[tuple[int, bool]] = []
        await fill(stored, range(1, 4))
        stored.listen(lambda piece, durable: told.append((piece, durable)))
        syncs: list[int] = []

        def lose_piece_2(fd: int) -> None:
            """What a disk does that cannot write one of the pages."""
            syncs.append(fd)
            if len(syncs) == 1:
                os.pwrite(fd, bytes(PIECE_BYTES), 2 * PIECE_BYTES)
                os.fsync(fd)
                raise OSError(5, "Input/output error")
            os.fdatasync(fd)

        with monkeypatch.context() as patched:
            patched.setattr(effects, "sync_data", lose_piece_2)
            patched.setattr(StoredBlob, "pieces_lost", noting(told_lost := [], StoredBlob.pieces_lost))
            await store_idles(mock_clock, lambda: list(stored.durable) == [0, 1, 3])

        assert told_lost == [(1, 2, 3)]
        assert told == [(1, False), (3, False), (1, True), (3, True)]
        assert (held(stored), store.statistics().used_bytes) == ([0, 1, 3], 3 * PIECE_BYTES)
        await fill(stored)
    async with Store.open(tmp_path) as store:
        assert store.statistics().used_bytes == 4 * PIECE_BYTES


def noting(lost: list[tuple[int, ...]], method: Callable[..., None]) -> Callable[..., None]:
    def note(stored: StoredBlob, pieces: tuple[int, ...]) -> None:
        lost.append(pieces)
        method(stored, pieces)

    return note


async def test_a_disk_that_never_syncs_keeps_nothing(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))

        def fail_for_data(fd: int) -> None:
            if fd == stored.fileno:
                raise OSError(5, "Input/output error")
            os.fdatasync(fd)

        with monkeypatch.context() as patched:
            patched.setattr(effects, "sync_data", fail_for_data)
            await fill(stored)
            await store_idles(mock_clock, lambda: not stored._uses)
            assert (held(stored), store.statistics().used_bytes, list(stored.durable)) == ([], 0, [])
        await fill(stored)
    async with Store.open(tmp_path) as store:
        assert store.statistics().used_bytes == 3 * PIECE_BYTES


async def test_a_piece_that_comes_anew_while_the_old_one_is_read_back_counts_once(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, go_on = threading.Event(), threading.Event()
    pieces_on_disk = BlobFiles.pieces_on_disk

    def slow(files: BlobFiles, expected: Sequence[Expected]) -> list[PieceIndex]:
        reads.set()
        go_on.wait(10)
        return pieces_on_disk(files, expected)

    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        await fill(stored)
        monkeypatch.setattr(BlobFiles, "pieces_on_disk", slow)
        with monkeypatch.context() as patched:
            patched.setattr(effects, "sync_data", failing(5, "Input/output error"))
            await store_idles(mock_clock, reads.is_set)
        await fill(stored, range(1))
        with disk_held(monkeypatch) as written:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stored.write_piece, ONE, piece_of(stored.blob, 1))
                await wait_all_tasks_blocked()
                go_on.set()
                while held(stored) != [0, 2]:
                    await wait_all_tasks_blocked(0.002)
                written.set()
        await store_idles(mock_clock, lambda: stored.durable.complete)
        assert store.statistics().used_bytes == 3 * PIECE_BYTES


@contextmanager
def disk_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Pieces that begin to be written are not, before the event is set."""
    go_on = threading.Event()
    write_run = effects.write_run

    def hold(fd: int, pieces: Sequence[memoryview], offset: int) -> None:
        assert go_on.wait(10)
        write_run(fd, pieces, offset)

    with monkeypatch.context() as patched:
        patched.setattr(effects, "write_run", hold)
        yield go_on
        go_on.set()


async def test_the_disk_begins_early_with_long_runs_and_that_counts_for_nothing(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[int, int]] = []
    start_writeback = effects.start_writeback

    def note(fd: int, start: int, stop: int) -> None:
        begun.append((start, stop))
        start_writeback(fd, start, stop)

    monkeypatch.setattr(effects, "start_writeback", note)
    blob = a_blob(9.5, piece_size=MIB)
    async with Store.open(tmp_path) as store:
        stored = await store.create(blob)
        await fill(stored, range(9, 10))
        await fill(stored, range(1, 9))
        while not begun:
            await wait_all_tasks_blocked(0.002)

        assert (begun, list(stored.durable)) == ([(MIB, blob.size)], [])
        await store_idles(mock_clock, lambda: stored.durable.count == 9)


async def test_write_back_that_cannot_begin_is_a_failed_sync(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(8, piece_size=MIB))
        monkeypatch.setattr(BlobFiles, "pieces_on_disk", lambda *_: [])
        monkeypatch.setattr(effects, "start_writeback", failing(5, "Input/output error"))
        await fill(stored)
        while held(stored):
            await wait_all_tasks_blocked(0.002)
        assert store.statistics().used_bytes == 0


async def test_a_bitmap_that_cannot_be_written_is_written_later(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        with monkeypatch.context() as patched:
            patched.setattr(effects, "rename", failing(28, "No space left on device"))
            await fill(stored)
            mock_clock.jump(1.0)
            await wait_all_tasks_blocked(0.02)
            assert (held(stored), list(stored.durable)) == ([0, 1, 2], [])
        await store_idles(mock_clock, lambda: list(stored.durable) == [0, 1, 2])


def failing(errno: int, message: str) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno, message)

    return fail


async def store_idles(clock: MockClock, until: Callable[[], bool]) -> None:
    """Lets the sync loop's deadlines pass until something is so; the disk's threads run in real time."""
    for _ in range(500):
        if until():
            return
        await wait_all_tasks_blocked(0.002)
        clock.jump(1.0)
    raise AssertionError("it never became so")


async def test_writers_wait_while_too_much_is_unsynced_but_a_demand_does_not(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flyfs.store.store.memory_bytes", lambda: 4 * PIECE_BYTES * MEMORY_SHARE)
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(9))
        done = trio.Event()
        with syncs_held(monkeypatch):
            async with trio.open_nursery() as nursery:

                async def write_all() -> None:
                    await fill(stored, range(7))
                    done.set()

                nursery.start_soon(write_all)
                while len(held(stored)) < 4:
                    await wait_all_tasks_blocked(0.002)
                await wait_all_tasks_blocked(0.01)
                assert held(stored) == [0, 1, 2, 3]
                await stored.write_piece(PieceIndex(8), piece_of(stored.blob, 8), demand=True)
                stored.piece_demanded(PieceIndex(4))  # one too many: the allowance is spent
                await wait_all_tasks_blocked(0.01)
                assert held(stored) == [0, 1, 2, 3, 8]
                nursery.cancel_scope.cancel()
        assert not done.is_set()
        await fill(stored, range(9))
        assert stored.have.complete


@contextmanager
def syncs_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A disk that takes writes, but does not end a sync."""
    go_on = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(effects, "sync_data", lambda _: go_on.wait(10))
        yield
        go_on.set()


async def test_a_mark_of_a_blob_that_was_dropped_meanwhile_may_fail_unheard(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks, go_on = threading.Event(), threading.Event()

    def fail_late(*_: object) -> None:
        marks.set()
        assert go_on.wait(10)
        raise FileNotFoundError(2, "No such file or directory")

    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob())
        await fill(stored)
        with monkeypatch.context() as patched, capture_logs() as logs:
            patched.setattr(BlobFiles, "append_digests", fail_late)
            await store_idles(mock_clock, marks.is_set)
            await store.drop(stored.blob.id)
            go_on.set()
            await store_idles(mock_clock, lambda: not stored.in_use)
    assert [entry["event"] for entry in logs if entry["log_level"] != "info"] == []


@pytest.mark.parametrize("lost", [False, True], ids=["written", "lost"])
async def test_what_left_memory_before_it_was_synced_is_proved_before_it_is_served(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        await fill(stored, range(2))
        await stored.write_piece(TWO, piece_of(stored.blob, 2), proved=True)
        if lost:  # the disk could not write it, and the kernel needed the memory
            os.pwrite(stored.fileno, bytes(PIECE_BYTES), PIECE_BYTES)
        go_cold(stored)
        monkeypatch.setattr(
            "flyfs.store.page_cache.PageCache.read_nowait", lambda *_: None
        )  # a fast disk is too fast for a probe

        assert await stored.read(0, 9) == piece_of(stored.blob, 0)[:9]
        if lost:
            with pytest.raises(PiecesLost):
                await stored.bring_into_page_cache(0, 2 * PIECE_BYTES)
            assert held(stored) == [0, 2]
        else:
            await stored.bring_into_page_cache(0, 2 * PIECE_BYTES)
            assert held(stored) == [0, 1, 2]


async def test_what_nobody_vouches_for_yet_is_served_from_wherever_it_is(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(3))
        await stored.write_piece(ZERO, piece_of(stored.blob, 0), proved=True)
        go_cold(stored)
        monkeypatch.setattr("flyfs.store.page_cache.PageCache.read_nowait", lambda *_: None)

        assert await stored.read(0, PIECE_BYTES) == piece_of(stored.blob, 0)
