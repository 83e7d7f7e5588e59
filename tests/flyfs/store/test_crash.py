"""What counts as durable is there, and right, after a crash at any instant."""

import errno
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.verify import Verify
from flyfs.store import effects
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from tests.flyfs.store.builders import a_blob, digests_of, fill, piece_of
from tests.flyfs.store.platter import Disk, Entry, ReadBack, Recorder, Synced, SyncFailed, Told, Withdrawn

Promises = dict[BlobId, set[int]]
BLOBS = {a_blob(2.5, name=name).id: a_blob(2.5, name=name) for name in "abc"}


async def check(directory: Path, told: Promises) -> None:
    """Every piece that counts is right, without proving it again, and every piece that was told durable counts."""
    async with Store.open(directory, verify=Verify.NEVER) as store:
        held: Promises = {}
        for blob_id in store.blob_ids():
            stored = store.find(blob_id)
            if stored is not None:
                held[blob_id] = set(stored.have)
                for piece in stored.have:
                    where = stored.blob.grid.range_of(piece)
                    data = await stored.read(where.start, len(where))
                    assert data == piece_of(stored.blob, piece)
                    stored.manifest.prove(piece, data)
        for blob_id, pieces in told.items():
            assert pieces <= held.get(blob_id, set())


async def bring(stored: StoredBlob, clock: MockClock, pieces: range) -> None:
    """These pieces, until they are durable, however often the disk loses them."""
    while not all(piece in stored.durable for piece in pieces):
        for piece in pieces:
            await stored.write_piece(PieceIndex(piece), piece_of(stored.blob, piece))
        await wait_all_tasks_blocked(0.0005)
        clock.jump(1.0)


async def a_day(directory: Path, clock: MockClock, recorder: Recorder) -> None:
    """Blobs come, grow in several syncs, go and come again; the process restarts."""

    def listen(stored: StoredBlob) -> None:
        stored.listen(lambda piece, durable: recorder.write_down(Told(stored.blob.id, piece)) if durable else None)

    a, b, c = BLOBS.values()
    async with Store.open(directory) as store:
        stored = await store.create(a)
        listen(stored)
        stored.add_digests(digests_of(a, 0, 2))
        await bring(stored, clock, range(1, 2))
        other = await store.create(b)
        listen(other)
        await fill(other)
        stored.add_digests(digests_of(a))
        await stored.write_piece(PieceIndex(2), piece_of(a, 2))
        await bring(other, clock, range(3))
        recorder.write_down(Withdrawn(b.id, frozenset({0, 2})))
        await other.drop_pieces([PieceIndex(0), PieceIndex(2)])
        await bring(other, clock, range(2, 3))
        await other.write_piece(PieceIndex(0), piece_of(b, 0))
        await other.drop_pieces([PieceIndex(0)])  # before it was synced
        await bring(stored, clock, range(1, 3))
        recorder.write_down(Withdrawn(a.id))  # a record that is overwritten in its place may be torn
        with a_full_disk():
            await stored.drop_pieces([PieceIndex(1)])
        for piece in stored.durable:
            recorder.write_down(Told(a.id, piece))
        recorder.write_down(Withdrawn(b.id))
        await store.drop(b.id)
        again = await store.create(b)
        listen(again)
        await fill(again, range(1))
        await fill(await store.create(c))
    async with Store.open(directory) as store:
        found = store.find(a.id)
        assert found is not None
        listen(found)
        await fill(found)


