"""A crowd reads one file when a peer, the supernode or a disk fails in the middle of it: readers get every byte, and no error."""

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.fleet import Fleet, Mount, Supernode, wait_until
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(90)]

MIB = 1024 * 1024
SIZE = 20 * MIB + 1
NAME = "file"
LATE_S = 15.0
"""The origin takes three seconds to send the file, a swarm two to find out who is gone: twice and more for a busy machine. A read
that hangs does so for 30 s, which is its deadline."""

IN_FLIGHT = 32
"""Pieces that one may have asked a neighbour for: 8 MiB."""


@dataclass(frozen=True)
class Crowd:
    """An origin that takes its time, a supernode, and readers, each with a mount of its own."""

    origin: NginxOrigin
    supernode: Supernode
    mounts: Sequence[Mount]
    readers: Sequence[Reader]
    digest: str

    def path(self, mount: Mount) -> Path:
        return mount.path(self.origin.authority, NAME)

    def begin(self, *mounts: Mount) -> None:
        """These read from now on; all, where none is named."""
        for mount in mounts or self.mounts:
            self.readers[self.mounts.index(mount)].begin("digest", path=self.path(mount))

    def wait_for_middle(self) -> None:
        """Everybody has something, and nobody has everything."""
        wait_until(lambda: all(received(mount) > SIZE // 5 for mount in self.mounts), "all are in the middle of the file")
        assert all(received(mount) < SIZE for mount in self.mounts)

    def assert_read(self, mounts: Sequence[Mount]) -> None:
        """Those read everything, in time."""
        answers = [self.readers[self.mounts.index(mount)].finish() for mount in mounts]
        assert [(one.error, one.value) for one in answers] == [("", self.digest)] * len(mounts)
        slowest = max(one.seconds for one in answers)
        print(f"the slowest of {len(mounts)} took {slowest:.1f} s")
        assert slowest < LATE_S
        assert all(received(mount) >= SIZE for mount in mounts), "a piece that was late may have come from two"


def received(mount: Mount) -> int:
    figures = mount.status()["bytes"]
    return int(figures["origin"] + figures["supernode"] + figures["peers"])


def read_from_origin(one: Mount | Supernode) -> int:
    return int(one.status()["bytes"]["origin"])


def rejected(mount: Mount) -> int:
    return int(mount.status()["pieces"]["rejected"])


def shunned(mount: Mount) -> str:
    return "".join(line for line in mount.log_text().splitlines() if "swarm.neighbour.shunned" in line)


@pytest.fixture
def digest(root: Path) -> str:
    content = random.Random("crowd").randbytes(SIZE)
    (root / NAME).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def slow_origin(root: Path) -> Iterator[NginxOrigin]:
    with NginxOrigin.serving(root, directives="limit_rate 4m;") as running:
        yield running


@pytest.fixture
def standing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


Gather: TypeAlias = Callable[..., Crowd]


@pytest.fixture
def gather(fleet: Fleet, slow_origin: NginxOrigin, digest: str, standing: ExitStack) -> Gather:
    """Four readers, whose mounts have the options that it is called with."""

    def of(*options: str) -> Crowd:
        supernode = fleet.supernode()
        mounts = fleet.mounts(("anne", "bert", "carl", "dora"), *options, supernode=supernode)
        return Crowd(slow_origin, supernode, mounts, [standing.enter_context(Reader.started()) for _ in mounts], digest)

    return of


def lose(one: Mount | Supernode, how: str) -> None:
    if how == "killed":
        one.kill()
    else:
        one.pause()


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_two_peers_of_four_are_lost_in_the_middle_of_a_file(gather: Gather, how: str) -> None:
    crowd = gather()
    crowd.begin()
    crowd.wait_for_middle()
    *others, busy, busiest = sorted(crowd.mounts, key=lambda mount: int(mount.status()["bytes"]["served"]))
    lose(busiest, how)
    lose(busy, how)

    crowd.assert_read(others)
    if how == "stopped":
        busiest.resume()
        busy.resume()
        crowd.assert_read([busiest, busy])

    assert [rejected(mount) for mount in others] == [0, 0]
    assert crowd.origin.log().most_often_sent(f"/{NAME}") == 1
    assert crowd.origin.log().of(f"/{NAME}").sent_bytes == read_from_origin(crowd.supernode) == SIZE


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_the_supernode_is_lost_in_the_middle_of_a_file_and_each_asks_the_origin_for_what_nobody_has(
    gather: Gather, how: str
) -> None:
    crowd = gather("--allow-origin", "127.0.0.1")
    crowd.begin()
    crowd.wait_for_middle()
    held = max(received(mount) for mount in crowd.mounts)
    lose(crowd.supernode, how)

    crowd.assert_read(crowd.mounts)

    assert [rejected(mount) for mount in crowd.mounts] == [0] * 4
    of_mounts = [read_from_origin(mount) for mount in crowd.mounts]
    of_supernode = held
    if how == "stopped":
        crowd.supernode.resume()
        of_supernode = read_from_origin(crowd.supernode)
        crowd.supernode.stop()  # what it had asked for is in the log then
    sent = crowd.origin.log().of(f"/{NAME}").sent_bytes
    print(f"held by one when it was lost: {held}; read from the origin: {of_mounts}; sent by the origin: {sent}")
    assert max(of_mounts) <= SIZE - held, "what one has, all get from it"
    assert of_supernode <= sent - sum(of_mounts) <= SIZE, "the rest came to the supernode, or was on its way to it"


def test_the_supernode_is_killed_in_the_middle_of_a_file_and_comes_back(gather: Gather) -> None:
    crowd = gather()
    crowd.begin()
    crowd.wait_for_middle()
    held = max(received(mount) for mount in crowd.mounts)
    crowd.supernode.kill()
    crowd.supernode.start()

    crowd.assert_read(crowd.mounts)

    assert [rejected(mount) for mount in crowd.mounts] == [0] * 4
    again, sent = read_from_origin(crowd.supernode), crowd.origin.log().of(f"/{NAME}").sent_bytes
    print(f"held by one when it was killed: {held}; read by the new one: {again}; sent by the origin: {sent}")
    assert again <= SIZE - held, "what a peer holds is not read again"
    assert [read_from_origin(mount) for mount in crowd.mounts] == [0] * 4


def test_the_disk_of_a_holder_rots_and_two_readers_come_upon_it(
    fleet: Fleet, origin: NginxOrigin, digest: str, standing: ExitStack
) -> None:
    supernode = fleet.supernode()
    mounts = bad, good, *victims = fleet.mounts(("bad", "good", "anne", "bert"), supernode=supernode)
    crowd = Crowd(origin, supernode, mounts, [standing.enter_context(Reader.started()) for _ in mounts], digest)
    crowd.begin(bad, good)
    crowd.assert_read([bad, good])
    (data,) = bad.cache.glob("blobs/*/*/data")
    with data.open("r+b") as file:
        file.seek(SIZE // 2)
        file.write(bytes(SIZE - SIZE // 2))

    crowd.begin(*victims)
    crowd.assert_read(victims)

    wasted = [rejected(mount) for mount in victims]
    print(f"pieces in vain: {wasted}")
    assert 0 < max(wasted) <= IN_FLIGHT, "once it is found out it is asked no more"
    assert good.status()["bytes"]["served"] > 0
    for mount in victims:
        assert good.status()["peer_id"] not in shunned(mount)
    assert crowd.origin.log().most_often_sent(f"/{NAME}") == 1
    assert crowd.origin.log().of(f"/{NAME}").sent_bytes == SIZE
