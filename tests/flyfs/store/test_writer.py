"""Pieces on their way to the disk: batches in one hop, demands before the rest, cancelled and refused ones."""

import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flyfs.core.errors import Stale
from flyfs.core.ids import PieceIndex
from flyfs.store import effects
from flyfs.store.write_queue import WriteQueue
from flyfs.store.writer import Writer

SIZE = 4096


class AFile:
    """A target that remembers what it hears."""

    def __init__(self, path: Path, unsynced: "NothingUnsynced") -> None:
        self.fileno = os.open(path, os.O_RDWR | os.O_CREAT)
        self.began: list[int] = []
        self.ended: list[tuple[int, bool]] = []
        self.demands: list[int] = []
        self.counts = True
        self._unsynced = unsynced

    def write_begins(self, piece: PieceIndex) -> None:
        self.began.append(piece)

    def write_ended(self, piece: PieceIndex, *, written: bool, demand: bool) -> bool:
        self.ended.append((piece, written))
        self.demands += [int(piece)] if demand else []
        self._unsynced.unsynced_bytes += SIZE if written else 0
        return written and self.counts

    def content(self, piece: int) -> bytes:
        return os.pread(self.fileno, SIZE, piece * SIZE)


class NothingUnsynced:
    unsynced_bytes = 0


def bytes_of(piece: int) -> memoryview:
    return memoryview(bytes([piece + 1]) * SIZE)


class Desk:
    def __init__(self, writer: Writer, file: AFile, unsynced: NothingUnsynced) -> None:
        self.writer = writer
        self.file = file
        self.unsynced = unsynced
        self.outcomes: dict[int, object] = {}

    async def write(self, piece: int, demand: bool = False) -> None:
        try:
            self.outcomes[piece] = await self.writer.write(
                self.file, PieceIndex(piece), (self.file.fileno, piece * SIZE), bytes_of(piece), demand=demand
            )
        except (OSError, Stale) as error:
            self.outcomes[piece] = type(error)


@asynccontextmanager
async def a_desk(path: Path, *, max_unsynced_bytes: int = 1 << 40) -> AsyncIterator[Desk]:
    unsynced = NothingUnsynced()
    file = AFile(path / "data", unsynced)
    writer = Writer(WriteQueue(max_unsynced_bytes=max_unsynced_bytes), unsynced)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            yield Desk(writer, file, unsynced)
            await writer.stop()
    finally:
        os.close(file.fileno)


@contextmanager
def disk_held(monkeypatch: pytest.MonkeyPatch, runs: list[tuple[int, int]] | None = None) -> Iterator[threading.Event]:
    """Writes begin but do not end before the event is set; ``runs`` collects (offset, pieces)."""
    go_on = threading.Event()
    write_run = effects.write_run

    def hold(fd: int, pieces: Sequence[memoryview], offset: int) -> None:
        if runs is not None:
            runs.append((offset // SIZE, len(pieces)))
        assert go_on.wait(10)
        write_run(fd, pieces, offset)

    with monkeypatch.context() as patched:
        patched.setattr(effects, "write_run", hold)
        yield go_on
        go_on.set()


async def test_what_arrives_while_a_batch_is_written_goes_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[int, int]] = []
    async with a_desk(tmp_path) as desk, trio.open_nursery() as nursery:
        with disk_held(monkeypatch, runs) as go_on:
            nursery.start_soon(desk.write, 0)
            await wait_all_tasks_blocked()
            for piece in (4, 2, 3, 1):
                nursery.start_soon(desk.write, piece)
            await wait_all_tasks_blocked()
            assert (desk.file.began, desk.file.ended) == ([0], [])
            go_on.set()
            while len(desk.outcomes) < 5:
                await wait_all_tasks_blocked(0.001)

        assert runs == [(0, 1), (1, 4)]
        assert desk.file.ended == [(piece, True) for piece in range(5)]
        assert desk.outcomes == dict.fromkeys(range(5), True)
        assert [desk.file.content(piece) for piece in range(5)] == [bytes_of(piece) for piece in range(5)]


async def test_a_demand_is_written_while_bulk_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run = effects.write_run
    go_on = threading.Event()

    def slow(fd: int, pieces: Sequence[memoryview], offset: int) -> None:
        assert offset == 9 * SIZE or offset == 5 * SIZE or go_on.wait(10)
        write_run(fd, pieces, offset)

    async with a_desk(tmp_path) as desk, trio.open_nursery() as nursery:
        monkeypatch.setattr(effects, "write_run", slow)
        for piece in (0, 5, 6):
            nursery.start_soon(desk.write, piece)
            await wait_all_tasks_blocked()
        await desk.write(9, demand=True)
        assert desk.outcomes == {9: True}
        desk.writer.demanded(desk.file, PieceIndex(5))
        while 5 not in desk.outcomes:
            await wait_all_tasks_blocked(0.001)
        assert desk.outcomes == {9: True, 5: True}
        assert desk.file.demands == [9, 5]
        go_on.set()


async def test_a_piece_that_waits_can_be_cancelled_and_one_that_is_written_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_desk(tmp_path) as desk:
        with disk_held(monkeypatch) as go_on:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.write, 0)
                await wait_all_tasks_blocked()
                nursery.start_soon(desk.write, 1)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
                await trio.lowlevel.cancel_shielded_checkpoint()
                go_on.set()
        assert desk.outcomes == {0: True}
        assert desk.file.began == [0]


