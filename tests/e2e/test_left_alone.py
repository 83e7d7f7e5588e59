"""Supernode and origin die in either order, and a mount that may asks the origin by itself meanwhile."""

import hashlib
import random
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Mount, Supernode, wait_until
from tests.support.nginx import NginxOrigin
from tests.support.reader import Answer, Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(90)]

MIB = 1024 * 1024
DEADLINE_S = 4.0
LATE_S = DEADLINE_S + 1.0
"""Beyond the deadline by what a busy machine needs to say so."""
SIZES = {"held": 3 * MIB, "half": 12 * MIB, "untouched": 2 * MIB, "other": MIB}


def content_of(name: str) -> bytes:
    return random.Random(name).randbytes(SIZES[name])


def digest_of(name: str) -> str:
    return hashlib.sha256(content_of(name)).hexdigest()


class Place:
    """A supernode, and a mount that may ask origins by itself; it has ``held``, and the start of ``half``."""

    def __init__(self, fleet: Fleet, root: Path, origin: NginxOrigin, reader: Reader, *options: str) -> None:
        for name in SIZES:
            (root / name).write_bytes(content_of(name))
        self.origin = origin
        self.reader = reader
        self.supernode: Supernode = fleet.supernode()
        how = ("--deadline", f"{DEADLINE_S:g}", "--consistency", "ttl=1", "--allow-origin", "127.0.0.1", *options)
        self.mount: Mount = fleet.mount("m", *how, supernode=self.supernode)
        assert reader.digest(self.path("held")) == digest_of("held")
        self.read("half", 0)

    def path(self, name: str) -> Path:
        return self.mount.path(self.origin.authority, name)

    def read(self, name: str, offset: int) -> None:
        found = self.reader.get("read", path=self.path(name), offset=offset, size=1000)
        assert found["sha256"] == hashlib.sha256(content_of(name)[offset : offset + 1000]).hexdigest()

    def ask(self, name: str, offset: int) -> Answer:
        return self.reader.ask("read", path=self.path(name), offset=offset, size=1000)

    def assert_unreadable(self, name: str, offset: int) -> None:
        answer = self.ask(name, offset)
        assert answer.error == "EIO", answer
        assert answer.seconds < LATE_S

    def supernode_dies(self) -> None:
        self.supernode.kill()
        wait_until(lambda: self.mount.supernode_state() == "down", "it is seen to be gone")

    def supernode_returns(self) -> None:
        self.supernode.start()
        wait_until(lambda: self.mount.supernode_state() == "up", "it is found again")


def test_the_supernode_dies_first_then_the_origin_and_they_return_in_that_order(
    fleet: Fleet, root: Path, origin: NginxOrigin, reader: Reader
) -> None:
    place = Place(fleet, root, origin, reader)
    before = place.mount.status()["bytes"]["origin"]
    place.supernode_dies()
    place.read("half", 8 * MIB)  # from the origin itself
    assert reader.digest(place.path("untouched")) == digest_of("untouched"), "names are known too"
    assert place.mount.status()["bytes"]["origin"] > before == 0

    origin.stop()
    assert reader.digest(place.path("held")) == digest_of("held")
    place.read("half", 8 * MIB)
    place.assert_unreadable("half", 11 * MIB)

    origin.start()
    reader.wait_for_digest(place.path("half"), digest_of("half"))
    place.supernode_returns()
    alone = place.mount.status()["bytes"]["origin"]
    reader.wait_for_digest(place.path("other"), digest_of("other"))
    assert place.mount.status()["bytes"]["origin"] == alone, "a supernode is there again"


def test_the_origin_dies_first_then_the_supernode_and_they_return_in_that_order(
    fleet: Fleet, root: Path, origin: NginxOrigin, reader: Reader
) -> None:
    place = Place(fleet, root, origin, reader)
    origin.stop()
    place.assert_unreadable("half", 8 * MIB)
    place.supernode_dies()
    assert reader.digest(place.path("held")) == digest_of("held")
    place.assert_unreadable("half", 9 * MIB)

    origin.start()
    reader.wait_for_digest(place.path("half"), digest_of("half"))
    assert place.mount.status()["bytes"]["origin"] > 0
    place.supernode_returns()
    reader.wait_for_digest(place.path("other"), digest_of("other"))


def test_a_mount_that_must_not_ask_origins_waits_for_its_supernode(
    fleet: Fleet, root: Path, origin: NginxOrigin, reader: Reader
) -> None:
    place = Place(fleet, root, origin, reader, "--no-origin")
    asked = len(origin.log())
    place.supernode_dies()
    place.assert_unreadable("half", 8 * MIB)
    assert reader.ask("stat", path=place.path("untouched")).error == "EIO"
    assert len(origin.log()) == asked

    place.supernode_returns()
    reader.wait_for_digest(place.path("half"), digest_of("half"))
    assert place.mount.status()["bytes"]["origin"] == 0


def test_a_fetch_without_a_mount_and_without_a_supernode_asks_the_origin(
    fleet: Fleet, root: Path, origin: NginxOrigin, tmp_path: Path
) -> None:
    (root / "held").write_bytes(content_of("held"))
    supernode = fleet.supernode()
    supernode.kill()
    common = ("--supernode", supernode.address, "--cache", tmp_path / "cache", "--timeout", "20", "-o", tmp_path / "file")

    refused = fleet.run("get", origin.url("held"), *common, "--no-origin", "--allow-origin", "127.0.0.1")
    assert (refused.status, "no supernode answers" in refused.stderr) == (1, True)
    done = fleet.run("get", origin.url("held"), *common, "--allow-origin", "127.0.0.1")
    assert done.status == 0, done.stderr
    assert (tmp_path / "file").read_bytes() == content_of("held")
