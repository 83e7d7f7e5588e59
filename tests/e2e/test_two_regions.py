"""Two regions that a thin line joins: what crosses it is hardly more than the file, however many read it on both sides."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Mount
from tests.support.net_namespace import NetNamespace
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(120)]

PEERS = 5
"""Of each region: ten daemons start in four seconds of two cores, and the line, not the cores, is what bounds the reading."""
NAME = "file"
SIZE = 8 * 1024 * 1024
PIECE_SIZE = "128KiB"
"""So that the small file has as many pieces as a large one."""
LINE_MBIT_S = 20
MOST_CROSSINGS = 2.2
LATE_S = 30.0
"""The line takes 3.6 s for the file."""


@pytest.fixture
def network(fleet: Fleet) -> Iterator[NetNamespace]:
    """The west; the east is the host's own network."""
    with NetNamespace.made() as west:
        yield west
        fleet.close()  # the programs end before their network


@pytest.fixture
def regions(fleet: Fleet, network: NetNamespace) -> dict[str, list[Mount]]:
    """Mounts that run, each in a rack of its own; the supernode stands in the east."""
    supernode = fleet.planned_supernode("supernode", "--insecure", "--piece-size", PIECE_SIZE)
    supernode.address = f"{network.host}:0"
    supernode.start()
    sides: tuple[tuple[str, str, tuple[str, ...]], ...] = (("east", network.host, ()), ("west", network.own, network.enter))
    found: dict[str, list[Mount]] = {}
    for region, address, enter in sides:
        for number in range(PEERS):
            how = ("--listen", f"{address}:0", "--insecure", "--location", f"{region}|{region}-1|{number}")
            mount = fleet.planned_mount(f"{region}-{number}", *how, supernode=supernode)
            mount.enter = enter
            found.setdefault(region, []).append(mount)
    fleet.start([mount for mounts in found.values() for mount in mounts])
    return found


def test_the_line_between_two_regions_carries_a_file_twice_at_most(
    root: Path, origin: NginxOrigin, network: NetNamespace, regions: dict[str, list[Mount]]
) -> None:
    content = random.Random("regions").randbytes(SIZE)
    (root / NAME).write_bytes(content)
    mounts = [mount for those in regions.values() for mount in those]
    with ExitStack() as standing:
        readers = [standing.enter_context(Reader.started()) for _ in mounts]
        network.slow_down(LINE_MBIT_S)
        before = network.crossed_bytes()
        for mount, reader in zip(mounts, readers, strict=True):
            reader.begin("digest", path=mount.path(origin.authority, NAME))
        answers = [reader.finish(timeout_s=2 * LATE_S) for reader in readers]
        crossed = network.crossed_bytes() - before

    slowest = {region: max(answers[mounts.index(mount)].seconds for mount in those) for region, those in regions.items()}
    told = f"{crossed / SIZE:.2f} files crossed the line; the slowest reader of each region, in seconds: {slowest}"
    print(told)
    assert {(one.error, one.value) for one in answers} == {("", hashlib.sha256(content).hexdigest())}
    assert max(slowest.values()) < LATE_S
    assert origin.log().most_often_sent(f"/{NAME}") == 1
    assert origin.log().of(f"/{NAME}").sent_bytes == SIZE
    assert crossed <= MOST_CROSSINGS * SIZE, told
