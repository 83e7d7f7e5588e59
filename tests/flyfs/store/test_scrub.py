"""Proving a whole store from its disk: what is damaged goes, nobody else notices."""

import mmap
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.core.errors import Unavailable
from flyfs.core.grid import KIB
from flyfs.core.ids import PieceIndex
from flyfs.core.verify import Verify
from flyfs.store import scrub as scrubbing
from flyfs.store.faults import UNKNOWN, WRONG_BYTES
from flyfs.store.page_cache import PageCache
from flyfs.store.scrub import REST, Damage, Progress, scrub
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from tests.flyfs.store.builders import a_blob, bytes_of_blob, fill, held, piece_of

PIECE = 4 * KIB
A, B = a_blob(5.5, name="a"), a_blob(3, name="b")


@dataclass
class Heard:
    """What a scrub told."""

    progress: list[Progress] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)

    async def tell(self, news: Progress | Damage) -> None:
        if isinstance(news, Progress):
            self.progress.append(news)
        else:
            self.damage.append(news)


@asynccontextmanager
async def a_store(directory: Path, verify: Verify = Verify.FIRST_USE) -> AsyncIterator[tuple[Store, StoredBlob, StoredBlob]]:
    """A store that has two blobs since an earlier run, ``A`` the longer unused."""
    async with Store.open(directory) as store:
        for blob in (A, B):
            await fill(await store.create(blob))
    async with Store.open(directory, verify=verify) as store:
        found = [store.look(blob.id) for blob in (A, B)]
        yield store, *[one for one in found if one is not None]  # type: ignore[misc]


def damage_on_disk(stored: StoredBlob, piece: int) -> None:
    """Other bytes on the disk, behind the page cache."""
    page = mmap.mmap(-1, PIECE)
    page.write(b"damage")
    direct = os.open(f"/proc/self/fd/{stored.fileno}", os.O_WRONLY | os.O_DIRECT)
    os.pwrite(direct, page, piece * PIECE)
    os.close(direct)


async def test_what_is_right_stays_and_is_proved(tmp_path: Path, mock_clock: MockClock) -> None:
    heard = Heard()
    async with a_store(tmp_path, Verify.ALWAYS) as (store, a, b):
        result = await scrub(store, heard.tell)

        assert (result.blobs, result.pieces, result.done_bytes, result.damaged) == (2, 9, A.size + B.size, 0)
        assert heard.damage == []
        assert heard.progress[-1] == Progress(A.size + B.size, A.size + B.size)
        assert (list(a.proofs.unproved), list(b.proofs.unproved)) == ([], [])
        assert store.blob_ids() == [A.id, B.id], "looking at a blob makes it no younger"
    async with Store.open(tmp_path) as store:
        assert store.blob_ids() == [A.id, B.id]


async def test_damaged_pieces_go_and_are_told(tmp_path: Path, mock_clock: MockClock) -> None:
    heard = Heard()
    async with a_store(tmp_path) as (store, a, b):
        os.pwrite(a.fileno, b"damage", PIECE + 5)
        os.pwrite(a.fileno, b"damage", 5 * PIECE)
        result = await scrub(store, heard.tell)

        assert (result.pieces, result.damaged, store.statistics().damaged) == (9, 2, 2)
        assert heard.damage == [Damage(A, PieceIndex(1), WRONG_BYTES), Damage(A, PieceIndex(5), WRONG_BYTES)]
        assert (held(a), held(b)) == ([0, 2, 3, 4], [0, 1, 2])
        again = Heard()
        assert (await scrub(store, again.tell)).damaged == 0


async def test_the_disk_is_asked_and_not_the_page_cache(tmp_path: Path, mock_clock: MockClock) -> None:
    async with a_store(tmp_path) as (store, a, _):
        os.fsync(a.fileno)
        damage_on_disk(a, 2)
        heard = Heard()
        result = await scrub(store, heard.tell)
        assert (result.damaged, held(a)) == (1, [0, 1, 3, 4, 5])


async def test_it_leaves_the_page_cache_as_it_is(tmp_path: Path, mock_clock: MockClock) -> None:
    async with a_store(tmp_path) as (store, a, _):
        os.fsync(a.fileno)
        os.posix_fadvise(a.fileno, 0, 0, os.POSIX_FADV_DONTNEED)
        await scrub(store, Heard().tell)
        assert not PageCache().holds_nowait(a.fileno, 0, PIECE)


