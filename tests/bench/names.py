"""A listing of 10,000 files, and how many round trips to the origin a first byte costs. Shell."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count

from tests.bench.ground import MANY, MIB, Ground
from tests.bench.neighbours import an_rclone_mount
from tests.bench.processes import ChildFailed, finish, running
from tests.bench.reading import LIMIT_S, ask
from tests.bench.runner import Group, Round
from tests.bench.swarm import FlyfsMount, a_mount, a_supernode

_ROUND_TRIP_MS = 50
_SIZE_BYTES = 8 * MIB
_DEPTHS = (1, 2, 3)


def _listed_s(ground: Ground, path: str) -> float:
    start_s = time.perf_counter()
    output = finish(["ls", "-l", path], limit_s=LIMIT_S)
    seconds = time.perf_counter() - start_s
    if output.count("\n") != ground.entries + 1:
        raise ChildFailed(f"{output.count(chr(10)) - 1} entries instead of {ground.entries}")
    return seconds


@contextmanager
def _flyfs_listing(ground: Ground) -> Iterator[Mapping[str, Round]]:
    def one() -> Mapping[str, float]:
        with a_supernode(ground) as supernode, a_mount(ground, supernode) as mount:
            path = mount.path(MANY)
            return {"cold_s": _listed_s(ground, path), "warm_s": _listed_s(ground, path)}

    yield {"ls -l": one}


@contextmanager
def _rclone_listing(ground: Ground) -> Iterator[Mapping[str, Round]]:
    def one() -> Mapping[str, float]:
        with an_rclone_mount(ground, "full") as mount:
            path = f"{mount.mountpoint}/{MANY}"
            return {"cold_s": _listed_s(ground, path), "warm_s": _listed_s(ground, path)}

    yield {"ls -l": one}


@contextmanager
def _first_bytes(ground: Ground) -> Iterator[Mapping[str, Round]]:
    """Files that nobody has asked for yet, behind a slow line whose connections are open."""
    words = [sys.executable, "-m", "tests.bench.slow_line", str(ground.origin.port), str(_ROUND_TRIP_MS)]
    numbers = count()
    with running(words, log=ground.scratch / "slow-line.log", talks=True) as line:
        assert line.stdout is not None
        authority = f"127.0.0.1:{int(line.stdout.readline())}"
        with a_supernode(ground) as supernode, a_mount(ground, supernode) as mount:

            def listed() -> Mapping[str, float]:
                name = f"listed-{next(numbers)}"
                _make(ground, f"{name}/file.bin")
                ask("visit", paths=[mount.path(f"{name}/", authority)])
                return _first_ms(mount, authority, f"{name}/file.bin")

            def unlisted(depth: int) -> Mapping[str, float]:
                name = f"d{next(numbers)}/" * (depth - 1) + f"f{next(numbers)}.bin"
                _make(ground, name)
                return _first_ms(mount, authority, name)

            deep = {f"first byte, depth {depth}": (lambda d=depth: unlisted(d)) for depth in _DEPTHS}
            yield {"first byte, listed": listed, **deep}


def _first_ms(mount: FlyfsMount, authority: str, name: str) -> Mapping[str, float]:
    """Opens connections, for a lookup asks twice at once; tells what a bare round trip takes; then opens and reads."""
    ask("visit", paths=[mount.path(f"missing-{time.monotonic_ns()}", authority)])
    round_trip_ms = _round_trip_ms(authority)
    told = ask("first", path=mount.path(name, authority))
    return {"ms": told["seconds"] * 1000, "open_ms": told["open_seconds"] * 1000, "round_trip_ms": round_trip_ms}


def _round_trip_ms(authority: str) -> float:
    """What curl measures for a second request on a connection."""
    words = ["curl", "-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{time_starttransfer}\\n", f"http://{authority}/none"]
    output = finish([*words, "-o", "/dev/null", f"http://{authority}/none"], limit_s=LIMIT_S)
    return float(output.split()[-1]) * 1000


def _make(ground: Ground, name: str) -> None:
    path = ground.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(_SIZE_BYTES)


def groups() -> list[Group]:
    """Listings with rclone beside; first bytes against the round trip alone."""
    return [
        Group(
            name="listing",
            measures=["ls -l"],
            contenders={"rclone, full": _rclone_listing, "flyfs": _flyfs_listing},
            most_rounds=3,
            left_out_when_quick={"rclone, full"},
        ),
        Group(
            name="first-byte",
            measures=["first byte, listed", *(f"first byte, depth {depth}" for depth in _DEPTHS)],
            contenders={"flyfs": _first_bytes},
        ),
    ]
