"""Peers that break the protocol cost a reader a moment, never a byte or an error; and the origin nothing."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from flyfs.core.address import parse_address
from tests.support.fleet import Fleet, Mount, Supernode
from tests.support.joined_peer import blob_at
from tests.support.nginx import NginxOrigin
from tests.support.reader import Answer, Reader
from tests.support.rubbish_peer import WAYS, RubbishPeer

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(90)]

SIZE = 6 * 1024 * 1024 + 1
LATE_S = 12.0
"""Far below the deadline of 30 s, at which a reader would hang who waits for a peer that brings nothing."""


@pytest.fixture
def supernode(fleet: Fleet) -> Supernode:
    return fleet.supernode()


@pytest.fixture
def standing() -> Iterator[ExitStack]:
    """Rubbish peers and readers, which end before the programs that they talk with."""
    with ExitStack() as stack:
        yield stack


def a_file(root: Path, name: str) -> str:
    """Made below the origin's directory; its digest."""
    content = random.Random(name).randbytes(SIZE)
    (root / name).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def rubbish_peers(standing: ExitStack, supernode: Supernode, ways: Sequence[str], urls: Sequence[str]) -> list[RubbishPeer]:
    address = parse_address(supernode.address)
    return [
        standing.enter_context(RubbishPeer.joined(way, address, blob_at(address, url)))
        for way, url in zip(ways, urls, strict=True)
    ]


def shunned(mount: Mount) -> str:
    return "\n".join(line for line in mount.log_text().splitlines() if "swarm.neighbour.shunned" in line)


def test_whoever_meets_one_reads_on_from_the_supernode_whatever_the_rubbish(
    fleet: Fleet, root: Path, origin: NginxOrigin, supernode: Supernode, standing: ExitStack
) -> None:
    files = {way: way.replace(" ", "-") for way in WAYS}
    digests = {way: a_file(root, name) for way, name in files.items()}
    mount = fleet.mount("m", supernode=supernode)
    peers = rubbish_peers(standing, supernode, list(WAYS), [origin.url(files[way]) for way in WAYS])
    readers = {way: standing.enter_context(Reader.started()) for way in WAYS}

    for way, reader in readers.items():  # all at once: each file has a rubbish peer of its own
        reader.begin("digest", path=mount.path(origin.authority, files[way]))
    answers: dict[str, Answer] = {way: reader.finish() for way, reader in readers.items()}

    assert {way: answer for way, answer in answers.items() if answer.value != digests[way] or answer.seconds > LATE_S} == {}
    assert [peer.name for peer in peers if not peer.occasions] == [], "each was asked"
    assert mount.status()["bytes"]["supernode"] == SIZE * len(WAYS)
    assert mount.status()["bytes"]["peers"] == 0
    assert origin.log().sent_bytes == SIZE * len(WAYS)
    assert all(origin.log().most_often_sent(f"/{name}") == 1 for name in files.values())
    for peer in peers:
        if peer.name.startswith(("noise for a piece", "a boundless frame", "a full frame", "a longer piece")):
            assert peer.peer_id in shunned(mount), f"{peer.name}: nobody talks with it for a while"


def test_a_healthy_holder_among_them_is_read_from_and_not_blamed(
    fleet: Fleet, root: Path, origin: NginxOrigin, supernode: Supernode, standing: ExitStack
) -> None:
    digest, reader = a_file(root, "file"), standing.enter_context(Reader.started())
    healthy, mount = fleet.mounts(("healthy", "m"), supernode=supernode)
    assert reader.digest(healthy.path(origin.authority, "file")) == digest
    ways = ("noise for a bitmap", "half a piece, then silence", "wrong bytes", "a longer piece")
    peers = rubbish_peers(standing, supernode, ways, [origin.url("file")] * len(ways))

    answer = reader.ask("digest", path=mount.path(origin.authority, "file"))

    assert (answer.error, answer.value) == ("", digest)
    assert answer.seconds < LATE_S
    assert any(peer.occasions for peer in peers), "they were there"
    figures = mount.status()["bytes"]
    assert healthy.status()["bytes"]["served"] >= figures["peers"] > 0
    assert figures["peers"] + figures["supernode"] >= SIZE, "a piece that was late may have come from two"
    assert healthy.status()["peer_id"] not in shunned(mount)
    assert origin.log().of("/file").sent_bytes == SIZE