async def test_a_batch_that_does_not_fit_is_tried_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run = effects.write_run

    def nearly_full(fd: int, pieces: Sequence[memoryview], offset: int) -> None:
        if offset + len(pieces) * SIZE > 3 * SIZE:
            raise OSError(28, "No space left on device")
        write_run(fd, pieces, offset)

    async with a_desk(tmp_path) as desk:
        with disk_held(monkeypatch) as go_on:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.write, 0)
                await wait_all_tasks_blocked()
                for piece in range(1, 5):
                    nursery.start_soon(desk.write, piece)
                await wait_all_tasks_blocked()
                monkeypatch.setattr(effects, "write_run", nearly_full)
                go_on.set()
        assert desk.outcomes == {0: True, 1: True, 2: True, 3: OSError, 4: OSError}
        assert desk.file.ended == [(0, True), (1, True), (2, True), (3, False), (4, False)]


async def test_bulk_waits_for_a_sync_and_a_demand_does_not(tmp_path: Path) -> None:
    async with a_desk(tmp_path, max_unsynced_bytes=4 * SIZE) as desk, trio.open_nursery() as nursery:
        desk.unsynced.unsynced_bytes = 4 * SIZE
        nursery.start_soon(desk.write, 0)
        await wait_all_tasks_blocked()
        await desk.write(1, demand=True)
        assert desk.outcomes == {1: True}
        desk.unsynced.unsynced_bytes = 0
        desk.writer.room_came()


async def test_what_does_not_count_is_told(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        desk.file.counts = False
        await desk.write(0)
        assert desk.outcomes == {0: False}


async def test_a_writer_that_stops_ends_what_has_begun_and_refuses_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_desk(tmp_path) as desk:
        with disk_held(monkeypatch) as go_on:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.write, 0)
                await wait_all_tasks_blocked()
                nursery.start_soon(desk.write, 1)
                nursery.start_soon(desk.writer.stop)
                await wait_all_tasks_blocked()
                assert (desk.outcomes, desk.writer._ended.is_set()) == ({1: Stale}, False)
                go_on.set()
        await desk.write(2)
        assert desk.outcomes == {0: True, 1: Stale, 2: Stale}


async def test_a_cancelled_program_does_not_end_the_writer(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        unsynced = NothingUnsynced()
        file = AFile(tmp_path / "data", unsynced)
        desk = Desk(Writer(WriteQueue(max_unsynced_bytes=1 << 40), unsynced), file, unsynced)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.writer.run)
            await wait_all_tasks_blocked()
            scope.cancel()
            with trio.CancelScope(shield=True):
                await desk.write(0)
            await desk.writer.stop()
    assert desk.outcomes == {0: True}
    os.close(file.fileno)


async def test_a_bug_in_the_thread_leaves_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def broken(fd: int, pieces: Sequence[memoryview], offset: int) -> None:
        if offset:
            raise LookupError("a bug")
        assert go_on.wait(10)

    outcomes: dict[int, object] = {}

    async def write_three() -> None:
        async with a_desk(tmp_path) as desk:
            desk.outcomes = outcomes
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    for piece in range(3):
                        nursery.start_soon(desk.write, piece)
                        await wait_all_tasks_blocked()
                    go_on.set()

    monkeypatch.setattr(effects, "write_run", broken)
    with pytest.raises(ExceptionGroup) as caught:
        await write_three()
    assert outcomes == {0: True, 1: Stale, 2: Stale}
    assert caught.group_contains(LookupError, match="a bug")


async def test_who_finds_the_disk_idle_writes_by_himself(tmp_path: Path) -> None:
    unsynced = NothingUnsynced()
    file = AFile(tmp_path / "data", unsynced)
    desk = Desk(Writer(WriteQueue(max_unsynced_bytes=1 << 40), unsynced), file, unsynced)  # which does not run
    await desk.write(3)
    with trio.CancelScope() as scope:
        scope.cancel()
        await desk.write(4)

    assert (desk.outcomes, file.content(3), file.content(4)) == ({3: True}, bytes_of(3), b"")
    os.close(file.fileno)
