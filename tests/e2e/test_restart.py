"""What was fetched is not fetched again, whoever was restarted and however it ended."""

import hashlib
import random
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, wait_until
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader
from tests.support.stored import StoredFile, stored_files

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(100)]

MIB = 1024 * 1024
CONTENT = random.Random(7).randbytes(24 * MIB + 17)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def file(root: Path) -> Path:
    place = root / "file"
    place.write_bytes(CONTENT)
    return place


def only_file(cache: Path) -> StoredFile:
    (stored,) = stored_files(cache)
    assert stored.is_part_of(CONTENT)
    return stored


@pytest.mark.parametrize("standalone", [True, False], ids=["standalone", "embedded"])
def test_a_daemon_that_was_unmounted_needs_nobody_for_what_it_had(
    fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader, standalone: bool
) -> None:
    supernode = fleet.supernode() if standalone else None
    mount = fleet.mount("m", supernode=supernode)
    assert reader.digest(mount.path(origin.authority, "file")) == DIGEST
    assert mount.umount().status == 0
    sent = origin.log().sent_bytes

    mount.start()
    assert reader.digest(mount.path(origin.authority, "file")) == DIGEST

    assert origin.log().sent_bytes == sent == len(CONTENT)
    received = mount.status()["bytes"]
    assert (received["supernode"], received["peers"], received["store"]) == (0, 0, len(CONTENT))


def test_a_daemon_that_had_a_part_fetches_the_rest(fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader) -> None:
    mount = fleet.mount("m", supernode=fleet.supernode())
    path = mount.path(origin.authority, "file")
    for offset in range(5 * MIB, 20 * MIB, 5 * MIB):
        reader.get("read", path=path, offset=offset, size=100)
    mount.umount()
    held = only_file(mount.cache).held_bytes
    assert 0 < held < len(CONTENT)

    mount.start()
    assert reader.digest(path) == DIGEST

    assert mount.status()["bytes"]["supernode"] == len(CONTENT) - held
    assert origin.log().most_often_sent("/file") == 1


def test_a_daemon_that_crashed_fetches_again_only_what_was_not_durable(
    fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader
) -> None:
    mount = fleet.mount("m", supernode=fleet.supernode())
    path = mount.path(origin.authority, "file")
    assert reader.digest(path) == DIGEST
    mount.kill()
    held = only_file(mount.cache).held_bytes

    mount.start()
    assert reader.digest(path) == DIGEST

    assert mount.status()["bytes"]["supernode"] == len(CONTENT) - held
    assert origin.log().most_often_sent("/file") == 1


def test_what_was_read_is_durable_after_a_while_without_an_orderly_end(
    fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader
) -> None:
    supernode = fleet.supernode()
    mount = fleet.mount("m", supernode=supernode)
    assert reader.digest(mount.path(origin.authority, "file")) == DIGEST

    # The mark is a small file beside the data; both caches write it by themselves.
    wait_until(lambda: marked_pieces(mount.cache) == marked_pieces(supernode.cache) == 97, "all pieces are durable", timeout_s=30)
    mount.kill()
    supernode.kill()

    assert only_file(mount.cache).held_bytes == len(CONTENT)
    assert only_file(supernode.cache).held_bytes == len(CONTENT)


def marked_pieces(cache: Path) -> int:
    from flyfs.core.bitmap import Bitmap  # noqa: PLC0415 - read without the store, which the running daemon owns
    from flyfs.store.blob_files import DurablePieces  # noqa: PLC0415
    from flyfs.wire.records import decode_record  # noqa: PLC0415

    found = 0
    for mark in cache.glob("blobs/*/*/durable"):
        durable = decode_record(DurablePieces, mark.read_bytes())
        found += Bitmap.from_bytes(durable.pieces, -(-len(CONTENT) // durable.piece_size)).count
    return found


@pytest.mark.parametrize("crash", [False, True], ids=["told to end", "killed"])
def test_a_supernode_that_was_restarted_asks_the_origin_only_for_what_it_lost(
    fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader, crash: bool
) -> None:
    supernode = fleet.supernode()
    first = fleet.mount("first", supernode=supernode)
    assert reader.digest(first.path(origin.authority, "file")) == DIGEST
    first.umount()  # so that nobody but the supernode has the bytes

    if crash:
        supernode.kill()
    else:
        assert supernode.stop() == 0
    held = only_file(supernode.cache).held_bytes
    assert held == len(CONTENT) or crash
    supernode.start()
    second = fleet.mount("second", supernode=supernode)
    assert reader.digest(second.path(origin.authority, "file")) == DIGEST

    assert second.status()["bytes"]["supernode"] == len(CONTENT)
    assert supernode.status()["bytes"]["origin"] == len(CONTENT) - held
    assert origin.log().of("/file").sent_bytes == 2 * len(CONTENT) - held


def test_both_restarted_at_once_go_on_without_the_origin(fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader) -> None:
    supernode = fleet.supernode()
    mount = fleet.mount("m", supernode=supernode)
    path = mount.path(origin.authority, "file")
    reader.get("read", path=path, offset=0, size=len(CONTENT) // 2)
    mount.umount()
    supernode.stop()
    supernode.start()
    mount.start()

    assert reader.digest(path) == DIGEST
    assert origin.log().most_often_sent("/file") == 1
    supernode.stop()
    mount.umount()
    assert stored_files(supernode.cache)[0].is_part_of(CONTENT)
    assert only_file(mount.cache).held_bytes == len(CONTENT)
