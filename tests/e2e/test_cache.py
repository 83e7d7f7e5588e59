"""A cache in real daemons' hands: who may have it, what becomes of damage, and what ``flyfs cache`` does to it."""

import hashlib
import json
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Mount, run_bounded
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(100)]

MIB = 1024 * 1024
CONTENT = random.Random(9).randbytes(6 * MIB + 5)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PIECE = 256 * 1024
PIECES = -(-len(CONTENT) // PIECE)


@pytest.fixture
def file(root: Path) -> Path:
    place = root / "file"
    place.write_bytes(CONTENT)
    return place


def data_of(cache: Path) -> Path:
    (data,) = cache.glob("blobs/*/*/data")
    return data


def damage(data: Path, *pieces: int) -> None:
    with data.open("r+b") as file:
        for piece in pieces:
            file.seek(piece * PIECE + 77)
            file.write(b"damage")


def test_two_daemons_do_not_share_a_cache_and_the_second_is_told_who_has_it(fleet: Fleet, tmp_path: Path) -> None:
    supernode = fleet.supernode()
    first = fleet.mount("first", supernode=supernode)
    second = fleet.planned_mount("second", supernode=supernode)
    second.cache = first.cache

    finished = run_bounded(second.words, env=fleet.environment)
    assert finished.status == 1
    assert finished.stderr == (
        f"flyfs: mount: the cache directory {first.cache} is in use by process {first.pid} (flyfs mount {first.mountpoint}); "
        "give another one (--cache), or end that process first\n"
    )
    assert not second.is_mounted

    program = [*map(str, first.words[:1])]
    words = [program[0] + "-supernode", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--cache", first.cache]
    finished = run_bounded(words, env=fleet.environment)
    assert finished.status == 1
    assert f"in use by process {first.pid} (flyfs mount {first.mountpoint});" in finished.stderr

    words[-1] = supernode.cache
    finished = run_bounded(words, env=fleet.environment)
    assert finished.status == 1
    assert f"in use by process {supernode.pid} (flyfs-supernode --listen 127.0.0.1:0);" in finished.stderr

    first.kill()
    second.start()
    assert second.status()["store"]["directory"] == str(first.cache)


def test_damage_that_a_crash_left_is_fetched_again_and_nobody_reads_it(
    fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader
) -> None:
    supernode = fleet.supernode()
    mount = fleet.mount("m", supernode=supernode)
    path = mount.path(origin.authority, "file")
    assert reader.digest(path) == DIGEST
    assert mount.umount().status == 0
    mount.start()  # all is durable
    mount.kill()
    damage(data_of(mount.cache), 3, 17)

    mount.start()
    assert reader.digest(path) == DIGEST

    told = mount.status()
    assert told["store"]["damaged"] == 2
    assert told["bytes"]["supernode"] == 2 * PIECE
    assert mount.log_text().count("store.piece.damaged") == 2
    assert origin.log().most_often_sent("/file") == 1


def test_a_peer_is_served_nothing_that_a_crash_damaged(fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader) -> None:
    supernode = fleet.supernode()
    first = fleet.mount("first", supernode=supernode)
    assert reader.digest(first.path(origin.authority, "file")) == DIGEST
    assert first.umount().status == 0
    damage(data_of(first.cache), 5)
    first.start()

    second = fleet.mount("second", supernode=supernode)
    assert reader.digest(second.path(origin.authority, "file")) == DIGEST
    assert second.status()["pieces"]["rejected"] == 0


def listed(fleet: Fleet, cache: Path) -> list[dict[str, object]]:
    finished = fleet.run("cache", "ls", "--json", "--cache", cache)
    assert finished.status == 0, finished
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_a_running_mounts_cache_is_listed_verified_and_emptied(
    fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader
) -> None:
    supernode = fleet.supernode()
    mount = fleet.mount("m", supernode=supernode)
    path = mount.path(origin.authority, "file")
    assert reader.digest(path) == DIGEST
    (row,) = listed(fleet, mount.cache)
    assert (row["held_bytes"], row["held_pieces"], row["in_use"]) == (len(CONTENT), PIECES, row["in_use"])
    assert row["url"] == origin.url("file")

    mount.umount()
    mount.start()
    damage(data_of(mount.cache), 2)
    finished = fleet.run("cache", "verify", "--cache", mount.cache)
    assert finished.status == 1
    assert f"damaged: piece 2 of blob {str(row['id'])[:12]}: its bytes do not match its digest" in finished.stdout
    assert reader.digest(path) == DIGEST
    assert mount.status()["bytes"]["supernode"] == PIECE

    with path.open("rb") as opened:
        opened.read(1)
        finished = fleet.run("cache", "rm", origin.url("file"), "--cache", mount.cache)
        assert finished.status == 1
        assert f"in use, and not dropped: {row['id']}" in finished.stderr
    remove_when_idle(fleet, mount, origin.url("file"))
    assert listed(fleet, mount.cache) == []
    assert reader.digest(path) == DIGEST

    finished = fleet.run("cache", "verify", "--cache", supernode.cache)
    assert finished.status == 1
    assert f"in use by process {supernode.pid} (flyfs-supernode" in finished.stderr
    assert [row["held_bytes"] for row in listed(fleet, supernode.cache)] == [len(CONTENT)]


def remove_when_idle(fleet: Fleet, mount: Mount, url: str) -> None:
    """The kernel tells late that a file was closed, and the store syncs what came last."""
    for _ in range(50):
        finished = fleet.run("cache", "rm", url, "--cache", mount.cache)
        if finished.status == 0:
            return
        assert "in use" in finished.stderr
    raise AssertionError(finished)


def test_a_verification_that_is_interrupted_leaves_the_cache_to_its_mount(
    fleet: Fleet, origin: NginxOrigin, file: Path, reader: Reader
) -> None:
    mount = fleet.mount("m")
    assert reader.digest(mount.path(origin.authority, "file")) == DIGEST
    mount.umount()
    words = [str(mount.words[0]), "cache", "verify", "--cache", str(mount.cache)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=fleet.environment) as running:
        running.send_signal(signal.SIGINT)
        running.wait(20)
    mount.start()
    assert reader.digest(mount.path(origin.authority, "file")) == DIGEST
    assert mount.status()["store"]["damaged"] == 0
