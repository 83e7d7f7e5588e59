"""The cable between a supernode and some of its peers is cut, and nobody is told: both sides read on from whom they reach."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Mount, Supernode, wait_until
from tests.support.net_namespace import NetNamespace
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(90)]

SIZE = 20 * 1024 * 1024 + 1
NAME = "file"
LATE_S = 15.0
"""Who is out of reach is found out in two seconds; a read that hangs does so for 30 s, which is its deadline."""


@dataclass(frozen=True)
class Place:
    """Origin, supernode and ``near`` on one side of the cable; ``far`` and ``holder`` on the other. Each has its reader."""

    network: NetNamespace
    origin: NginxOrigin
    supernode: Supernode
    near: Mount
    far: Mount
    holder: Mount
    readers: dict[str, Reader]
    content: bytes

    @property
    def mounts(self) -> dict[str, Mount]:
        return {"near": self.near, "far": self.far, "holder": self.holder}

    def begin(self, *names: str) -> None:
        for name in names:
            self.readers[name].begin("digest", path=self.mounts[name].path(self.origin.authority, NAME))

    def assert_read(self, *names: str) -> None:
        answers = {name: self.readers[name].finish() for name in names}
        print({name: f"{answer.seconds:.1f} s" for name, answer in answers.items()})
        right = hashlib.sha256(self.content).hexdigest()
        assert {name: answer for name, answer in answers.items() if answer.error or answer.value != right} == {}
        assert max(answer.seconds for answer in answers.values()) < LATE_S

    def received(self, name: str) -> int:
        figures = self.mounts[name].status()["bytes"]
        return int(figures["supernode"] + figures["peers"])

    def assert_read_once(self) -> None:
        assert self.origin.log().most_often_sent(f"/{NAME}") == 1
        assert self.origin.log().of(f"/{NAME}").sent_bytes == self.supernode.status()["bytes"]["origin"] == SIZE
        assert [mount.status()["bytes"]["origin"] for mount in self.mounts.values()] == [0, 0, 0]
        assert [mount.status()["pieces"]["rejected"] for mount in self.mounts.values()] == [0, 0, 0]


@contextmanager
def opened(place: Place, name: str) -> Iterator[None]:
    """The first byte was read, by way of a neighbour that it knows."""
    reader, mount = place.readers[name], place.mounts[name]
    descriptor = reader.get("open", path=mount.path(place.origin.authority, NAME))
    reader.get("read_open", descriptor=descriptor, offset=0, size=1)
    wait_until(lambda: mount.status()["peers"]["known"] > 0, "it has met a neighbour")
    yield
    reader.get("close", descriptor=descriptor)


@pytest.fixture
def place(fleet: Fleet, root: Path) -> Iterator[Place]:
    content = random.Random("cut").randbytes(SIZE)
    (root / NAME).write_bytes(content)
    with ExitStack() as standing:
        network = standing.enter_context(NetNamespace.made())
        standing.callback(fleet.close)  # the programs end before their network
        origin = standing.enter_context(NginxOrigin.serving(root, directives="limit_rate 6m;"))
        supernode = fleet.planned_supernode("supernode", "--insecure")
        supernode.address = f"{network.host}:0"
        supernode.start()
        near = fleet.planned_mount("near", "--listen", f"{network.host}:0", "--insecure", supernode=supernode)
        inside = ("--listen", f"{network.own}:0", "--insecure")
        far, holder = (fleet.planned_mount(name, *inside, supernode=supernode) for name in ("far", "holder"))
        far.enter = holder.enter = network.enter
        fleet.start([near, far, holder])
        readers = {name: standing.enter_context(Reader.started()) for name in ("near", "far", "holder")}
        yield Place(network, origin, supernode, near, far, holder, readers, content)


def test_one_side_reads_to_the_end_and_the_other_once_the_cable_is_mended(place: Place) -> None:
    place.begin("near", "far", "holder")
    wait_until(lambda: all(place.received(name) > SIZE // 5 for name in place.mounts), "all are in the middle of the file")
    place.network.cut()

    place.assert_read("near")
    wait_until(lambda: place.far.supernode_state() == place.holder.supernode_state() == "down", "the other side has noticed")
    assert max(place.received(name) for name in ("far", "holder")) < SIZE, "nobody there can have everything"
    place.network.mend()
    place.assert_read("far", "holder")

    wait_until(lambda: place.supernode.status()["peers"]["known"] == 3, "all are together again")
    place.assert_read_once()


def test_who_holds_the_file_serves_its_own_side_and_the_supernode_the_other(place: Place) -> None:
    place.begin("holder")
    place.assert_read("holder")
    with opened(place, "near"), opened(place, "far"):
        before = {name: place.received(name) for name in ("near", "far")}
        assert max(before.values()) < SIZE // 2, "they have only begun"
        place.network.cut()

        place.begin("near", "far")  # the name is known for ten seconds
        place.assert_read("near", "far")

    assert place.far.status()["bytes"]["peers"] > before["far"]
    place.network.mend()
    place.assert_read_once()
