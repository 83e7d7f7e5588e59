"""A whole peer, or its supernode, on a disk whose calls fail: readers get right bytes, and nothing dies of it."""

import errno
from functools import partial
from pathlib import Path

import pytest
import trio

from flyfs.core.errors import FlyfsError
from flyfs.core.urls import RemoteUrl
from flyfs.store import store as store_module
from flyfs.store.store import Store
from flyfs.store.write_order import WriteOrder
from tests.flyfs.swarm.rig import PATIENCE_S, PeerRig, a_world
from tests.torture.faults import EFFECTS, FaultyDisk

Files = dict[RemoteUrl, bytes]
_READERS = 3
_PAUSE_S = 0.05


@pytest.fixture(autouse=True)
def _a_store_in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs happen while the disk fails, not only when all is over."""
    monkeypatch.setattr(store_module, "WriteOrder", partial(WriteOrder, idle_s=0.01, batch_age_s=0.05))


async def read_all(peer: PeerRig, files: Files) -> list[FlyfsError]:
    """All files by several readers at once; what they get is right, or one of our own errors."""
    errors: list[FlyfsError] = []

    async def read(url: RemoteUrl) -> None:
        try:
            assert await peer.content(url) == files[url]
        except FlyfsError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for url in files:
            for _ in range(_READERS):
                nursery.start_soon(read, url)
    return errors


async def all_is_well(peer: PeerRig, files: Files) -> None:
    """Everything can be read: what failed is left alone for a moment, not for ever."""
    with trio.fail_after(PATIENCE_S):
        while await read_all(peer, files):  # noqa: ASYNC110 - nobody tells when a pause is over
            await trio.sleep(_PAUSE_S)


async def everything_stored_is_right(directory: Path, files: Files) -> None:
    async with Store.open(directory) as store:
        for blob in store.blobs():
            stored = store.find(blob.id)
            assert stored is not None
            content = next(content for url, content in files.items() if str(url) == blob.url)
            for piece in stored.durable:
                where = blob.grid.range_of(piece)
                assert await stored.read(where.start, len(where)) == content[where.start : where.stop]


@pytest.mark.parametrize("whose", ["peer", "supernode"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("name", EFFECTS)
async def test_readers_get_right_bytes_whichever_disk_fails_and_all_is_well_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, whose: str
) -> None:
    async with a_world(tmp_path) as world:
        files = dict(world.put(f"/{seed}", 4.5, seed=seed) for seed in range(3))
        seen, fresh, later = ({url: content} for url, content in files.items())
        async with world.peer() as peer:
            disk = FaultyDisk(tmp_path / whose, monkeypatch)
            await all_is_well(peer, seen)
            with disk.failing(name, number):
                assert await read_all(peer, seen) == [], "what was here before is read from the page cache"
                assert await read_all(peer, fresh) == []
                await trio.sleep(_PAUSE_S)
            await all_is_well(peer, {**fresh, **later})
    for one in ("peer", "supernode"):
        await everything_stored_is_right(tmp_path / one, files)


@pytest.mark.parametrize("name", EFFECTS)
async def test_while_a_call_hangs_what_is_here_is_read_and_the_rest_comes_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    errors: list[FlyfsError] = []
    async with a_world(tmp_path) as world:
        files = dict(world.put(f"/{seed}", 4.5, seed=seed) for seed in range(2))
        seen, fresh = ({url: content} for url, content in files.items())

        async def read_fresh(peer: PeerRig) -> None:
            errors.extend(await read_all(peer, fresh))

        async with world.peer() as peer:
            disk = FaultyDisk(tmp_path / "peer", monkeypatch)
            await all_is_well(peer, seen)
            async with trio.open_nursery() as nursery:
                with disk.hanging(name):
                    nursery.start_soon(read_fresh, peer)
                    await trio.sleep(_PAUSE_S)
                    assert await read_all(peer, seen) == []
            await all_is_well(peer, fresh)
    assert errors == []
    await everything_stored_is_right(tmp_path / "peer", files)
