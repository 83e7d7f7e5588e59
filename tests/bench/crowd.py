"""The seed's benchmark at a tenth of its scale: N readers of one new file start together, each on a host of its own. Shell.

Every host has a network namespace and a card of 20 Mbit/s; the origin and the supernode have one of 40 Mbit/s each. Either every
host reads the file through a mount of its own, or every host fetches it with ``wget``. Pieces have 128 KiB, so that the file has
as many as 200 MiB have at 1 MiB. The unit is what one ``wget`` alone takes. Source: the chart of Dragonfly's README.
"""

import os
import selectors
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.completion import crowd_measure, summary
from tests.bench.ground import MIB, Ground
from tests.bench.machine import CpuShare
from tests.bench.processes import ChildFailed, cpu_s, finish, running
from tests.bench.reading import LIMIT_S
from tests.bench.runner import Group, Round
from tests.bench.swarm import FlyfsMount, Host, Supernode, a_mount, a_supernode
from tests.support.nginx import NginxOrigin, RequestLog
from tests.support.shaped_network import NETWORK, ShapedHost, a_shaped_network

FILE_BYTES = 20 * MIB
PIECE_SIZE = "128KiB"
PEER_MBIT_S, SERVER_MBIT_S = 20, 40
CROWDS, QUICK_CROWDS = (1, 4, 10, 30), (1, 4)
_FILE = "new.bin"
_MOUNTING = 4
"""Daemons that start at the same time: more only wait for a core."""
_AT_WORST = 3.0
"""Readers may take this much longer than a server's card takes to send everybody the file."""


@dataclass(frozen=True, slots=True)
class Field:
    """The hosts, and an origin that nobody has asked for anything.

    Attributes:
        directory: below what the origin serves; a file in it is made by who reads it.
    """

    ground: Ground
    origin: NginxOrigin
    origin_host: ShapedHost
    supernode_host: ShapedHost
    peers: Sequence[ShapedHost]
    directory: Path

    @contextmanager
    def a_new_file(self) -> Iterator[Path]:
        """One that nobody has ever asked for."""
        path = self.directory / _FILE
        path.write_bytes(os.urandom(FILE_BYTES))
        try:
            yield path
        finally:
            path.unlink()


@contextmanager
def _a_field(ground: Ground) -> Iterator[Field]:
    most = max(_crowds(ground))
    rates: dict[str, float] = {"origin": SERVER_MBIT_S, "supernode": SERVER_MBIT_S}
    rates |= {f"peer {number}": PEER_MBIT_S for number in range(most)}
    with ground.directory("field") as directory, a_shaped_network(rates) as hosts:
        origin_host, supernode_host, *peers = hosts.values()
        with NginxOrigin.serving(directory, address=origin_host.address, new_socket=origin_host.tcp_socket) as origin:
            yield Field(ground, origin, origin_host, supernode_host, peers, directory)


@contextmanager
def _wget(ground: Ground) -> Iterator[Mapping[str, Round]]:
    with _a_field(ground) as field:
        yield {crowd_measure(size): (lambda size=size: _fetched(field, size)) for size in _crowds(ground)}


def _fetched(field: Field, size: int) -> Mapping[str, float]:
    with field.a_new_file(), field.ground.directory("wget") as place:
        commands = [
            [*peer.enter, "wget", "--no-proxy", "--quiet", "--tries=1", "-O", str(place / str(number)), field.origin.url(_FILE)]
            for number, peer in enumerate(field.peers[:size])
        ]
        before, share = field.origin.log(), CpuShare()
        told = summary(_ends_s(field, commands)) | {"machine_busy": share.busy(), "origin_copies": _origin_copies(field, before)}
        for number in range(size):
            _require_same(place / str(number), field.directory / _FILE)
        return told


@contextmanager
def _flyfs(ground: Ground) -> Iterator[Mapping[str, Round]]:
    with _a_field(ground) as field:
        yield {crowd_measure(size): (lambda size=size: _read(field, size)) for size in _crowds(ground)}


