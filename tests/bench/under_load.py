"""One daemon that does everything at once: answers small warm reads, uploads to another daemon, fetches in bulk. Shell."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from tests.bench.ground import BIG, MB, OTHER, SMALL, Ground
from tests.bench.neighbours import OtherMount, a_toy_mount
from tests.bench.processes import CpuMeter
from tests.bench.reading import LatencyWatch, drop_pages, read_all
from tests.bench.runner import Group, Round
from tests.bench.swarm import FlyfsMount, a_mount, a_supernode

_PAUSE_S = 0.002
"""Between two small reads: some 300 a second, so that the reader itself is no load."""


@contextmanager
def _flyfs(ground: Ground) -> Iterator[Mapping[str, Round]]:
    def one() -> Mapping[str, float]:
        with a_supernode(ground) as supernode, a_mount(ground, supernode) as busy, a_mount(ground, supernode) as other:
            read_all(busy.path(SMALL), ground.small_bytes)
            read_all(busy.path(BIG), ground.big_bytes)
            ground.settle()
            drop_pages(busy.path(SMALL))
            with a_toy_mount(ground) as toy:
                return _all_at_once(ground, busy, other, toy, supernode.pid)

    yield {"under load": one}


def _all_at_once(ground: Ground, busy: FlyfsMount, other: FlyfsMount, toy: OtherMount, supernode_pid: int) -> Mapping[str, float]:
    """The idle toy beside it tells what the full machine alone does to a small read."""
    served = busy.status()["bytes"]["served"]
    meter = CpuMeter(daemon=[busy.pid], other=[other.pid], supernode=[supernode_pid], origin=ground.origin_pids())
    with ExitStack() as stack:
        watches = [
            stack.enter_context(LatencyWatch.watching(path, pause_s=_PAUSE_S, log=ground.scratch / f"latency-{name}.log"))
            for name, path in (("flyfs", busy.path(SMALL)), ("toy", toy.big))
        ]
        readers = stack.enter_context(ThreadPoolExecutor(2))
        start_s = time.perf_counter()
        upload = readers.submit(read_all, other.path(BIG), ground.big_bytes)
        fetch = readers.submit(read_all, busy.path(OTHER), ground.big_bytes)
        upload_s, fetch_s = upload.result(), fetch.result()
        seconds = time.perf_counter() - start_s
        reads, toy_reads = (watch.stop() for watch in watches)
    told = busy.status()
    return {
        "read_p50_ms": reads["p50_ms"],
        "read_p99_ms": reads["p99_ms"],
        "read_max_ms": reads["max_ms"],
        "reads": reads["reads"],
        "toy_read_p99_ms": toy_reads["p99_ms"],
        "loop_lag_p99_ms": told["loop_lag_ms"]["p99"],
        "upload_mb_per_s": (told["bytes"]["served"] - served) / upload_s / MB,
        "fetch_mb_per_s": ground.big_bytes / fetch_s / MB,
        "seconds": seconds,
    } | meter.per_gib(ground.big_bytes)


def groups() -> list[Group]:
    """Measured against fixed bounds."""
    return [Group(name="load", measures=["under load"], contenders={"flyfs": _flyfs}, most_rounds=3)]
