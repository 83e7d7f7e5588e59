"""Caches that are smaller than what is read: every byte right, no error at any reader, and never more than there is room for."""

import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, Mount, wait_until
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader
from tests.support.volume import Volume, watched

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(110)]

MIB = 1024 * 1024
CACHE_BYTES = 64 * MIB
MARK_BYTES = 4096
STEP_BYTES = 64 * 1024


@pytest.fixture
def volumes() -> Iterator[ExitStack]:
    """Volumes outlive the fleet."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def fleet(tmp_path: Path, volumes: ExitStack) -> Iterator[Fleet]:
    with Fleet.below(tmp_path) as running:
        yield running


def a_marked_file(path: Path, size: int) -> str:
    """A sparse file with random bytes at the start of each 64 KiB: its SHA-256. A piece that is a hole, or elsewhere, shows."""
    chance = random.Random(size)
    sha256 = hashlib.sha256()
    rest = bytes(STEP_BYTES - MARK_BYTES)
    with path.open("wb") as file:
        file.truncate(size)
        for start in range(0, size, STEP_BYTES):
            mark = chance.randbytes(MARK_BYTES)[: size - start]
            os.pwrite(file.fileno(), mark, start)
            sha256.update(mark)
            sha256.update(rest[: max(0, size - start - MARK_BYTES)])
    return sha256.hexdigest()


def a_small_cache(
    fleet: Fleet, volumes: ExitStack, kind: Callable[..., Any], size: int = CACHE_BYTES, *options: str
) -> tuple[Mount, Volume]:
    """A mount, not started, whose cache is a volume of its own."""
    mount = fleet.planned_mount("m", *options)
    return mount, volumes.enter_context(kind(mount.cache, size))


@pytest.mark.parametrize("size", [1024 * MIB, 256 * MIB], ids=["tmpfs", "ext4"])
def test_a_file_of_a_gibibyte_is_read_through_a_cache_of_64_mebibytes(
    fleet: Fleet, volumes: ExitStack, origin: NginxOrigin, reader: Reader, size: int
) -> None:
    expected = a_marked_file(origin.root / "large", size)
    mount, volume = a_small_cache(fleet, volumes, Volume.tmpfs if size == 1024 * MIB else Volume.ext4)
    mount.start()
    path = mount.path(origin.authority, "large")

    with watched(volume) as free:
        assert reader.digest(path, timeout_s=100) == expected

    told = mount.status()
    assert told["store"]["used_bytes"] <= volume.size_bytes
    assert told["store"]["used_bytes"] > volume.size_bytes // 2, "what fits is kept"
    assert min(free) > 0
    assert "store.pieces.evicted" in mount.log_text()
    assert told["pieces"]["rejected"] == 0
    assert origin.log().sent_bytes < 1.1 * size


def test_a_file_that_does_not_fit_is_read_at_random_by_many(
    fleet: Fleet, volumes: ExitStack, root: Path, origin: NginxOrigin, reader: Reader
) -> None:
    a_marked_file(root / "large", 4 * CACHE_BYTES)
    mount, volume = a_small_cache(fleet, volumes, Volume.tmpfs)
    mount.start()

    with watched(volume) as free:
        wrong = reader.get(
            "compare",
            path=mount.path(origin.authority, "large"),
            local=root / "large",
            seed=1,
            threads=16,
            reads=60,
            most=3 * MIB,
            timeout_s=90,
        )
    assert wrong == []
    assert min(free) > 0


def test_a_disk_that_others_fill_is_read_through_until_they_leave(
    fleet: Fleet, volumes: ExitStack, root: Path, origin: NginxOrigin, reader: Reader
) -> None:
    first, second, third = [a_marked_file(root / name, 48 * MIB - at) for at, name in enumerate(("first", "second", "third"))]
    mount, volume = a_small_cache(fleet, volumes, Volume.tmpfs)
    mount.start()
    paths = [mount.path(origin.authority, name) for name in ("first", "second", "third")]

    filler = volume.fill(but=300 * 1024)  # for the log; less than the store leaves to others
    assert reader.digest(paths[0]) == first
    told = mount.status()
    assert (told["store"]["used_bytes"], told["store"]["read_through"]) == (0, True)
    assert told["bytes"]["passed"] == 48 * MIB
    filler.unlink()
    assert reader.digest(paths[1]) == second
    told = mount.status()
    assert (told["store"]["used_bytes"], told["store"]["read_through"]) == (48 * MIB - 1, False)
    assert (mount.cache / "flyfs.log").read_text().count("store.read_through.began") == 1

    filler = volume.fill()
    assert volume.free_bytes == 0
    mount.umount()
    mount.start()
    assert reader.digest(paths[2]) == third
    assert volume.free_bytes > 0, "what was kept before made room"
    assert volume.fill() == filler
    for path, digest in zip(paths, (first, second, third), strict=True):
        reader.get("forget_pages", path=path)
        assert reader.digest(path) == digest
    filler.unlink()
    for path, digest in zip(paths, (first, second, third), strict=True):
        reader.get("forget_pages", path=path)
        assert reader.digest(path) == digest
    told = mount.status()
    assert (told["store"]["read_through"], told["pieces"]["rejected"]) == (False, 0)
    assert told["store"]["used_bytes"] >= 47 * MIB


def test_a_disk_without_inodes_is_read_through_too(
    fleet: Fleet, volumes: ExitStack, root: Path, origin: NginxOrigin, reader: Reader
) -> None:
    for number in range(30):
        a_marked_file(root / f"file{number}", MIB + number)
    mount, volume = a_small_cache(fleet, volumes, Volume.tmpfs)
    mount.start()
    assert reader.get("names", path=mount.path(origin.authority))
    taken = []
    while os.statvfs(volume.place).f_favail:
        taken.append(volume.place / f"taken{len(taken)}")
        taken[-1].touch()
        if len(taken) == 1:  # a tmpfs counts inodes by its size: leave a few only
            os.system(f"mount -o remount,nr_inodes={_inodes_used(volume) + 3} {volume.place}")

    for number in range(30):
        local = (root / f"file{number}").read_bytes()
        digest = hashlib.sha256(local).hexdigest()
        assert reader.digest(mount.path(origin.authority, f"file{number}")) == digest
    assert mount.status()["store"]["read_through"]
    for path in taken:
        path.unlink()
    os.system(f"mount -o remount,nr_inodes=10000 {volume.place}")
    wait_until(lambda: _is_kept(mount, reader, origin), "what is read is kept again")


def _inodes_used(volume: Volume) -> int:
    found = os.statvfs(volume.place)
    return found.f_files - found.f_ffree


def _is_kept(mount: Mount, reader: Reader, origin: NginxOrigin) -> bool:
    path = mount.path(origin.authority, "file7")
    reader.get("forget_pages", path=path)
    reader.digest(path)
    return mount.status()["store"]["used_bytes"] >= MIB


@pytest.mark.parametrize("count", [30, 3], ids=["small-files", "large-files"])
def test_sixteen_readers_of_three_times_the_quota_stay_within_it(
    fleet: Fleet, root: Path, origin: NginxOrigin, count: int
) -> None:
    quota, size = 100 * MIB, 300 * MIB // count
    expected = {f"file{number}": a_marked_file(root / f"file{number}", size - number) for number in range(count)}
    mount = fleet.mount("m", "--cache-limit", str(quota))
    most = [0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            most[0] = max(most[0], allocated_bytes(mount.cache / "blobs"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ExitStack() as stack:
            readers = [stack.enter_context(Reader.started()) for _ in range(16)]
            order = random.Random(count)
            turns = [order.choice(sorted(expected)) for _ in range(32)]
            for start in (0, 16):
                for reader, name in zip(readers, turns[start : start + 16], strict=True):
                    reader.begin("digest", path=mount.path(origin.authority, name))
                for reader, name in zip(readers, turns[start : start + 16], strict=True):
                    assert reader.finish(timeout_s=80).value == expected[name]
    finally:
        ended.set()
        watcher.join()
    told = mount.status()
    assert told["store"]["used_bytes"] <= quota
    assert quota // 2 < most[0] <= quota + quota // 16, "one batch more at most"
    assert told["pieces"]["rejected"] == 0


def allocated_bytes(directory: Path) -> int:
    """What the data files take on the disk now."""
    total = 0
    for path in directory.glob("*/*/data"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:  # it went while we looked
            continue
    return total
