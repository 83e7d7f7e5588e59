"""``flyfs status [MOUNTPOINT]``: what the mounts of this host do. Shell: asks their daemons and prints."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from flyfs.cli.table import in_columns
from flyfs.config.host import HostConfig, read_status_config
from flyfs.config.places import mount_name
from flyfs.control.client import ControlClient, find_daemon, find_daemons
from flyfs.control.mounts import flyfs_mountpoints, mount_at
from flyfs.core.errors import FlyfsError, NotFound, Unavailable
from flyfs.core.units import show_rate, show_size


def prepare(arguments: Sequence[str]) -> Callable[[], int]:
    """Reads the configuration; raises ConfigError."""
    config = read_status_config(arguments, os.environ, flyfs_mountpoints())
    return lambda: _status(config)


def _status(config: HostConfig) -> int:
    daemons = find_daemons(config.runtime_directories) if config.mountpoint is None else [_daemon_of(config, config.mountpoint)]
    if not daemons:
        raise NotFound("no mount of this host can be asked; start one with flyfs mount, or ask as the user who did")
    answers: list[dict[str, Any]] = []
    failures: list[str] = []
    for daemon in daemons:
        try:
            answers.append(daemon.status())
        except FlyfsError as error:
            failures.append(f"{daemon.path.stem}: {error.message}")
    if config.json:
        sys.stdout.writelines(json.dumps(answer) + "\n" for answer in answers)
    elif len(answers) == 1 and not failures:
        sys.stdout.write(describe(answers[0]))
    else:
        sys.stdout.write(tabulate(answers))
    sys.stdout.flush()
    if failures:
        raise Unavailable("; ".join(failures))
    return 0


def _daemon_of(config: HostConfig, mountpoint: str) -> ControlClient:
    daemon = find_daemon(config.runtime_directories, mount_name(mountpoint))
    if daemon is not None:
        return daemon
    mount = mount_at(mountpoint)
    if mount is not None and mount.is_flyfs:
        raise Unavailable(f"the daemon of {mountpoint} is dead; clean up with: flyfs umount {mountpoint}")
    raise NotFound(f"{mountpoint} is not a mount of flyfs; flyfs status lists those of this host")


def describe(status: dict[str, Any]) -> str:
    """One mount, for people: a line per figure."""
    count, pieces, store = status["bytes"], status["pieces"], status["store"]
    limit = "" if store["limit_bytes"] is None else f" of {show_size(store['limit_bytes'])}"
    lines = [
        (
            "mountpoint",
            f"{status['mountpoint']} (process {status['pid']}, since {status['started_at']}, version {status['version']})",
        ),
        ("received", ", ".join(f"{show_size(count[source])} from {source}" for source in ("origin", "supernode", "peers"))),
        ("read", f"{show_size(count['store'])} from the store, {show_size(count['served'])} served to others"),
        ("pieces", f"{pieces['verified']} verified, {pieces['rejected']} rejected"),
        (
            "store",
            f"{show_size(store['used_bytes'])}{limit} in {store['blobs']} blobs, {show_size(store['free_bytes'])} free",
        ),
        ("latency", f"{status['demand_latency_ms']['p50']} ms median, {status['demand_latency_ms']['p99']} ms p99"),
        ("loop lag", f"{status['loop_lag_ms']['p99']} ms p99"),
        ("open files", str(status["open_files"])),
        ("peers", f"{status['peers']['known']} known, {len(status['peers']['isolated'])} isolated"),
    ]
    limited = status.get("limit", {})  # as "advertised" below
    if any(limited.values()):
        may = [f"{_rate(limited[f'{way}_bytes_per_s'])} to {way}" for way in ("receive", "send")]
        lines.append(("limit", f"{', '.join(may)}, for the whole host"))
    lines += [("isolated", f"{each['address']} until {each['until']}: {each['reason']}") for each in status["peers"]["isolated"]]
    lines += [("supernode", f"{each['address']} {_state(each)}") for each in status["supernodes"]]
    advertised = status.get("advertised", {"reachable": None})  # a daemon of an older version tells nothing about it
    if advertised["reachable"] is False:
        unreached = f"others do not reach this mount at {advertised['address']}, so it serves nobody: {advertised['reason']}"
        lines.append(("notice", unreached))
    if own := advertised.get("isolated"):
        lines.append(("notice", f"no other mount is sent here until {own['until']}, because this one {own['reason']}"))
    if store["read_through"]:
        lines.append(("notice", "the store has no room: what is read now is not kept"))
    if store.get("damaged"):
        dropped = f"{store['damaged']} pieces were damaged on this disk and dropped"
        lines.append(("notice", f"{dropped}; look at all of them with: flyfs cache verify"))
    return "".join(f"{name:<12}{text}\n" for name, text in lines)


def tabulate(answers: Sequence[dict[str, Any]]) -> str:
    """Several mounts, for people: a line per mount."""
    rows: list[tuple[str, ...]] = [("MOUNTPOINT", "PID", "ORIGIN", "SUPERNODE", "PEERS", "STORE", "OPEN", "SUPERNODES")]
    rows += [
        (
            str(each["mountpoint"]),
            str(each["pid"]),
            *(show_size(each["bytes"][source]) for source in ("origin", "supernode", "peers")),
            show_size(each["store"]["used_bytes"]),
            str(each["open_files"]),
            ", ".join(f"{supernode['address']} {_state(supernode)}" for supernode in each["supernodes"]),
        )
        for each in answers
    ]
    return in_columns(rows)


def _rate(rate: int | None) -> str:
    return "no limit" if rate is None else show_rate(rate)


def _state(supernode: dict[str, Any]) -> str:
    state: str = supernode["state"]
    return f"{state} ({supernode['reason']})" if supernode["reason"] else state
