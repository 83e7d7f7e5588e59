"""What one supernode carries on one core: the rates of what peers ask of it, memory per peer and task, and a crowd at its door.

Shell. The supernode is a real one with an empty cache, on the first core; a process on another one simulates its peers.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.bench.ground import BIG, SMALL, Ground
from tests.bench.processes import finish
from tests.bench.runner import Group, Round
from tests.bench.swarm import Host, a_supernode

REGISTER, HEARTBEAT, HAVE, SMALL_PIECE, PIECE, REDIRECT, MEMORY, BURST = (
    "supernode: register",
    "supernode: heartbeat",
    "supernode: have",
    "supernode: small piece",
    "supernode: piece",
    "supernode: redirect",
    "supernode: memory",
    "supernode: burst",
)
_LIMIT_S = 180.0
_PEERS = 1_000
_BURST, _QUICK_BURST = 10_000, 1_000
_SMALL_PIECES = ("--piece-size", "4KiB")


def _loaded(ground: Ground, what: str, *options: str, **arguments: object) -> Mapping[str, float]:
    """One round: a fresh supernode, and the generator's figures of it."""
    first, *others = sorted(os.sched_getaffinity(0))
    place = Host(enter=("taskset", "--cpu-list", str(first)))
    with a_supernode(ground, host=place, options=options) as supernode:
        told = {"address": supernode.peers, "pid": supernode.pid} | arguments
        words = ["taskset", "--cpu-list", ",".join(map(str, others or [first]))]
        output = finish([*words, sys.executable, "-m", "tests.bench.generator", what, json.dumps(told)], limit_s=_LIMIT_S)
        figures: dict[str, float] = json.loads(output.splitlines()[-1])
        return figures


@contextmanager
def _flyfs(ground: Ground) -> Iterator[Mapping[str, Round]]:
    seconds = 1.0 if ground.quick else 5.0
    burst = _QUICK_BURST if ground.quick else _BURST
    small, big = ground.origin.url(SMALL), ground.origin.url(BIG)
    yield {
        REGISTER: lambda: _loaded(ground, "registrations", seconds=seconds),
        HEARTBEAT: lambda: _loaded(ground, "heartbeats", seconds=seconds),
        HAVE: lambda: _loaded(ground, "haves", seconds=seconds),
        SMALL_PIECE: lambda: _loaded(ground, "pieces", *_SMALL_PIECES, seconds=seconds, url=small),
        PIECE: lambda: _loaded(ground, "pieces", seconds=seconds, url=big),
        REDIRECT: lambda: _loaded(ground, "redirects", *_SMALL_PIECES, seconds=seconds, url=big),
        MEMORY: lambda: _loaded(ground, "memory", count=_PEERS),
        BURST: lambda: _loaded(ground, "burst", count=burst),
    }


def groups() -> list[Group]:
    """One group: nobody else does this, so there are no neighbours."""
    measures = [REGISTER, HEARTBEAT, HAVE, SMALL_PIECE, PIECE, REDIRECT, MEMORY, BURST]
    return [Group(name="supernode", measures=measures, contenders={"flyfs": _flyfs}, most_rounds=3)]
