"""Stores too small, full or broken: every reader gets right bytes all the same, and nobody is told of what passed by."""

import errno
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from flyfs.store import effects
from flyfs.store.space import REFUSED_FOR_S
from flyfs.swarm.losses import LOSS_DELAY_S
from tests.flyfs.swarm.rig import PIECE, PeerRig, a_world, read, until
from tests.support.hostile_origin import pattern

EMBEDDED = pytest.mark.parametrize("embedded", [False, True], ids=["own", "embedded"])


class Disk:
    """Refuses to take pieces, while it is told to."""

    def __init__(self) -> None:
        self.refuses: int = 0
        self.asked = 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    write_run = effects.write_run

    def write(fd: int, pieces: Sequence[memoryview], offset: int) -> None:
        if disk.refuses:
            disk.asked += 1
            write_run(fd, [pieces[0][:4096]], offset)
            raise OSError(disk.refuses, os.strerror(disk.refuses))
        write_run(fd, pieces, offset)

    monkeypatch.setattr(effects, "write_run", write)
    return disk


@contextmanager
def within(peer: PeerRig, limit: int) -> Iterator[list[int]]:
    """Notes what the store held after each write, which is never above the limit."""
    seen: list[int] = []
    keep = peer.store._space.keep

    def note(blob_id, size):  # type: ignore[no-untyped-def]
        keep(blob_id, size)
        seen.append(peer.store.statistics().used_bytes)

    peer.store._space.keep = note  # type: ignore[method-assign]
    yield seen
    assert max(seen) <= limit


@EMBEDDED
async def test_a_file_six_times_the_store_is_read_from_start_to_end(tmp_path: Path, embedded: bool) -> None:
    limit = 16 * PIECE
    async with a_world(tmp_path, embedded=embedded) as world, world.peer(limit_bytes=limit) as peer:
        url, content = world.put("/f", 96.5)
        with within(peer, limit):
            assert await peer.content(url) == content
        await peer.settled()

        assert world.sent_bytes("/f") == len(content)
        assert peer.counters.supernode_bytes == len(content), "nothing was read ahead in vain"
        assert peer.counters.passed_bytes == 0
        assert not peer.store.statistics().read_through
        assert peer.store.statistics().used_bytes > limit // 2


async def test_a_file_larger_than_the_store_is_read_at_random_by_many(tmp_path: Path) -> None:
    limit = 16 * PIECE
    async with a_world(tmp_path) as world, world.peer(limit_bytes=limit) as peer:
        url, content = world.put("/f", 64.3)
        with within(peer, limit):
            async with peer.opened(url) as blob, trio.open_nursery() as nursery:

                async def check(seed: int) -> None:
                    chance = random.Random(seed)
                    for _ in range(20):
                        offset = chance.randrange(len(content))
                        size = chance.choice([1, 4096, PIECE, 4 * PIECE])
                        assert await read(blob, offset, size) == content[offset : offset + size]

                for seed in range(16):
                    nursery.start_soon(check, seed)
        assert world.sent_bytes("/f") == len(content)


