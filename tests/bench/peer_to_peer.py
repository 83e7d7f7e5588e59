"""From one peer's store to another's on loopback, without mounts: what the swarm itself costs. Shell."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from subprocess import Popen

from tests.bench.cold import LOCAL_COPY, copied
from tests.bench.ground import BIG, Ground
from tests.bench.processes import ChildFailed, cpu_s, running
from tests.bench.runner import Group, Round
from tests.bench.swarm import Supernode, a_supernode

_MEASURE = "peer to peer"


@contextmanager
def _a_receiver(ground: Ground, supernode: Supernode) -> Iterator[tuple[Popen[str], dict[str, float]]]:
    """A peer that has the whole big file, and what it told of how that came."""
    with ground.directory("receiver") as cache:
        arguments = json.dumps([str(cache), supernode.peers, ground.origin.url(BIG)])
        log = ground.scratch / f"{cache.name}.log"
        with running([sys.executable, "-m", "tests.bench.receiver", arguments], log=log, talks=True) as child:
            assert child.stdout is not None
            line = child.stdout.readline()
            if not line:
                raise ChildFailed(f"a peer ended: {log.read_text()[-500:]}")
            told: dict[str, float] = json.loads(line)
            yield child, told


@contextmanager
def _flyfs(ground: Ground) -> Iterator[Mapping[str, Round]]:
    """The first peer and the supernode have everything, in the page cache."""
    with a_supernode(ground) as supernode, _a_receiver(ground, supernode) as (sender, _):

        def one() -> Mapping[str, float]:
            ground.settle()
            start_s = cpu_s(sender.pid)
            with _a_receiver(ground, supernode) as (_, told):
                return told | {"cpu_s_per_gb_sender": (cpu_s(sender.pid) - start_s) * 1e9 / ground.big_bytes}

        yield {_MEASURE: one}


def groups() -> list[Group]:
    """Measured against a fixed bound; beside it, what the machine asks just now for fresh pages."""
    local = copied(*LOCAL_COPY, reads_only=False, measure=_MEASURE)
    return [Group(name="peers", measures=[_MEASURE], contenders={"dd, local copy": local, "flyfs": _flyfs})]
