"""Reads of what is here already: from the store, from the disk, from the kernel's cache; in order and scattered. Shell."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.bench.ground import BIG, MB, MIB, Ground
from tests.bench.neighbours import OtherMount, a_toy_mount, an_rclone_mount
from tests.bench.processes import CpuMeter
from tests.bench.reading import ask, drop_pages, read_all
from tests.bench.runner import Contender, Group, Round
from tests.bench.swarm import a_mount, a_supernode

_TOLERATED_BYTES = MIB
"""Pages that are just being read ahead, or belong to a neighbour's last request, may stay."""
_READERS = (1, 8)


def _scattered_name(readers: int) -> str:
    return f"random 4 KiB, {readers} reader{'s' if readers > 1 else ''}"


def _rounds(ground: Ground, path: str, pid: int, stored: Callable[[], Sequence[str]]) -> Mapping[str, Round]:
    """The rounds of a mount that has seen the whole file once; each leaves it so that any other can follow."""

    def timed() -> Mapping[str, float]:
        meter = CpuMeter(daemon=[pid])
        seconds = read_all(path, ground.big_bytes)
        return {"mb_per_s": ground.big_bytes / seconds / MB} | meter.per_gib(ground.big_bytes)

    def from_store() -> Mapping[str, float]:
        drop_pages(path, tolerated_bytes=_TOLERATED_BYTES)
        return timed()

    def from_disk() -> Mapping[str, float]:
        ground.settle()  # pages that are not on disk yet cannot be dropped
        drop_pages(path, *stored(), tolerated_bytes=_TOLERATED_BYTES)
        return timed()

    def from_kernel() -> Mapping[str, float]:
        drop_pages(path, tolerated_bytes=_TOLERATED_BYTES)  # fresh ones: how fast a page is depends on where it lies
        read_all(path, ground.big_bytes)
        return timed()

    def scattered(readers: int) -> Mapping[str, float]:
        drop_pages(path, tolerated_bytes=_TOLERATED_BYTES)
        told = ask("scattered", path=path, readers=readers, seconds=0.5 if ground.quick else 3.0)
        return {"reads_per_s": told["reads"] / told["seconds"]}

    many = {_scattered_name(readers): (lambda count=readers: scattered(count)) for readers in _READERS}
    return {"warm": from_store, "warm, from disk": from_disk, "kernel's cache": from_kernel, **many}


@contextmanager
def _flyfs(ground: Ground) -> Iterator[Mapping[str, Round]]:
    with a_supernode(ground) as supernode, a_mount(ground, supernode) as mount:
        read_all(mount.path(BIG), ground.big_bytes)
        yield _rounds(ground, mount.path(BIG), mount.pid, mount.stored_files)


@contextmanager
def _toy(ground: Ground) -> Iterator[Mapping[str, Round]]:
    with a_toy_mount(ground) as mount:
        yield _filled(ground, mount)


def _rclone(mode: str) -> Contender:
    @contextmanager
    def contender(ground: Ground) -> Iterator[Mapping[str, Round]]:
        with an_rclone_mount(ground, mode) as mount:
            yield _filled(ground, mount)

    return contender


def _filled(ground: Ground, mount: OtherMount) -> Mapping[str, Round]:
    read_all(mount.big, ground.big_bytes)
    return _rounds(ground, mount.big, mount.pid, mount.stored_files)


def groups() -> list[Group]:
    """One group with five measures of the same mounts."""
    return [
        Group(
            name="warm",
            measures=["warm", "warm, from disk", "kernel's cache", *map(_scattered_name, _READERS)],
            contenders={"toy": _toy, "rclone, full": _rclone("full"), "flyfs": _flyfs},
        )
    ]
