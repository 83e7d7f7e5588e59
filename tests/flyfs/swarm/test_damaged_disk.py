"""A disk that does not give back what it was given: the reader gets right bytes from the network, and nobody is struck."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flyfs.core.errors import Corrupt
from flyfs.core.ids import BlobId
from flyfs.core.urls import RemoteUrl
from flyfs.store import effects, reader
from flyfs.store.page_cache import PageCache
from flyfs.store.reader import PiecesLost
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from tests.flyfs.swarm.rig import PIECE, PeerRig, World, a_world, read, until

PIECES = 6


async def fetched(world: World, name: str = "peer") -> tuple[RemoteUrl, bytes, Path]:
    """A peer that has all of a file on its disk, and has ended: the file, and where its bytes lie."""
    url, content = world.put("/f", PIECES)
    async with world.peer(name) as peer:
        assert await peer.content(url) == content
    (data,) = (world.directory / name).glob("blobs/*/*/data")
    return url, content, data


def damage(data: Path, piece: int) -> None:
    with data.open("r+b") as file:
        file.seek(piece * PIECE + 100)
        file.write(b"damage")


def durable_count(store: Store, blob_id: BlobId) -> int:
    found = store.find(blob_id)
    assert found is not None
    return found.durable.count


async def test_a_piece_that_is_damaged_on_the_disk_is_fetched_again_and_only_that(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        url, content, data = await fetched(world)
        damage(data, 2)

        async with world.peer() as peer:
            assert await peer.content(url) == content
            assert await peer.content(url) == content
            assert peer.counters.supernode_bytes == PIECE
            assert peer.store.statistics().damaged == 1
            (blob_id,) = peer.store.blob_ids()
            await until(lambda: durable_count(peer.store, blob_id) == PIECES)
        assert data.read_bytes() == content


async def test_a_data_file_that_is_cut_while_it_is_read_costs_what_was_cut_off(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        url, content, data = await fetched(world)
        async with world.peer() as peer, peer.opened(url) as blob:
            assert await read(blob, 0, PIECE) == content[:PIECE]
            os.truncate(data, 3 * PIECE + 5)

            assert await read(blob, 2 * PIECE, 2 * PIECE) == content[2 * PIECE : 4 * PIECE]
            assert await read(blob, 4 * PIECE, 2 * PIECE) == content[4 * PIECE :]
            await until(lambda: peer.counters.supernode_bytes == 3 * PIECE)
        assert data.read_bytes() == content


def refusing(*_: Any, **__: Any) -> Any:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("call", ["read_whole", "fault_of"])
async def test_a_disk_that_fails_to_read_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    async with a_world(tmp_path) as world:
        url, content, data = await fetched(world)
        damage(data, 0)  # so that the blob is proved
        async with world.peer() as peer, peer.opened(url) as blob:
            with monkeypatch.context() as patched:
                if call == "read_whole":  # the proof goes well
                    patched.setattr(PageCache, "read_nowait", found_nothing_until(lambda: peer.store.statistics().damaged))
                    patched.setattr(reader, "read_whole", refusing)
                else:
                    patched.setattr(reader, "fault_of", refusing)
                assert await read(blob, PIECE + 7, 100) == content[PIECE + 7 :][:100]
            assert await read(blob, 0, PIECES * PIECE) == content
            assert peer.store.statistics().damaged >= 1


def found_nothing_until(happened: Callable[[], object]) -> Callable[..., Any]:
    """``PageCache.read_nowait`` for pages that are not cached, until something happened: a fast disk is too fast for a probe."""
    read_nowait = PageCache.read_nowait
    return lambda *arguments: read_nowait(*arguments) if happened() else None


@pytest.mark.parametrize("call", ["write_run", "write_at", "punch_hole", "set_length", "rename", "sync_data"])
async def test_a_disk_that_lost_a_piece_and_takes_none_back_is_read_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    async with a_world(tmp_path) as world:
        url, content, data = await fetched(world)
        damage(data, 3)
        async with world.peer() as peer, peer.opened(url) as blob:
            with monkeypatch.context() as patched:
                patched.setattr(effects, call, refusing)
                for at in range(0, len(content), PIECE // 2):
                    assert await read(blob, at, PIECE // 2) == content[at : at + PIECE // 2]
            assert await read(blob, 0, PIECES * PIECE) == content
            assert peer.store.statistics().damaged == 1


async def test_a_disk_that_never_gives_back_what_it_was_given_is_an_error_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: Any) -> bytes:
        raise PiecesLost("as ever")

    async with a_world(tmp_path) as world, world.peer() as peer:
        url, _ = world.put("/f", PIECES)
        async with peer.opened(url) as blob:
            monkeypatch.setattr(StoredBlob, "read_nowait", lambda *_: None)
            monkeypatch.setattr(StoredBlob, "read", lost)
            with pytest.raises(Corrupt, match="does not give back what was just written to it"):
                await read(blob, 0, 10)


async def test_a_neighbour_whose_disk_is_damaged_does_not_hold_the_piece_and_is_not_struck(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        url, content, data = await fetched(world, "anne")
        damage(data, 4)

        async with world.peer("anne") as anne, world.peer("bert") as bert:
            (blob_id,) = anne.store.blob_ids()
            await until(lambda: anne.store.peer_id in world.supernode.holding(blob_id))
            assert await bert.content(url) == content
            assert bert.counters.pieces_rejected == 0
            assert bert.counters.peer_bytes == (PIECES - 1) * PIECE
            assert anne.store.statistics().damaged == 1
            assert still_asks(bert, anne)


def still_asks(peer: PeerRig, neighbour: PeerRig) -> bool:
    return neighbour.store.peer_id in {one.peer_id for one in peer.swarm.neighbours.connected}


async def test_a_neighbour_whose_files_are_gone_does_not_hold_anything(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer("anne") as anne, world.peer("bert") as bert:
        url, content = world.put("/f", PIECES)
        assert await anne.content(url) == content
        await anne.settled()
        (blob_id,) = anne.store.blob_ids()
        await until(lambda: durable_count(anne.store, blob_id) == PIECES)
        stored = anne.store.find(blob_id)
        assert stored is not None
        await until(lambda: not stored.in_use)
        stored.close_descriptors()
        (data,) = (tmp_path / "anne").glob("blobs/*/*/data")
        data.unlink()

        assert await bert.content(url) == content
        assert bert.counters.pieces_rejected == 0
        assert bert.counters.supernode_bytes == PIECES * PIECE
        assert await anne.content(url) == content


async def test_a_supernode_whose_disk_is_damaged_asks_the_origin_again_for_that_piece(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        url, content, _ = await fetched(world)
        (feed,) = world.supernode.cdn._feeds.values()
        await until(lambda: feed.stored.durable.count == PIECES)
        (data,) = (tmp_path / "supernode").glob("blobs/*/*/data")
        damage(data, 1)
        feed.stored.proofs.doubted(tuple(feed.stored.have))  # as after a crash

        async with world.peer("another") as peer:
            assert await peer.content(url) == content
            assert (peer.counters.supernode_bytes, peer.counters.pieces_rejected) == (len(content), 0)
        assert world.sent_bytes("/f") == len(content) + PIECE
        assert world.supernode.store.statistics().damaged == 1