def _read(field: Field, size: int) -> Mapping[str, float]:
    supernode_host = Host(
        enter=field.supernode_host.enter,
        listens_at=f"{field.supernode_host.address}:7400",
        protection=("--insecure",),
        origins=NETWORK,
    )
    options = ["--piece-size", PIECE_SIZE]
    with (
        field.a_new_file() as original,
        a_supernode(field.ground, host=supernode_host, options=options) as supernode,
        ExitStack() as standing,
    ):
        mounts = _mounts(field, size, supernode, standing)
        paths = [mount.path(_FILE, field.origin.authority) for mount in mounts]
        commands = [
            [*peer.enter, "dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none"]
            for peer, path in zip(field.peers, paths, strict=False)
        ]
        before, sent_bytes, share = field.origin.log(), field.supernode_host.sent_bytes(), CpuShare()
        daemons_s, supernode_s = _cpu_s(mounts), cpu_s(supernode.pid)
        ends_s = _ends_s(field, commands)
        told = summary(ends_s) | {
            "machine_busy": share.busy(),
            "daemons_cpu": (_cpu_s(mounts) - daemons_s) / max(ends_s) / share.cores,
            "supernode_cpu": (cpu_s(supernode.pid) - supernode_s) / max(ends_s) / share.cores,
            "supernode_copies": (field.supernode_host.sent_bytes() - sent_bytes) / FILE_BYTES,
            "origin_copies": _origin_copies(field, before),
            **_exchanged(mounts),
        }
        for path in paths:  # the bytes are right, too; read from the store, outside the time
            _require_same(Path(path), original)
        return told


def _mounts(field: Field, size: int, supernode: Supernode, standing: ExitStack) -> list[FlyfsMount]:
    """Daemons that stand as long as ``standing``. Each start is bounded, so an interruption waits for those that have begun."""

    def one(peer: ShapedHost) -> FlyfsMount:
        host = Host(enter=peer.enter, listens_at=f"{peer.address}:7402", protection=("--insecure",))
        return standing.enter_context(a_mount(field.ground, supernode, host=host))

    starters = ThreadPoolExecutor(_MOUNTING)
    try:
        return list(starters.map(one, field.peers[:size]))
    finally:
        starters.shutdown(cancel_futures=True)


def _ends_s(field: Field, commands: Sequence[Sequence[str]]) -> list[float]:
    """Starts all at once; when each was done, from the start of the first.

    Raises:
        ChildFailed: one failed, or was not done in time.
    """
    limit_s = 30 + _AT_WORST * FILE_BYTES * 8 * len(commands) / (SERVER_MBIT_S * 1e6)
    ends_s: dict[int, float] = {}
    with ExitStack() as standing, selectors.DefaultSelector() as selector:
        start_s = time.perf_counter()
        logs = [field.ground.scratch / f"crowd-{number}.log" for number in range(len(commands))]
        children = [standing.enter_context(running(words, log=log)) for words, log in zip(commands, logs, strict=True)]
        for number, child in enumerate(children):
            ended = os.pidfd_open(child.pid)
            standing.callback(os.close, ended)
            selector.register(ended, selectors.EVENT_READ, number)
        while len(ends_s) < len(children):
            ready = selector.select(start_s + limit_s - time.perf_counter())
            if not ready:
                raise ChildFailed(f"{len(children) - len(ends_s)} of {len(children)} not done after {limit_s:.0f} s")
            for key, _ in ready:
                selector.unregister(key.fd)
                ends_s[key.data] = time.perf_counter() - start_s
                if children[key.data].wait():
                    raise ChildFailed(f"status {children[key.data].returncode}: {logs[key.data].read_text()[-300:]}")
    return list(ends_s.values())


def _cpu_s(mounts: Sequence[FlyfsMount]) -> float:
    return sum(cpu_s(mount.pid) for mount in mounts)


def _exchanged(mounts: Sequence[FlyfsMount]) -> dict[str, float]:
    """What peers sent to each other per byte of all readers' files, and how much of it was of use: the rest came too late."""
    told = [mount.status()["bytes"] for mount in mounts]
    whole_bytes = FILE_BYTES * len(mounts)
    return {
        "sent_by_peers": sum(one["served"] for one in told) / whole_bytes,
        "used_of_peers": sum(one["peers"] for one in told) / whole_bytes,
    }


def _require_same(path: Path, original: Path) -> None:
    finish(["cmp", str(path), str(original)], limit_s=LIMIT_S)


def _origin_copies(field: Field, before: RequestLog) -> float:
    """How often the origin sent the file, by its own log."""
    return field.origin.log().since(before).of(f"/{_FILE}").sent_bytes / FILE_BYTES


def _crowds(ground: Ground) -> tuple[int, ...]:
    return QUICK_CROWDS if ground.quick else CROWDS


def groups() -> list[Group]:
    """One group: the crowds one after the other, ours and theirs in turns."""
    return [
        Group(
            name="swarm",
            measures=[crowd_measure(size) for size in CROWDS],
            contenders={"wget": _wget, "flyfs": _flyfs},
            most_rounds=3,
        )
    ]
