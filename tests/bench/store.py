"""What the disk costs, and what it keeps: writing through, after a kill, opening, and reading while it is at its limit. Shell."""

import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from flyfs.core.grid import piece_size_for
from tests.bench.disk import Disk, a_disk, can_throttle
from tests.bench.ground import BIG, MB, MIB, OTHER, Ground, wait_until
from tests.bench.processes import ChildFailed, finish
from tests.bench.reading import LIMIT_S, LatencyWatch, read_all
from tests.bench.runner import Contender, Group, Round
from tests.bench.swarm import FlyfsMount, a_mount, a_supernode
from tests.support.growth import Growth
from tests.support.stored import durable_bytes

_DURABLE, _KILLED, _OPENED, _SATURATED = "to durable disk", "after kill -9", "open 10,000 blobs", "saturated disk"
_GIB = 1 << 30
_LOOK_S = 0.05
_SLOW_BYTES_PER_S = 60 * MB
"""A hard disk at work, or a cloud's small volume; decision record 3 was measured with it, too."""
_DEMAND_PAUSE_S = 0.03


def _storing(what: str, **arguments: object) -> dict[str, float]:
    output = finish([sys.executable, "-m", "tests.bench.storing", what, json.dumps(arguments)], limit_s=LIMIT_S)
    told: dict[str, float] = json.loads(output.splitlines()[-1])
    return told


# -- to durable disk ----------------------------------------------------------------------------------------------------


def _written(ground: Ground, disk: Disk, seconds: float, syncs: float, before: int) -> Mapping[str, float]:
    disk.settle()
    return {
        "mb_per_s": ground.big_bytes / seconds / MB,
        "written_per_payload": (disk.written_bytes() - before) / ground.big_bytes,
        "syncs_per_gib": syncs * _GIB / ground.big_bytes,
    }


@contextmanager
def _dd(ground: Ground) -> Iterator[Mapping[str, Round]]:
    with a_disk(ground, 2 * ground.big_bytes) as disk:

        def one() -> Mapping[str, float]:
            copy = disk.place / "copy"
            copy.unlink(missing_ok=True)
            disk.settle()
            before = disk.written_bytes()
            start_s = time.perf_counter()
            words = ["dd", f"if={ground.root / BIG}", f"of={copy}", "bs=1M", "conv=fsync", "status=none"]
            finish(words, limit_s=LIMIT_S)
            return _written(ground, disk, time.perf_counter() - start_s, 1, before)

        yield {_DURABLE: one}


@contextmanager
def _store(ground: Ground) -> Iterator[Mapping[str, Round]]:
    with a_disk(ground, 2 * ground.big_bytes) as disk:

        def one() -> Mapping[str, float]:
            directory = disk.place / "cache"
            shutil.rmtree(directory, ignore_errors=True)
            disk.settle()
            before = disk.written_bytes()
            told = _storing("receive", directory=str(directory), source=str(ground.root / BIG))
            return _written(ground, disk, told["seconds"], told["syncs"], before)

        yield {_DURABLE: one}


# -- after kill -9 ------------------------------------------------------------------------------------------------------


@contextmanager
def _killed(ground: Ground) -> Iterator[Mapping[str, Round]]:
    def one() -> Mapping[str, float]:
        ground.settle()
        with a_supernode(ground) as supernode, a_mount(ground, supernode) as mount, ThreadPoolExecutor(2) as readers:
            for name in (BIG, OTHER):
                readers.submit(read_all, mount.path(name), ground.big_bytes)  # fails with its mount
            growth = _watch_and_kill(mount, ground.big_bytes * 3 // 2)
            lost = growth.held_bytes - durable_bytes(mount.cache)
            last_2_s = growth.gained_within(2.0) / MIB
            return {"again_s": growth.age_of_last(lost), "again_mib": lost / MIB, "last_2_s_mib": last_2_s}

    yield {_KILLED: one}


def _watch_and_kill(mount: FlyfsMount, held_bytes: int) -> Growth:
    """How the store grew until the daemon had so many bytes, and was killed."""
    growth, control = Growth(), mount.control()
    until_s = time.monotonic() + LIMIT_S
    while not growth.looks or growth.held_bytes < held_bytes:
        growth.seen(time.monotonic(), int(control.status()["store"]["used_bytes"]))
        if time.monotonic() > until_s:
            raise ChildFailed(f"the daemon has {growth.held_bytes} bytes after {LIMIT_S:g} s")
        time.sleep(_LOOK_S)
    handle = os.pidfd_open(mount.pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], LIMIT_S)
    finally:
        os.close(handle)
    return growth


