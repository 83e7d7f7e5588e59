"""Reading from the disk: what has to be proved is proved once, what is damaged is lost to the reader and to the store."""

import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from flyfs.core.errors import StoreFull
from flyfs.core.ids import PieceIndex
from flyfs.core.verify import Verify
from flyfs.store import reader
from flyfs.store.faults import fault_of
from flyfs.store.open_blobs import OpenBlobs
from flyfs.store.page_cache import PageCache
from flyfs.store.reader import PiecesLost
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from tests.flyfs.store.builders import PIECE_BYTES, a_blob, bytes_of_blob, fill, held, piece_of

BLOB = a_blob(4.5)
WHOLE = bytes_of_blob(BLOB)


@asynccontextmanager
async def reopened(directory: Path, verify: Verify = Verify.ALWAYS) -> AsyncIterator[tuple[Store, StoredBlob]]:
    """A store that holds the whole blob since an earlier run."""
    async with Store.open(directory) as store:
        await fill(await store.create(BLOB))
    async with Store.open(directory, verify=verify) as store:
        stored = store.find(BLOB.id)
        assert stored is not None
        with stored.use():
            yield store, stored


class Proofs:
    """Counts what is proved, and may hold it up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.starts: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()
        monkeypatch.setattr(reader, "fault_of", self._prove)

    def _prove(self, fd: int, start: int, *rest: Any) -> str | None:
        self.starts.append(start)
        self.go_on.wait(10)
        return fault_of(fd, start, *rest)


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> Proofs:
    return Proofs(monkeypatch)


def damage(stored: StoredBlob, piece: int) -> None:
    os.pwrite(stored.fileno, b"damage", piece * PIECE_BYTES + 7)


async def test_a_piece_is_proved_before_it_is_first_read_and_then_never_again(
    tmp_path: Path, mock_clock: MockClock, proofs: Proofs
) -> None:
    async with reopened(tmp_path) as (_, stored):
        assert stored.read_nowait(0, 1) is None
        assert await stored.read(PIECE_BYTES - 1, 2) == WHOLE[PIECE_BYTES - 1 : PIECE_BYTES + 1]
        assert proofs.starts == [0, PIECE_BYTES]
        assert stored.read_nowait(0, 2 * PIECE_BYTES) == WHOLE[: 2 * PIECE_BYTES]
        assert stored.read_nowait(PIECE_BYTES, PIECE_BYTES + 1) is None

        await stored.bring_into_page_cache(4 * PIECE_BYTES, BLOB.size)
        assert stored.read_nowait(4 * PIECE_BYTES, 99_999) == WHOLE[4 * PIECE_BYTES :]
        assert await stored.read(0, BLOB.size) == WHOLE
        assert sorted(proofs.starts) == [0, PIECE_BYTES, 2 * PIECE_BYTES, 3 * PIECE_BYTES, 4 * PIECE_BYTES]


async def test_what_is_trusted_is_served_without_a_proof(tmp_path: Path, mock_clock: MockClock, proofs: Proofs) -> None:
    for verify in (Verify.FIRST_USE, Verify.NEVER):
        async with reopened(tmp_path, verify) as (_, stored):
            assert stored.read_nowait(0, BLOB.size) == WHOLE
            await stored.bring_into_page_cache(0, BLOB.size)
    assert proofs.starts == []


async def test_several_readers_of_a_piece_prove_it_once(tmp_path: Path, mock_clock: MockClock, proofs: Proofs) -> None:
    async def read(offset: int) -> None:
        assert await stored.read(offset, 100) == WHOLE[offset : offset + 100]

    async with reopened(tmp_path) as (_, stored):
        proofs.go_on.clear()
        async with trio.open_nursery() as nursery:
            for offset in (0, 5, 1000, 3000):
                nursery.start_soon(read, offset)
            nursery.start_soon(stored.bring_into_page_cache, 0, PIECE_BYTES)
            await trio.testing.wait_all_tasks_blocked(0.01)
            proofs.go_on.set()
    assert proofs.starts == [0]


async def test_a_damaged_piece_is_lost_and_the_others_are_served(tmp_path: Path, mock_clock: MockClock) -> None:
    async with reopened(tmp_path) as (store, stored):
        damage(stored, 2)
        assert await stored.read(0, 2 * PIECE_BYTES) == WHOLE[: 2 * PIECE_BYTES]
        for _ in range(2):
            with pytest.raises(PiecesLost, match="not all held"):
                await stored.read(PIECE_BYTES, 2 * PIECE_BYTES)
            with pytest.raises(PiecesLost, match="not all held"):
                await stored.bring_into_page_cache(2 * PIECE_BYTES, 3 * PIECE_BYTES)
        assert (held(stored), list(stored.durable)) == ([0, 1, 3, 4], [0, 1, 3, 4])
        assert store.statistics().damaged == 1
        while 2 in stored.drops:
            await trio.testing.wait_all_tasks_blocked(0.002)
        assert store.statistics().used_bytes == BLOB.size - PIECE_BYTES

        await stored.write_piece(PieceIndex(2), piece_of(BLOB, 2))
        assert stored.read_nowait(PIECE_BYTES, 2 * PIECE_BYTES) == WHOLE[PIECE_BYTES : 3 * PIECE_BYTES]
    async with Store.open(tmp_path) as store:
        again = store.find(BLOB.id)
        assert again is not None
        assert held(again) == [0, 1, 2, 3, 4]
        assert await again.read(0, BLOB.size) == WHOLE


async def test_a_data_file_that_was_cut_loses_what_is_behind_the_cut_and_gets_its_length_back(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with reopened(tmp_path, Verify.NEVER) as (_, stored):
        os.truncate(stored.fileno, PIECE_BYTES + 5)

        assert stored.read_nowait(PIECE_BYTES, 6) is None
        with pytest.raises(PiecesLost):
            await stored.read(PIECE_BYTES, 6)
        with pytest.raises(PiecesLost):
            await stored.bring_into_page_cache(3 * PIECE_BYTES, BLOB.size)
        with pytest.raises(PiecesLost):
            await stored.read(2 * PIECE_BYTES, 1)
        assert held(stored) == [0]
        assert os.fstat(stored.fileno).st_size == BLOB.size
        assert await stored.read(0, PIECE_BYTES) == WHOLE[:PIECE_BYTES]


async def test_a_write_that_extends_a_cut_file_does_not_make_right_bytes_of_its_zeros(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(BLOB)
        await fill(stored, range(3))
        os.truncate(stored.fileno, PIECE_BYTES)
        await stored.write_piece(PieceIndex(4), piece_of(BLOB, 4))

        assert stored.read_nowait(2 * PIECE_BYTES, 1) is None
        with pytest.raises(PiecesLost):
            await stored.read(PIECE_BYTES, PIECE_BYTES)
        assert await stored.read(0, PIECE_BYTES) == WHOLE[:PIECE_BYTES]
        assert await stored.read(4 * PIECE_BYTES, PIECE_BYTES) == WHOLE[4 * PIECE_BYTES :]


def refusing(times: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """``call``, after the disk has failed so many times."""
    left = [times]

    def refuse(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(5, "Input/output error")
        return call(*arguments)

    return refuse


@pytest.mark.parametrize("times", [1, 2])
async def test_a_disk_that_fails_to_read_costs_the_pieces_it_does_not_give(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    async with reopened(tmp_path, Verify.NEVER) as (_, stored):
        monkeypatch.setattr(PageCache, "read_nowait", lambda *_: None)  # a fast disk is too fast for a probe
        monkeypatch.setattr(PageCache, "holds_nowait", lambda *_: False)
        monkeypatch.setattr(reader, "read_whole", refusing(times, reader.read_whole))
        if times == 1:  # a fault that passed: the piece was proved again
            assert await stored.read(5, 6) == WHOLE[5:11]
            assert held(stored) == [0, 1, 2, 3, 4]
        else:
            with pytest.raises(PiecesLost):
                await stored.read(5, 6)
            assert held(stored) == [1, 2, 3, 4]
        monkeypatch.setattr(reader, "read_into_cache", refusing(times, reader.read_into_cache))
        monkeypatch.setattr(os, "preadv", refusing(times - 1, os.preadv))  # the proof fails, too
        if times == 1:
            await stored.bring_into_page_cache(PIECE_BYTES, 2 * PIECE_BYTES)
        else:
            with pytest.raises(PiecesLost):
                await stored.bring_into_page_cache(PIECE_BYTES, 2 * PIECE_BYTES)
            assert held(stored) == [2, 3, 4]


async def test_a_piece_that_nobody_vouches_for_cannot_be_proved(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(BLOB)
        await stored.write_piece(PieceIndex(0), piece_of(BLOB, 0), proved=True)
        stored.proofs.doubted([PieceIndex(0), PieceIndex(1)])
        with pytest.raises(PiecesLost):
            await stored.read(0, 1)
        assert (held(stored), store.statistics().damaged) == ([], 1)


async def test_a_reader_that_gives_up_does_not_wait_for_the_disk(tmp_path: Path, mock_clock: MockClock, proofs: Proofs) -> None:
    async with reopened(tmp_path) as (_, stored):
        proofs.go_on.clear()
        gave_up = trio.Event()

        async def read_for_a_while() -> None:
            with trio.move_on_after(5):
                await stored.read(0, 1)
            gave_up.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_for_a_while)
            await trio.testing.wait_all_tasks_blocked(0.01)
            mock_clock.jump(5)
            await gave_up.wait()
        proofs.go_on.set()
        assert await stored.read(0, BLOB.size) == WHOLE


async def test_a_piece_that_was_written_anew_while_it_was_proved_is_not_lost(
    tmp_path: Path, mock_clock: MockClock, proofs: Proofs
) -> None:
    async with reopened(tmp_path) as (store, stored):
        damage(stored, 0)
        proofs.go_on.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stored.read, 0, 1)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await stored.drop_pieces((PieceIndex(0),))
            await stored.write_piece(PieceIndex(0), piece_of(BLOB, 0))
            proofs.go_on.set()
        assert (held(stored), store.statistics().damaged) == ([0, 1, 2, 3, 4], 0)


# -- files that go while their blob is in use --------------------------------------------------------------------------


@asynccontextmanager
async def closed_blob(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Store, StoredBlob]]:
    """A whole, durable blob that somebody holds while its descriptors are closed."""
    monkeypatch.setattr("flyfs.store.store.OpenBlobs", lambda: OpenBlobs(most_idle=0))
    async with reopened(directory, Verify.NEVER) as (store, stored):
        stored.close_descriptors()
        yield store, stored


@pytest.mark.parametrize("harm", [
    shutil.rmtree,
    lambda place: os.truncate(place / "data", 5),
    lambda place: (place / "data").unlink(),
], ids=["removed", "cut", "without data"])  # fmt: skip
@pytest.mark.parametrize("how", ["read", "page cache", "write"])
async def test_a_blob_whose_files_are_gone_begins_anew(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], object], how: str
) -> None:
    async with closed_blob(tmp_path, monkeypatch) as (store, stored):
        harm(next(tmp_path.glob("blobs/*/*")))

        assert stored.read_nowait(0, 1) is None
        if how == "read":
            with pytest.raises(PiecesLost):
                await stored.read(0, 1)
        elif how == "page cache":
            with pytest.raises(PiecesLost):
                await stored.bring_into_page_cache(0, 1)
        assert (held(stored), list(stored.durable), store.statistics().used_bytes) == ([], [], 0)
        await fill(stored)
        assert stored.read_nowait(0, BLOB.size) == WHOLE
    async with Store.open(tmp_path) as store:
        again = store.find(BLOB.id)
        assert again is not None
        assert again.have.complete
        assert await again.read(0, BLOB.size) == WHOLE


async def test_a_blob_whose_files_cannot_be_made_anew_takes_no_bytes(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with closed_blob(tmp_path, monkeypatch) as (store, stored):
        shutil.rmtree(tmp_path / "blobs")

        assert stored.read_nowait(0, 1) is None
        for _ in range(2):
            with pytest.raises(PiecesLost):
                await stored.read(0, 1)
        with pytest.raises(StoreFull, match="No such file or directory"):
            await stored.write_piece(PieceIndex(0), piece_of(BLOB, 0))
        assert (held(stored), store.statistics().read_through) == ([], True)


# -- from one run to the next ------------------------------------------------------------------------------------------


async def unproved_of(directory: Path, **how: Any) -> list[int]:
    async with Store.open(directory, **how) as store:
        stored = store.find(BLOB.id)
        assert stored is not None
        return list(stored.proofs.unproved)


async def test_a_crash_leaves_no_record_of_a_clean_stop(tmp_path: Path, mock_clock: MockClock) -> None:
    async with reopened(tmp_path, Verify.FIRST_USE):
        assert not (tmp_path / "clean").exists()
    assert (tmp_path / "clean").exists()
    assert await unproved_of(tmp_path) == []
    assert await unproved_of(tmp_path) == []

    (tmp_path / "clean").unlink()
    assert await unproved_of(tmp_path) == [0, 1, 2, 3, 4]
    assert await unproved_of(tmp_path) == [0, 1, 2, 3, 4], "a clean stop proves nothing"
    async with Store.open(tmp_path) as store:
        stored = store.find(BLOB.id)
        assert stored is not None
        assert await stored.read(0, PIECE_BYTES) == WHOLE[:PIECE_BYTES]
    assert await unproved_of(tmp_path) == [1, 2, 3, 4]


async def test_a_record_that_is_damaged_or_cannot_be_removed_is_none(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reopened(tmp_path):
        pass
    record = (tmp_path / "clean").read_bytes()
    (tmp_path / "clean").write_bytes(record[:-1] + bytes([record[-1] ^ 1]))
    assert await unproved_of(tmp_path) == [0, 1, 2, 3, 4]

    (tmp_path / "clean").write_bytes(record)
    with monkeypatch.context() as patched:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(30, "Read-only file system")

        patched.setattr("flyfs.store.effects.remove_file", refuse)
        patched.setattr("flyfs.store.effects.replace_file", refuse)
        assert await unproved_of(tmp_path) == [0, 1, 2, 3, 4]


async def test_bytes_that_were_changed_while_nobody_had_the_store_are_found(tmp_path: Path, mock_clock: MockClock) -> None:
    async with reopened(tmp_path):
        pass
    (data,) = tmp_path.glob("blobs/*/*/data")
    before = data.stat()
    with data.open("r+b") as file:
        file.seek(5)
        file.write(b"damage")
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))  # what a careful culprit would do

    async with Store.open(tmp_path) as store:
        stored = store.find(BLOB.id)
        assert stored is not None
        with pytest.raises(PiecesLost):
            await stored.read(0, 1)
        assert await stored.read(PIECE_BYTES, 99_999) == WHOLE[PIECE_BYTES:]


async def test_a_blob_that_nobody_opened_stays_trusted(tmp_path: Path, mock_clock: MockClock) -> None:
    async with reopened(tmp_path, Verify.FIRST_USE):
        pass
    async with Store.open(tmp_path) as store:
        assert store.blob_ids() == [BLOB.id]
    assert await unproved_of(tmp_path) == []


async def test_a_store_that_did_not_flush_in_time_leaves_no_record(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flyfs.store.store.FLUSH_TIMEOUT_S", 0.0)
    async with Store.open(tmp_path) as store:
        await fill(await store.create(BLOB))
    assert not (tmp_path / "clean").exists()
