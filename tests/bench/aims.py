"""The aims: what the project wants of itself, relative to its neighbours in the same run. Pure."""

from typing import Literal

from tests.bench.completion import crowd_measure
from tests.bench.figures import Aim, Key

_RATE = "mb_per_s"
_SECONDS: list[tuple[str, str, Literal[">=", "<="], float]] = [
    ("the leanest second", "least", ">=", 0.95),
    ("the fullest second", "most", "<=", 1.05),
    ("the leanest second once one of three ended", "after_least", ">=", 0.95),
    ("the fullest second once one of three ended", "after_most", "<=", 1.05),
]


def _rate(title: str, measure: str, contender: str, factor: float, of: str) -> Aim:
    return Aim(
        title=title, key=Key(measure, contender, _RATE), unit="MB/s", direction=">=", factor=factor, of=Key(measure, of, _RATE)
    )


def _reads(readers: int) -> Aim:
    measure = f"random 4 KiB, {readers} reader{'s' if readers > 1 else ''}"
    return Aim(
        title=f"{measure}: 0.7 x toy",
        key=Key(measure, "flyfs", "reads_per_s"),
        unit="reads/s",
        direction=">=",
        factor=0.7,
        of=Key(measure, "toy", "reads_per_s"),
    )


def _at_most(title: str, measure: str, value: str, unit: str, constant: float) -> Aim:
    return Aim(title=title, key=Key(measure, "flyfs", value), unit=unit, direction="<=", constant=constant)


def _first_byte(title: str, measure: str, round_trips: int) -> Aim:
    return Aim(
        title=title,
        key=Key(measure, "flyfs", "ms"),
        unit="ms",
        direction="<=",
        factor=round_trips,
        of=Key(measure, "flyfs", "round_trip_ms"),
        constant=30,
    )


def _crowd(size: int) -> list[Aim]:
    measure = crowd_measure(size)
    return [
        Aim(
            title=f"{size} readers at once, mean: 1.2 x one wget alone",
            key=Key(measure, "flyfs", "mean_s"),
            unit="s",
            direction="<=",
            factor=1.2,
            of=Key(crowd_measure(1), "wget", "mean_s"),
        ),
        _at_most(f"{size} readers at once: sent by the supernode, headers and all", measure, "supernode_copies", "files", 3.5),
        _at_most(f"{size} readers at once: sent by the origin", measure, "origin_copies", "files", 1.0),
    ]


_LIMITED = [
    Aim(
        title=f"a limit of 20 MB/s: {which}",
        key=Key("limit of 20 MB/s", "flyfs", value),
        unit="of it",
        direction=direction,
        constant=constant,
    )
    for which, value, direction, constant in _SECONDS
]

AIMS = [
    _rate("cold through the supernode: 1.2 x rclone with cache", "cold", "flyfs, supernode", 1.2, "rclone, full"),
    _rate("cold from a peer: 1.5 x rclone with cache", "cold", "flyfs, peer", 1.5, "rclone, full"),
    _rate("warm, the mount's pages dropped: 3 x rclone", "warm", "flyfs", 3.0, "rclone, full"),
    _rate("warm, the mount's pages dropped: 0.8 x toy", "warm", "flyfs", 0.8, "toy"),
    _rate("warm, all pages dropped: 3 x rclone", "warm, from disk", "flyfs", 3.0, "rclone, full"),
    _rate("warm, all pages dropped: 0.8 x toy", "warm, from disk", "flyfs", 0.8, "toy"),
    _rate("in the kernel's cache: 0.9 x toy", "kernel's cache", "flyfs", 0.9, "toy"),
    _reads(1),
    _reads(8),
    _at_most("ls -l of 10,000 entries, cold", "ls -l", "cold_s", "s", 1.0),
    _at_most("ls -l of 10,000 entries, warm", "ls -l", "warm_s", "s", 0.2),
    _first_byte("first byte, listed: 1 round trip + 30 ms", "first byte, listed", 1),
    *(
        _first_byte(
            f"first byte, unlisted, depth {depth}: {depth + 1} round trips + 30 ms", f"first byte, depth {depth}", depth + 1
        )
        for depth in (1, 2, 3)
    ),
    _at_most("warm 4 KiB reads under load, p99", "under load", "read_p99_ms", "ms", 5.0),
    _at_most("loop lag under load, p99", "under load", "loop_lag_p99_ms", "ms", 10.0),
    Aim(
        title="upload under load",
        key=Key("under load", "flyfs", "upload_mb_per_s"),
        unit="MB/s",
        direction=">=",
        constant=200.0,
    ),
    _rate("from a socket to the durable disk: 0.8 x dd conv=fsync", "to durable disk", "flyfs", 0.8, "dd, fsync"),
    _at_most("bytes written to the disk per byte stored", "to durable disk", "written_per_payload", "", 1.02),
    _at_most("fetched again after kill -9", "after kill -9", "again_s", "s", 2.0),
    _at_most("a store of 10,000 blobs opens, cached", "open 10,000 blobs", "warm_s", "s", 1.0),
    _at_most("a store of 10,000 blobs opens, from disk", "open 10,000 blobs", "cold_s", "s", 1.0),
    Aim(
        title="demand reads while the disk is saturated, p99: 2 x idle",
        key=Key("saturated disk", "flyfs", "busy_p99_ms"),
        unit="ms",
        direction="<=",
        factor=2.0,
        of=Key("saturated disk", "flyfs", "idle_p99_ms"),
    ),
    _at_most("loop lag while the disk is saturated, p99", "saturated disk", "loop_lag_p99_ms", "ms", 10.0),
    *(aim for size in (4, 10, 30) for aim in _crowd(size)),
    _at_most("10,000 peers come at once: refused", "supernode: burst", "refused", "", 0.0),
    Aim(title="peer to peer", key=Key("peer to peer", "flyfs", _RATE), unit="MB/s", direction=">=", constant=600.0),
    *_LIMITED,
    _at_most("demanded under a limit, from the supernode", "demand under a limit", "max_pieces", "piece times", 2.0),
    Aim(
        title="demanded under a limit, from a neighbour",
        key=Key("demand under a limit", "flyfs, peer", "max_pieces"),
        unit="piece times",
        direction="<=",
        constant=2.0,
    ),
    _at_most("daemon's memory (VmHWM), the most of all", "memory", "daemon_mib", "MiB", 150.0),
]
"""In the order of the table."""
