"""Cold reads of the big file: nobody but the origin (or one peer) has it. Shell."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.bench.ground import BIG, MB, Ground
from tests.bench.neighbours import an_rclone_mount
from tests.bench.processes import ChildFailed, CpuMeter, finish
from tests.bench.reading import LIMIT_S, read_all
from tests.bench.runner import Contender, Group, Round
from tests.bench.swarm import FlyfsMount, Supernode, a_mount, a_supernode

_MEASURE = "cold"
LOCAL_COPY = ("dd", "if={big}", "of={copy}", "bs=1M", "status=none")
"""What it costs to write a page cache full."""


def _rate(ground: Ground, seconds: float) -> dict[str, float]:
    return {"mb_per_s": ground.big_bytes / seconds / MB}


def copied(*words: str, reads_only: bool, measure: str = _MEASURE) -> Contender:
    """A program that reads or copies the big file, to take part in a measure; fills in ``{big}``, ``{url}``, ``{copy}``."""

    @contextmanager
    def contender(ground: Ground) -> Iterator[Mapping[str, Round]]:
        copy = ground.scratch / "copy"

        def one() -> Mapping[str, float]:
            names = {"big": str(ground.root / BIG), "url": ground.origin.url(BIG), "copy": str(copy)}
            ground.settle()
            meter = CpuMeter(origin=ground.origin_pids())
            start_s = time.perf_counter()
            try:
                finish([word.format(**names) for word in words], limit_s=LIMIT_S)
                seconds = time.perf_counter() - start_s
                if not reads_only and copy.stat().st_size != ground.big_bytes:
                    raise ChildFailed(f"{words[0]} made {copy.stat().st_size} bytes")
            finally:
                copy.unlink(missing_ok=True)
            return _rate(ground, seconds) | meter.per_gib(ground.big_bytes)

        yield {measure: one}

    return contender


def _rclone(mode: str) -> Contender:
    @contextmanager
    def contender(ground: Ground) -> Iterator[Mapping[str, Round]]:
        def one() -> Mapping[str, float]:
            with an_rclone_mount(ground, mode) as mount:
                ground.settle()
                meter = CpuMeter(origin=ground.origin_pids(), rclone=[mount.pid])
                seconds = read_all(mount.big, ground.big_bytes)
                return _rate(ground, seconds) | meter.per_gib(ground.big_bytes)

        yield {_MEASURE: one}

    return contender


def _timed(ground: Ground, mount: FlyfsMount, **others: list[int]) -> dict[str, float]:
    """A cold read through flyfs, with what each process needed and where the bytes came from."""
    ground.settle()
    meter = CpuMeter(origin=ground.origin_pids(), daemon=[mount.pid], **others)
    seconds = read_all(mount.path(BIG), ground.big_bytes)
    cpu = meter.per_gib(ground.big_bytes)
    told = mount.status()
    came = {f"from_{name}": told["bytes"][name] / ground.big_bytes for name in ("supernode", "peers")}
    return _rate(ground, seconds) | came | {"loop_lag_p99_ms": told["loop_lag_ms"]["p99"]} | cpu


@contextmanager
def _through_supernode(ground: Ground) -> Iterator[Mapping[str, Round]]:
    """Two hops, both caches fresh."""

    def one() -> Mapping[str, float]:
        with a_supernode(ground) as supernode, a_mount(ground, supernode) as mount:
            return _timed(ground, mount, supernode=[supernode.pid])

    yield {_MEASURE: one}


@contextmanager
def _zero_configuration(ground: Ground) -> Iterator[Mapping[str, Round]]:
    """What ``flyfs mount DIR`` alone gives."""

    def one() -> Mapping[str, float]:
        with a_mount(ground, None) as mount:
            return _timed(ground, mount, supernode=mount.embedded_pids())

    yield {_MEASURE: one}


@contextmanager
def _from_a_peer(ground: Ground) -> Iterator[Mapping[str, Round]]:
    """A second daemon with a fresh cache, while a first one has everything, and so has the supernode."""
    with a_supernode(ground) as supernode, a_mount(ground, supernode) as first:
        read_all(first.path(BIG), ground.big_bytes)
        yield {_MEASURE: lambda: _second(ground, supernode, first)}


def _second(ground: Ground, supernode: Supernode, first: FlyfsMount) -> Mapping[str, float]:
    with a_mount(ground, supernode) as mount:
        before = supernode.served_bytes()
        values = _timed(ground, mount, supernode=[supernode.pid], peer=[first.pid])
        return values | {"supernode_sent": (supernode.served_bytes() - before) / ground.big_bytes}


def groups() -> list[Group]:
    """One group: the rounds of all take turns."""
    return [
        Group(
            name="cold",
            measures=[_MEASURE],
            contenders={
                "dd, local": copied("dd", "if={big}", "of=/dev/null", "bs=1M", "status=none", reads_only=True),
                "dd, local copy": copied(*LOCAL_COPY, reads_only=False),
                "curl, to a file": copied("curl", "-sS", "--noproxy", "*", "-o", "{copy}", "{url}", reads_only=False),
                "rclone, off": _rclone("off"),
                "rclone, full": _rclone("full"),
                "flyfs, supernode": _through_supernode,
                "flyfs, peer": _from_a_peer,
                "flyfs, alone": _zero_configuration,
            },
            left_out_when_quick={"rclone, off"},
        )
    ]