@contextmanager
def a_full_disk() -> Iterator[None]:
    """No file can be made."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effects, "create_file", refuse)
        yield


async def recorded(directory: Path, clock: MockClock, **how: Any) -> Recorder:
    directory.mkdir()
    recorder = Recorder(directory, **how)
    with pytest.MonkeyPatch.context() as patch:
        recorder.install(patch)
        await a_day(directory, clock, recorder)
    return recorder


@pytest.fixture
def found() -> Iterator[Path]:
    """Where what is found after a cut is put together: in memory, because there are thousands of files."""
    with tempfile.TemporaryDirectory(prefix="flyfs-test-", dir="/dev/shm") as directory:
        yield Path(directory)


async def check_cuts(entries: list[Entry], target: Path, chance: random.Random, states: int) -> int:
    """Cuts the power after each entry, in ``states`` ways, and gives how many pieces were promised in all."""
    with pytest.MonkeyPatch.context() as patch:
        for sync in ("sync_data", "sync_entries"):  # what is found need not outlive the test
            patch.setattr(effects, sync, lambda _: None)
        return await _check_cuts(entries, target, chance, states)


async def _check_cuts(entries: list[Entry], target: Path, chance: random.Random, states: int) -> int:
    disk = Disk()
    promised = 0
    for at, entry in enumerate(entries):
        disk.take(entry)
        for state in range(states):
            directory = target / f"{at}-{state}"
            disk.cut(directory, chance)
            await check(directory, disk.told)
            shutil.rmtree(directory)
        promised += sum(map(len, disk.told.values()))
    return promised


async def test_a_power_cut_after_any_effect_leaves_only_right_pieces(tmp_path: Path, mock_clock: MockClock, found: Path) -> None:
    recorder = await recorded(tmp_path / "cache", mock_clock)
    assert len(recorder.entries) > 100  # the day was long enough to be worth cutting

    assert await check_cuts(recorder.entries, found, random.Random(7), states=10) > 100


async def test_a_power_cut_after_syncs_that_failed_leaves_only_right_pieces(
    tmp_path: Path, mock_clock: MockClock, found: Path
) -> None:
    chance = random.Random(11)
    promised = failures = proofs = 0
    for seed in range(6):
        failing = frozenset(chance.sample(range(6), k=2))
        recorder = await recorded(tmp_path / f"cache-{seed}", mock_clock, failing_syncs=failing, seed=seed)
        failures += sum(isinstance(entry, SyncFailed) for entry in recorder.entries)
        proofs += sum(isinstance(entry, ReadBack) for entry in recorder.entries)
        promised += await check_cuts(recorder.entries, found, chance, states=2)
    assert (failures > 5, proofs > 5, promised > 100) == (True, True, True)


async def test_the_model_would_show_a_mark_that_comes_before_its_sync(tmp_path: Path, mock_clock: MockClock, found: Path) -> None:
    recorder = await recorded(tmp_path / "cache", mock_clock)
    hasty = [entry for entry in recorder.entries if not (isinstance(entry, Synced) and entry.file in recorder.data_files)]

    with pytest.raises(AssertionError):
        await check_cuts(hasty, found, random.Random(3), states=6)


_WRITER = """
import functools, sys
from pathlib import Path
import trio
from flyfs.store import store as store_module
from flyfs.store.write_order import WriteOrder
from tests.flyfs.store.builders import a_blob, fill

store_module.WriteOrder = functools.partial(WriteOrder, batch_bytes=5 * 4096, batch_age_s=0.004, idle_s=0.002)

def tell(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

async def main():
    async with store_module.Store.open(Path(sys.argv[1])) as store:
        for number in range(10**9):
            blob = a_blob(24.5, name=str(number % 4))
            stored = await store.create(blob)
            if stored.have.complete:
                tell("dropping", blob.id, 0)
                await store.drop(blob.id)
                stored = await store.create(blob)
            stored.listen(lambda piece, durable, blob_id=blob.id: tell("durable", blob_id, piece) if durable else None)
            with stored.use():
                await fill(stored)
            await trio.sleep(0.003)

trio.run(main)
"""


def write_and_kill(directory: Path, lines: int, told: Promises) -> int:
    """Lets a process write until it told ``lines`` things, kills it, and gives how many pieces it called durable."""
    words = 0
    command = [sys.executable, "-c", _WRITER, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            words += hear(writer.stdout.readline(), told)
        writer.kill()
        for line in writer.stdout:
            words += hear(line, told)
    assert writer.returncode == -signal.SIGKILL
    return words


async def test_a_store_that_is_killed_at_any_instant_keeps_its_word(tmp_path: Path, mock_clock: MockClock) -> None:
    chance = random.Random(20)
    told: Promises = defaultdict(set)
    words = 0
    for _ in range(8):
        words += write_and_kill(tmp_path, chance.randrange(1, 150), told)
        await check(tmp_path, told)
    assert words > 100


def hear(line: str, told: Promises) -> int:
    what, blob_id, piece = line.split()
    if what == "dropping":
        told.pop(BlobId(blob_id), None)
        return 0
    told[BlobId(blob_id)].add(int(piece))
    return 1


async def test_the_checker_would_notice_a_wrong_piece(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        stored = await store.create(a_blob(2.5))
        await fill(stored)
        await trio.lowlevel.checkpoint()
    data = next((tmp_path / "blobs").glob("*/*/data"))
    data.write_bytes(bytes(data.stat().st_size))

    with pytest.raises(AssertionError):
        await check(tmp_path, {})
    with pytest.raises(AssertionError):
        await check(tmp_path, {a_blob(name="never written").id: {0}})
