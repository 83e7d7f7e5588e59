"""A file of 1 TiB: read at its start, in its middle and at its end, with memory that does not follow its size."""

import hashlib
import random
from pathlib import Path

import pytest

from tests.support.fleet import Fleet
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(110)]

KIB = 1024
MIB = 1024 * KIB
SIZE = 1 << 40
PIECE_BYTES = 4 * MIB
MOST_MEMORY_BYTES = 150 * MIB
"""The program's own promise for a daemon."""
MARK = random.Random(1).randbytes(3 * MIB)
PLACES = {0: 0, SIZE // 2 - MIB: 1, SIZE - len(MARK): 2}


def most_memory_bytes(pid: int) -> int:
    """The peak of a process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * KIB


def test_a_sparse_tebibyte_is_read_where_it_is_read(fleet: Fleet, root: Path, origin: NginxOrigin, reader: Reader) -> None:
    with (root / "huge").open("wb") as file:
        file.truncate(SIZE)
        for place, seed in PLACES.items():
            file.seek(place)
            file.write(bytes([seed]) + MARK[1:])
    supernode = fleet.supernode()
    mount = fleet.mount("m", supernode=supernode)
    path = mount.path(origin.authority, "huge")

    assert reader.get("stat", path=path)["st_size"] == SIZE
    for place, seed in PLACES.items():
        expected = bytes([seed]) + MARK[1:]
        found = reader.get("read", path=path, offset=place, size=len(expected))
        assert found == {"size": len(expected), "sha256": hashlib.sha256(expected).hexdigest()}
    hole = reader.get("read", path=path, offset=SIZE // 3, size=100)
    assert hole["sha256"] == hashlib.sha256(bytes(100)).hexdigest()
    assert reader.get("read", path=path, offset=SIZE - 1, size=100)["size"] == 1
    assert reader.get("read", path=path, offset=SIZE, size=100)["size"] == 0

    have, _, pieces = reader.get("xattr", path=path, name="user.flyfs.pieces").partition("/")
    assert (int(pieces), reader.get("xattr", path=path, name="user.flyfs.piece_size")) == (SIZE // PIECE_BYTES, str(PIECE_BYTES))
    assert int(have) < 60
    assert origin.log().sent_bytes < 60 * PIECE_BYTES
    assert origin.log().most_often_sent("/huge") == 1
    assert most_memory_bytes(mount.pid) < MOST_MEMORY_BYTES
    assert most_memory_bytes(supernode.pid) < MOST_MEMORY_BYTES
    used = sum(file.stat().st_blocks for cache in (mount.cache, supernode.cache) for file in cache.rglob("*")) * 512
    assert used < 150 * PIECE_BYTES

    mount.umount()
    mount.start()
    sent = origin.log().sent_bytes
    expected = bytes([1]) + MARK[1:]
    assert reader.get("read", path=path, offset=SIZE // 2 - MIB, size=len(expected))["size"] == len(expected)
    assert mount.status()["bytes"]["supernode"] == 0
    assert origin.log().sent_bytes == sent


def test_copying_a_part_with_tools_that_skip_reads_no_more_than_that(
    fleet: Fleet, root: Path, origin: NginxOrigin, reader: Reader, tmp_path: Path
) -> None:
    with (root / "huge").open("wb") as file:
        file.truncate(SIZE)
    mount = fleet.mount("m")
    path = mount.path(origin.authority, "huge")
    reader.get("mapped", path=path, parts=[[SIZE - 5000, 5000], [SIZE // 2, 5000], [0, 5000]], timeout_s=60)
    assert origin.log().sent_bytes < 60 * PIECE_BYTES
    assert most_memory_bytes(mount.pid) < MOST_MEMORY_BYTES