async def test_sixteen_readers_of_three_times_what_the_store_may_hold(tmp_path: Path) -> None:
    limit = 20 * PIECE
    async with a_world(tmp_path) as world, world.peer(limit_bytes=limit) as peer:
        files = [world.put(f"/{number}", 4, seed=number) for number in range(15)]
        with within(peer, limit):
            async with trio.open_nursery() as nursery:

                async def check(seed: int) -> None:
                    chance = random.Random(seed)
                    for _ in range(12):
                        url, content = chance.choice(files)
                        assert await peer.content(url, max_age_s=100) == content

                for seed in range(16):
                    nursery.start_soon(check, seed)
        await peer.settled()
        assert peer.store.statistics().used_bytes <= limit


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
async def test_while_the_disk_refuses_pieces_pass_by_and_are_kept_again_afterwards(
    tmp_path: Path, disk: Disk, number: int
) -> None:
    async with a_world(tmp_path, embedded=True) as world, world.peer() as peer:
        url, content = world.put("/f", 40.5)
        disk.refuses = number
        async with peer.opened(url) as blob:
            reads = [await read(blob, at, 3 * PIECE // 2) for at in range(0, len(content), 3 * PIECE // 2)]
            assert b"".join(reads) == content
            stored = peer.store.find(blob.blob.id)
            assert stored is not None
            assert (stored.have.count, peer.store.statistics().read_through) == (0, True)
            assert peer.counters.passed_bytes == len(content)
            assert peer.counters.pieces_rejected == 0, "it is nobody's fault"
            assert peer.counters.supernode_bytes < 1.5 * len(content)
            assert disk.asked < 41, "a disk that refuses is not bothered with every piece"

            disk.refuses = 0
            await trio.sleep(2 * REFUSED_FOR_S)
            peer.swarm.passing.forget(blob.blob.id)
            assert await read(blob, 7 * PIECE, 10) == content[7 * PIECE : 7 * PIECE + 10]
            assert (7 in stored.have, peer.store.statistics().read_through) == (True, False)
        assert await peer.content(url) == content
        await until(lambda: stored.have.complete)


async def test_what_passes_by_is_told_nobody(tmp_path: Path, disk: Disk) -> None:
    async with a_world(tmp_path, embedded=True) as world, world.peer("a") as anne, world.peer("b") as bert:
        url, content = world.put("/f", 8)
        disk.refuses = errno.ENOSPC
        assert await anne.content(url) == content
        await anne.settled()
        holdings = world.supernode.holding
        (blob_id,) = [blob.id for blob in anne.store.blobs()]
        assert holdings(blob_id) == {anne.store.peer_id: 0}
        assert await bert.content(url) == content
        assert bert.counters.peer_bytes == 0


async def test_a_file_is_opened_and_read_where_there_is_no_room_for_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path, embedded=True) as world, world.peer() as peer:
        urls = [world.put(f"/{number}", pieces, seed=number) for number, pieces in enumerate((0, 1, 9.5))]
        files = [await peer.find(url) for url, _ in urls]
        make_directory = effects.make_directory

        def refuse(directory_fd: int, name: str) -> None:
            if str(tmp_path / "peer") in os.readlink(f"/proc/self/fd/{directory_fd}"):
                raise OSError(errno.ENOSPC, "No space left on device")
            make_directory(directory_fd, name)

        monkeypatch.setattr(effects, "make_directory", refuse)
        for (_, content), file in zip(urls, files, strict=True):
            blob = await peer.swarm.open(file)
            assert b"".join([await read(blob, at, PIECE) for at in range(0, len(content), PIECE)]) == content
            blob.close()
        assert peer.store.blob_ids() == []
        monkeypatch.undo()
        await trio.sleep(2 * REFUSED_FOR_S)
        for url, content in urls:
            assert await peer.content(url) == content
        assert len(peer.store.blob_ids()) == 3


@pytest.mark.parametrize("budget", [1, 3 * PIECE])
async def test_a_hundred_readers_get_on_however_little_memory_there_is(tmp_path: Path, disk: Disk, budget: int) -> None:
    async with a_world(tmp_path, embedded=True) as world, world.peer() as peer:
        url, content = world.put("/f", 32.7)
        peer.swarm.passing.budget_bytes = budget
        disk.refuses = errno.ENOSPC
        async with peer.opened(url) as blob, trio.open_nursery() as nursery:

            async def check(seed: int) -> None:
                chance = random.Random(seed)
                for _ in range(3):
                    offset = chance.randrange(len(content))
                    assert await read(blob, offset, 5 * PIECE) == content[offset : offset + 5 * PIECE]

            for seed in range(128):
                nursery.start_soon(check, seed)
        assert peer.swarm.passing.held_bytes <= max(budget, PIECE)
        await peer.settled()
        assert peer.swarm.passing.held_bytes == 0, "nothing is kept of a file that nobody reads"


async def test_a_supernode_without_room_reads_through_too(tmp_path: Path, disk: Disk) -> None:
    async with a_world(tmp_path, buffer_bytes=16 * PIECE) as world, world.peer("a") as anne, world.peer("b") as bert:
        url, content = world.put("/f", 40.5)
        disk.refuses = errno.ENOSPC
        got: list[bytes] = []

        async def fetch(peer: PeerRig) -> None:
            got.append(await peer.content(url))

        async with trio.open_nursery() as nursery:
            for peer in (anne, bert):
                nursery.start_soon(fetch, peer)
        assert got == [content] * 2
        await anne.settled()
        await bert.settled()
        assert world.supernode.store.statistics().read_through


async def test_a_supernode_with_a_small_store_serves_a_large_file(tmp_path: Path) -> None:
    limit = 16 * PIECE
    async with a_world(tmp_path, limit_bytes=limit) as world, world.peer("a") as anne, world.peer("b") as bert:
        url, content = world.put("/f", 96)
        assert await anne.content(url) == content
        await anne.settled()
        assert world.sent_bytes("/f") == len(content)
        assert world.supernode.store.statistics().used_bytes <= limit
        assert await bert.content(url) == content
        assert bert.counters.peer_bytes > len(content) // 2


async def test_content_without_a_length_is_told_where_the_supernode_keeps_nothing(tmp_path: Path, disk: Disk) -> None:
    async with a_world(tmp_path, buffer_bytes=4 * PIECE) as world, world.peer("a") as anne, world.peer("b") as bert:
        url, content = world.put("/f", 12.5, framing="chunked", head="no-length", ranges=False)
        disk.refuses = errno.EDQUOT
        found = await anne.find(url, pin=True)
        assert found.blob is not None
        assert found.blob.size == len(content)
        assert await anne.content(url, max_age_s=100, pin=True) == content
        disk.refuses = 0
        assert await bert.content(url, max_age_s=100, pin=True) == content
        assert all(feed.shelf.bare for feed in world.supernode.cdn._feeds.values())


async def test_the_supernode_hears_of_blobs_and_pieces_that_went(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer() as peer:
        url, content = world.put("/f", 8)
        assert await peer.content(url) == content
        await peer.settled()
        (blob_id,) = peer.store.blob_ids()
        await until(lambda: world.supernode.holding(blob_id) == {peer.store.peer_id: 8})
        stored = peer.store.find(blob_id)
        assert stored is not None

        await stored.drops.drop_coldest(3 * PIECE)
        await until(lambda: world.supernode.holding(blob_id) == {peer.store.peer_id: 5})
        assert await peer.content(url, max_age_s=100) == content
        await until(lambda: world.supernode.holding(blob_id) == {peer.store.peer_id: 8})
        await peer.settled()
        await peer.store.drop(blob_id)
        await until(lambda: world.supernode.holding(blob_id) == {})
        await trio.sleep(LOSS_DELAY_S / 100)
        assert await peer.content(url, max_age_s=100) == content
        await until(lambda: world.supernode.holding(blob_id) == {peer.store.peer_id: 8})


async def test_who_asks_for_a_piece_that_went_gets_it_elsewhere_at_once(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer("a") as anne, world.peer("b") as bert:
        url, content = world.put("/f", 40)
        assert await anne.content(url) == content
        await anne.settled()
        (blob_id,) = anne.store.blob_ids()
        await until(lambda: world.supernode.holding(blob_id) == {anne.store.peer_id: 40})
        async with bert.opened(url) as blob:
            assert await read(blob, 20 * PIECE, 1) == content[20 * PIECE : 20 * PIECE + 1]
            await until(lambda: bert.swarm.neighbours.connected)
            stored = anne.store.find(blob_id)
            assert stored is not None
            await stored.drop_pieces(list(stored.have))
            began = trio.current_time()
            assert await read(blob, 30 * PIECE, 1) == content[30 * PIECE : 30 * PIECE + 1]
            assert trio.current_time() - began < 0.4, "well before the neighbour's turn would be over"
        assert bert.counters.pieces_rejected == 0


def test_the_pattern_differs_from_piece_to_piece() -> None:
    content = pattern(4 * PIECE)
    assert len({content[at : at + PIECE] for at in range(0, 4 * PIECE, PIECE)}) == 4