# -- open 10,000 blobs --------------------------------------------------------------------------------------------------


@contextmanager
def _opened(ground: Ground) -> Iterator[Mapping[str, Round]]:
    blobs = 1000 if ground.quick else 10_000
    with a_disk(ground, _GIB, bytes_per_inode=8192) as disk:
        directory = str(disk.place / "cache")
        _storing("make", directory=directory, blobs=blobs)

        def one() -> Mapping[str, float]:
            disk.mount_again()
            cold, warm = (_storing("opening", directory=directory) for _ in range(2))
            if cold["blobs"] != blobs or warm["blobs"] != blobs:
                raise ChildFailed(f"{warm['blobs']:.0f} blobs of {blobs} were found")
            return {"cold_s": cold["seconds"], "warm_s": warm["seconds"]}

        yield {_OPENED: one}


# -- saturated disk -----------------------------------------------------------------------------------------------------


@contextmanager
def _saturated(ground: Ground) -> Iterator[Mapping[str, Round]]:
    """Pages of pieces that are not here yet are read while a big file is fetched onto a slow disk."""
    names = {name: ground.root / f"{name}.bin" for name in ("idle", "busy")}
    size = (8 if ground.quick else 96) * MIB
    for place in names.values():
        place.write_bytes(os.urandom(size))
    stride_bytes = piece_size_for(size)

    def latencies(mount: FlyfsMount, name: str, ended: Callable[[], bool]) -> Mapping[str, float]:
        log = ground.scratch / f"demand-{name}.log"
        path = mount.path(names[name].name)
        with LatencyWatch.watching(path, pause_s=_DEMAND_PAUSE_S, log=log, stride_bytes=stride_bytes) as watch:
            wait_until(lambda: watch.ended or ended(), what="the reads", limit_s=LIMIT_S)
            told = watch.stop()
        return {f"{name}_{figure}": told[figure] for figure in ("reads", "p50_ms", "p99_ms", "max_ms")}

    def one() -> Mapping[str, float]:
        with ExitStack() as stack:
            disk = stack.enter_context(a_disk(ground, 2 * ground.big_bytes))
            supernode = stack.enter_context(a_supernode(ground))
            with a_mount(ground, supernode) as earlier:  # the supernode has everything then: it is not what is measured
                for name in (BIG, "idle.bin", "busy.bin"):
                    read_all(earlier.path(name), (ground.root / name).stat().st_size)
            ground.settle()
            mount = stack.enter_context(a_mount(ground, supernode, caches=disk.place))
            stack.enter_context(disk.slowed(_SLOW_BYTES_PER_S))
            figures = dict(latencies(mount, "idle", lambda: False))
            reader = stack.enter_context(ThreadPoolExecutor(1))
            bulk = reader.submit(read_all, mount.path(BIG), ground.big_bytes)
            wait_until(lambda: mount.stored_bytes() > size + ground.big_bytes // 8, what="the bulk fetch to get going")
            before, start_s = disk.written_bytes(), time.monotonic()
            figures |= latencies(mount, "busy", bulk.done)
            figures["disk_mb_per_s"] = (disk.written_bytes() - before) / (time.monotonic() - start_s) / MB
            figures["loop_lag_p99_ms"] = mount.status()["loop_lag_ms"]["p99"]
            figures["bulk_mb_per_s"] = ground.big_bytes / bulk.result() / MB
        return figures

    yield {_SATURATED: one}


def groups() -> list[Group]:
    """All under one name: what takes long has fewer rounds."""
    contenders: dict[str, Contender] = {"flyfs": _saturated} if can_throttle() else {}
    return [
        Group(name="store", measures=[_DURABLE], contenders={"dd, fsync": _dd, "flyfs": _store}),
        Group(name="store", measures=[_KILLED], contenders={"flyfs": _killed}),
        Group(name="store", measures=[_OPENED], contenders={"flyfs": _opened}, most_rounds=3),
        Group(name="store", measures=[_SATURATED], contenders=contenders, most_rounds=3),
    ]