async def test_where_the_file_system_knows_no_direct_reads_the_page_cache_is_asked(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    os_open, preadv = os.open, os.preadv
    direct: set[int] = set()
    refused_at_opening = [True]

    def open_file(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_DIRECT and refused_at_opening[0]:
            raise OSError(22, "Invalid argument")
        fd = os_open(path, flags, *rest, **named)
        (direct.add if flags & os.O_DIRECT else direct.discard)(fd)
        return fd

    def read(fd: int, *rest: Any) -> int:
        if fd in direct:
            raise OSError(22, "Invalid argument")
        return preadv(fd, *rest)

    async with a_store(tmp_path) as (store, a, _):
        monkeypatch.setattr(os, "open", open_file)
        monkeypatch.setattr(os, "preadv", read)
        for at_opening in (True, False):
            refused_at_opening[0] = at_opening
            assert (await scrub(store, Heard().tell)).damaged == 0
        os.pwrite(a.fileno, b"damage", 0)
        assert (await scrub(store, Heard().tell)).damaged == 1


async def test_a_disk_that_fails_costs_what_it_does_not_give(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault_of = scrubbing.fault_of

    def fail_at_the_second(fd: int, start: int, *rest: Any) -> str | None:
        if start == PIECE:
            raise OSError(5, "Input/output error")
        return fault_of(fd, start, *rest)

    heard = Heard()
    async with a_store(tmp_path) as (store, a, b):
        monkeypatch.setattr(scrubbing, "fault_of", fail_at_the_second)
        await scrub(store, heard.tell)
        assert (held(a), held(b)) == ([0, 2, 3, 4, 5], [0, 2])
    assert [one.reason for one in heard.damage] == ["the disk cannot read it: Input/output error"] * 2


async def test_a_blob_whose_files_are_damaged_is_told(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        await fill(await store.create(A))
        await store.create(B)
    next(path for path in tmp_path.glob("blobs/*/*/data") if path.stat().st_size == A.size).unlink()
    heard = Heard()
    async with Store.open(tmp_path) as store:
        result = await scrub(store, heard.tell)
        assert (result.damaged, heard.damage) == (1, [Damage(A, None, "its files are damaged")])
        assert store.blob_ids() == [B.id]


async def test_a_mark_without_a_digest_is_damage(tmp_path: Path, mock_clock: MockClock) -> None:
    heard = Heard()
    async with a_store(tmp_path) as (store, a, b):
        a.manifest._digests.clear()
        await scrub(store, heard.tell)
        assert (held(a), held(b)) == ([], [0, 1, 2])
    assert {one.reason for one in heard.damage} == {UNKNOWN}


class HeldUp:
    """Holds up the proofs of a scrub."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._faults_of = scrubbing._faults_of
        monkeypatch.setattr(scrubbing, "_faults_of", self._wait)

    def _wait(self, *arguments: Any) -> Any:
        faults = self._faults_of(*arguments)
        self.begun.set()
        self.go_on.wait(10)
        return faults

    async def wait_begun(self) -> None:
        await trio.to_thread.run_sync(self.begun.wait)


async def test_only_one_scrubs_at_a_time(tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    held_up = HeldUp(monkeypatch)
    async with a_store(tmp_path) as (store, _, _), trio.open_nursery() as nursery:
        nursery.start_soon(scrub, store, Heard().tell)
        await held_up.wait_begun()
        with pytest.raises(Unavailable, match="is being verified already"):
            await scrub(store, Heard().tell)
        held_up.go_on.set()
    async with a_store(tmp_path) as (store, _, _):
        await scrub(store, Heard().tell)


async def test_a_piece_that_was_written_anew_while_it_was_read_is_looked_at_again(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_up = HeldUp(monkeypatch)
    heard = Heard()
    async with a_store(tmp_path) as (store, a, _), trio.open_nursery() as nursery:
        os.pwrite(a.fileno, b"damage", 0)
        nursery.start_soon(scrub, store, heard.tell)
        await held_up.wait_begun()
        await a.drop_pieces((PieceIndex(0),))
        await a.write_piece(PieceIndex(0), piece_of(A, 0))
        await wait_all_tasks_blocked()
        mock_clock.jump(1)  # until it is durable again
        while 0 not in a.durable:
            await wait_all_tasks_blocked(0.002)
            mock_clock.jump(1)
        held_up.go_on.set()
    assert heard.damage == []


async def test_blobs_that_go_meanwhile_are_passed_by(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_up = HeldUp(monkeypatch)
    heard = Heard()
    async with a_store(tmp_path) as (store, a, _), trio.open_nursery() as nursery:
        nursery.start_soon(scrub, store, heard.tell)
        await held_up.wait_begun()
        for blob in (A, B):
            await store.drop(blob.id)
        held_up.go_on.set()
    assert (heard.damage, a.dropped) == ([], True)
    assert heard.progress[-1] == Progress(A.size + B.size, A.size + B.size)


async def test_readers_read_on_meanwhile(tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    held_up = HeldUp(monkeypatch)
    async with a_store(tmp_path, Verify.ALWAYS) as (store, a, _), trio.open_nursery() as nursery:
        nursery.start_soon(scrub, store, Heard().tell)
        await held_up.wait_begun()
        assert await a.read(0, A.size) == bytes_of_blob(A)
        held_up.go_on.set()


async def test_while_others_wait_for_the_disk_it_rests_longer_than_it_works(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "BATCH_BYTES", PIECE)
    held_up = HeldUp(monkeypatch)
    heard = Heard()
    async with a_store(tmp_path, Verify.ALWAYS) as (store, a, _), trio.open_nursery() as nursery:
        nursery.start_soon(scrub, store, heard.tell)
        await held_up.wait_begun()
        await a.read(0, 1)
        mock_clock.jump(2)
        held_up.begun.clear()
        held_up.go_on.set()
        while not heard.progress:
            await wait_all_tasks_blocked(0.002)
        mock_clock.jump(2 * REST - 0.1)
        await wait_all_tasks_blocked(0.01)
        assert not held_up.begun.is_set()
        mock_clock.jump(0.2)
        await held_up.wait_begun()


async def test_large_stores_tell_how_far_they_are(tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "BATCH_BYTES", PIECE)
    monkeypatch.setattr(scrubbing, "TELL_S", 0.0)
    heard = Heard()
    async with a_store(tmp_path) as (store, _, _):
        await scrub(store, heard.tell)
    done = [one.done_bytes for one in heard.progress]
    assert done == sorted(done)
    assert len(done) > 9
