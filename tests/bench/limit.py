"""What one limit over several programs makes of a host's only cable, and of the time for which a reader is blocked. Shell.

The host is a network namespace; the origin, the supernode and the other peer are outside, under no limit.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from subprocess import Popen

from tests.bench.ground import MB, MIB, Ground, wait_until
from tests.bench.processes import ChildFailed, finish, running
from tests.bench.reading import LIMIT_S, LatencyWatch, read_all
from tests.bench.runner import Group, Round
from tests.bench.swarm import FlyfsMount, Host, Supernode, a_mount, a_supernode
from tests.support.net_namespace import NetNamespace
from tests.support.wire import Wire

_RATES = (2 * MB, 20 * MB, 100 * MB)
_DEMAND_RATE = 20 * MB
_FILE_BYTES = 600 * MIB
"""For pieces of 1 MiB, and a share of the largest rate for as long as a round takes. Zeros that take no room at the origin."""
_SETTLED_S = 2.0
_TOGETHER_S = 6.0
_RECLAIMED_S = 1.0
_ALONE_S = 3.0
_DEMANDS_S = 8.0
_PAUSE_S = 0.05

_numbers = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limited:
    ground: Ground
    network: NetNamespace
    supernode: Supernode
    mount: FlyfsMount
    neighbour: FlyfsMount | None
    """Outside; where there is one, it has what is read and warmed, and the supernode need not be asked."""

    def shared(self, rate: int) -> Mapping[str, float]:
        """Three programs fetch, then two: the parts of the limit that seconds carried."""
        self._limit(rate)
        with Wire.watched(self._received) as wire, ExitStack() as two:
            for _ in range(2):
                two.enter_context(self._getting())
            with self._getting():
                started_s = time.monotonic()
                time.sleep(_SETTLED_S + _TOGETHER_S)
                ended_s = time.monotonic()
            time.sleep(_RECLAIMED_S + _ALONE_S)
            together = wire.rates(started_s + _SETTLED_S, ended_s)
            after = wire.rates(ended_s + _RECLAIMED_S, time.monotonic())
        return {
            "least": together.leanest / rate,
            "most": together.fullest / rate,
            "mean": together.mean / rate,
            "after_least": after.leanest / rate,
            "after_most": after.fullest / rate,
        }

    def demands(self) -> Mapping[str, float]:
        """Single pieces are read while two programs fetch all that is allowed: for how many piece times a reader is blocked."""
        read, warmed = self._file(), self._file()
        if self.neighbour is not None:
            for name in (read, warmed):
                read_all(self.neighbour.path(name), _FILE_BYTES)
        self._limit(_DEMAND_RATE)
        warm = self._words("warm", warmed)
        with Wire.watched(self._received) as wire, self._getting(), running(warm, log=self._log("warm")) as warming:
            before = self.mount.stored_bytes()
            wait_until(lambda: self.mount.stored_bytes() > before, what="the daemon fetches")
            watching = LatencyWatch.watching(self.mount.path(read), pause_s=_PAUSE_S, log=self._log("reader"), stride_bytes=MIB)
            with watching as watch:
                started_s = time.monotonic()
                time.sleep(_DEMANDS_S)
                stopped_s = time.monotonic()
                told = watch.stop()
            if warming.poll() is not None:
                raise ChildFailed("all was warm before the end")
        piece_ms = MIB / _DEMAND_RATE * 1000
        return {
            "p50_pieces": told["p50_ms"] / piece_ms,
            "max_pieces": told["max_ms"] / piece_ms,
            "mean": wire.rates(started_s, stopped_s).mean / _DEMAND_RATE,
        }

    def _file(self) -> str:
        """A new file of the origin."""
        name = f"limited-{next(_numbers)}"
        (self.ground.root / name).touch()
        os.truncate(self.ground.root / name, _FILE_BYTES)
        return name

    @contextmanager
    def _getting(self) -> Iterator[Popen[str]]:
        """A program of its own that fetches; it has begun."""
        with self.ground.directory("limited-cache") as cache:
            own = ("--supernode", self.supernode.peers, "--cache", str(cache), "-o", "/dev/null")
            with running(self._words("get", self._file(), *own), log=self._log("get")) as child:
                wait_until(lambda: list(cache.glob("blobs/*/*/data")), what="the command fetches")
                yield child

    def _words(self, command: str, name: str, *options: str) -> list[str]:
        """A command inside, about a file of the origin."""
        return [*self.network.enter, *self.mount.command(command, self.ground.origin.url(f"/{name}"), *options)]

    def _limit(self, rate: int) -> None:
        finish(self.mount.command("limit", "--receive", f"{rate / MB:g}MB/s"), limit_s=LIMIT_S)

    def _received(self) -> int:
        return int(Path(f"/sys/class/net/{self.network.cable}/statistics/tx_bytes").read_text())

    def _log(self, name: str) -> Path:
        return self.ground.scratch / f"limited-{name}-{next(_numbers)}.log"


@contextmanager
def _rounds(ground: Ground, *, neighbour: bool) -> Iterator[Mapping[str, Round]]:
    with NetNamespace.made() as network, ExitStack() as parts:
        outside = Host(listens_at=f"{network.host}:0", protection=("--insecure",))
        supernode = parts.enter_context(a_supernode(ground, host=outside))
        limited = _Limited(
            ground=ground,
            network=network,
            supernode=supernode,
            neighbour=parts.enter_context(a_mount(ground, supernode, host=outside)) if neighbour else None,
            mount=parts.enter_context(a_mount(ground, supernode, host=Host(enter=network.enter))),
        )
        shared = {} if neighbour else {_title(rate): partial(limited.shared, rate) for rate in _RATES}
        yield {**shared, "demand under a limit": limited.demands}


def _title(rate: int) -> str:
    return f"limit of {rate // MB} MB/s"


def groups() -> list[Group]:
    """A limit, shared; demands under it, served by the supernode; and then, because there is one network, by a neighbour."""
    demand = "demand under a limit"
    return [
        Group(
            name="limit",
            measures=[*map(_title, _RATES), demand],
            contenders={"flyfs": partial(_rounds, neighbour=False)},
            most_rounds=3,
        ),
        Group(name="limit", measures=[demand], contenders={"flyfs, peer": partial(_rounds, neighbour=True)}, most_rounds=3),
    ]
