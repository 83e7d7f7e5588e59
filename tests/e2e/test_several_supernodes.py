"""Two supernodes of one fleet: one is killed or stopped in the middle of a file, and readers hardly notice."""

import hashlib
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flyfs.core.address import Address
from flyfs.core.blob import Blob
from flyfs.core.rendezvous import Candidate, ranked
from flyfs.wire.records import decode_record
from tests.support.dns_server import DnsServer
from tests.support.fleet import Fleet, Mount, Supernode, wait_until
from tests.support.lying_peer import LyingPeer
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(90)]

MIB = 1024 * 1024
SIZE = 24 * MIB
TAKEOVER_S = 2.0
"""How long a read may take that meets a supernode which is gone."""
BUSY_S = 1.0
"""What a machine with other work may add to it."""


def parse(supernode: Supernode) -> Address:
    host, _, port = supernode.address.rpartition(":")
    return Address(host, int(port))


@dataclass
class Place:
    """An origin whose connections are slow, and two supernodes that share a key."""

    root: Path
    origin: NginxOrigin
    fleet: Fleet
    first: Supernode
    second: Supernode

    def file(self, *, at: Supernode, size: int = SIZE) -> tuple[str, bytes]:
        """The name and content of a file that ``at`` is responsible for."""
        candidates = [Candidate(parse(one)) for one in (self.first, self.second)]
        number = len(list(self.root.iterdir()))
        name = next(
            name
            for name in (f"file-{number}-{chance}" for chance in range(1000))
            if ranked(self.origin.url(name), candidates)[0] == parse(at)
        )
        content = random.Random(name).randbytes(size)
        (self.root / name).write_bytes(content)
        return name, content

    def mount(self, name: str, *options: str) -> Mount:
        return self.fleet.mount(name, *options, supernode=[self.first, self.second])

    def path(self, mount: Mount, name: str) -> Path:
        return mount.path(self.origin.authority, name)


@pytest.fixture
def place(fleet: Fleet, root: Path, tmp_path: Path) -> Iterator[Place]:
    key = tmp_path / "fleet.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(32))
    with NginxOrigin.serving(root, directives="limit_rate 8m;") as origin:
        first, second = (fleet.supernode(name, "--key-file", str(key)) for name in ("first", "second"))
        yield Place(root, origin, fleet, first, second)


def stop(supernode: Supernode, how: str) -> None:
    if how == "killed":
        supernode.kill()
    else:
        supernode.pause()


@contextmanager
def opened(reader: Reader, path: Path) -> Iterator[int]:
    descriptor = reader.get("open", path=path)
    yield descriptor
    reader.get("close", descriptor=descriptor)


def read_on(reader: Reader, descriptor: int, start: int, stop: int, content: bytes) -> float:
    """Reads step by step and compares; the seconds that the slowest step took."""
    slowest = 0.0
    for offset in range(start, stop, MIB):
        answer = reader.ask("read_open", descriptor=descriptor, offset=offset, size=MIB)
        assert not answer.error, f"at {offset}: {answer}"
        assert answer.value["sha256"] == hashlib.sha256(content[offset : offset + MIB]).hexdigest()
        slowest = max(slowest, answer.seconds)
    return slowest


def states(mount: Mount) -> dict[str, str]:
    return {one["address"]: one["state"] for one in mount.status()["supernodes"]}


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_file_that_a_peer_holds_is_read_on_and_no_byte_of_it_is_read_again(place: Place, reader: Reader, how: str) -> None:
    name, content = place.file(at=place.first)
    anne, bert = place.mount("anne"), place.mount("bert")
    assert reader.digest(place.path(anne, name)) == hashlib.sha256(content).hexdigest()
    with opened(reader, place.path(bert, name)) as descriptor:
        read_on(reader, descriptor, 0, SIZE // 2, content)
        stop(place.first, how)
        slowest = read_on(reader, descriptor, SIZE // 2, SIZE, content)

    print(f"{how}: the slowest MiB took {slowest:.2f} s")
    assert slowest < TAKEOVER_S + BUSY_S
    assert place.origin.log().most_often_sent(f"/{name}") == 1
    assert place.origin.log().of(f"/{name}").sent_bytes == SIZE
    assert bert.status()["pieces"]["rejected"] == 0
    carl = place.mount("carl")
    if how == "stopped":  # whoever waits for nothing finds out in its own time
        wait_until(lambda: states(anne)[place.first.address] == "down", "the idle peer has noticed")
        wait_until(lambda: place.second.status()["peers"]["known"] >= 2, "it has come over")
    assert reader.digest(place.path(carl, name)) == hashlib.sha256(content).hexdigest()
    assert carl.status()["bytes"]["peers"] == SIZE, "a newcomer is sent to those who hold it"
    assert place.origin.log().most_often_sent(f"/{name}") == 1


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_lone_reader_goes_on_within_two_seconds_and_loses_nothing_that_it_has(place: Place, reader: Reader, how: str) -> None:
    name, content = place.file(at=place.first)
    mount = place.mount("m")
    with opened(reader, place.path(mount, name)) as descriptor:
        read_on(reader, descriptor, 0, SIZE // 3, content)
        stop(place.first, how)
        held = mount.status()["bytes"]["supernode"]
        slowest = read_on(reader, descriptor, SIZE // 3, SIZE, content)

    print(f"{how}: the slowest MiB took {slowest:.2f} s")
    assert slowest < TAKEOVER_S + BUSY_S
    figures = mount.status()["bytes"]
    assert (figures["supernode"], figures["peers"], figures["origin"]) == (SIZE, 0, 0)
    assert place.second.status()["bytes"]["origin"] <= SIZE - held + MIB, "it reads what nobody has"
    assert states(mount) == {place.first.address: "down", place.second.address: "up"}
    if how == "stopped":
        reason = next(one["reason"] for one in mount.status()["supernodes"] if one["state"] == "down")
        assert "silent" in reason or "no greeting" in reason


def test_a_fresh_supernode_that_is_told_forged_digests_harms_nobody(place: Place, reader: Reader) -> None:
    name, content = place.file(at=place.first)
    anne = place.mount("anne")
    assert reader.digest(place.path(anne, name)) == hashlib.sha256(content).hexdigest()
    (head,) = (anne.cache / "blobs").glob("*/*/head")
    blob = decode_record(Blob, head.read_bytes())
    place.first.kill()

    with LyingPeer.joined("liar", parse(place.second), blob) as liar:
        wait_until(lambda: place.second.status()["peers"]["known"] == 2, "both are there")
        bert = place.mount("bert")
        assert reader.digest(place.path(bert, name)) == hashlib.sha256(content).hexdigest()

        assert liar.asked_pieces, "it was asked"
        figures = bert.status()
        assert figures["pieces"]["rejected"] <= 8, "those that were on their way when the first was found out"
        assert figures["bytes"]["peers"] > 0
        for one in (place.second, anne, bert):
            assert "forked" not in one.log_text()
            assert "blob.retired" not in one.log_text()
        assert place.second.status()["peers"]["known"] == 3, "nobody is thrown out"


def test_a_supernode_that_is_killed_in_the_middle_of_a_file_adds_three_seconds_at_most(place: Place, reader: Reader) -> None:
    mount = place.mount("m")

    def seconds(name: str, content: bytes, *, kill: bool) -> float:
        began = time.monotonic()
        with opened(reader, place.path(mount, name)) as descriptor:
            read_on(reader, descriptor, 0, SIZE // 2, content)
            if kill:
                place.first.kill()
            read_on(reader, descriptor, SIZE // 2, SIZE, content)
        return time.monotonic() - began

    undisturbed = seconds(*place.file(at=place.first), kill=False)
    disturbed = seconds(*place.file(at=place.first), kill=True)

    print(f"undisturbed {undisturbed:.2f} s, with the supernode killed {disturbed:.2f} s")
    assert disturbed - undisturbed < 3.0


def test_what_only_the_other_one_is_responsible_for_goes_on_as_if_nothing_happened(place: Place, reader: Reader) -> None:
    name, content = place.file(at=place.second)
    mount = place.mount("m")
    with opened(reader, place.path(mount, name)) as descriptor:
        read_on(reader, descriptor, 0, SIZE // 2, content)
        place.first.kill()
        assert read_on(reader, descriptor, SIZE // 2, SIZE, content) < TAKEOVER_S
    assert place.origin.log().most_often_sent(f"/{name}") == 1


def test_when_it_is_back_its_old_place_is_not_taken_from_it_for_ever(place: Place, reader: Reader) -> None:
    name, content = place.file(at=place.first, size=MIB)
    mount = place.mount("m")
    assert reader.digest(place.path(mount, name)) == hashlib.sha256(content).hexdigest()
    place.first.kill()
    wait_until(lambda: states(mount)[place.first.address] == "down", "it is seen to be gone")
    place.first.start()

    wait_until(lambda: states(mount)[place.first.address] == "up", "it is found again")
    other, more = place.file(at=place.first, size=MIB)
    assert reader.digest(place.path(mount, other)) == hashlib.sha256(more).hexdigest()
    assert place.second.status()["bytes"]["origin"] == MIB, "it is not trusted with new files at once"


def test_a_changed_answer_of_the_dns_is_followed(place: Place, reader: Reader) -> None:
    with DnsServer.serving() as dns:
        name = "_flyfs._tcp.swarm.test"
        dns.srv(name, parse(place.first).port, ttl_s=2)
        mount = place.fleet.mount(
            "m", "--supernode", "srv://swarm.test", "--resolver", str(dns.address), "--listen", "127.0.0.1:0", supernode=None
        )
        file, content = place.file(at=place.first, size=3 * MIB)
        wait_until(lambda: mount.status()["supernodes"], "the name was resolved")
        with opened(reader, place.path(mount, file)) as descriptor:
            read_on(reader, descriptor, 0, MIB, content)
        assert place.first.status()["peers"]["known"] == 1

        dns.srv(name, parse(place.second).port, ttl_s=2)
        began = time.monotonic()

        def followed() -> bool:
            told = mount.status()["supernodes"]
            return [(one["address"], one["state"]) for one in told] == [(f"localhost:{parse(place.second).port}", "up")]

        wait_until(followed, "the new answer is followed", timeout_s=2 + 5)
        print(f"followed after {time.monotonic() - began:.1f} s")
        assert reader.digest(place.path(mount, file)) == hashlib.sha256(content).hexdigest()
        wait_until(lambda: place.first.status()["peers"]["known"] == 0, "the old one is left")
        assert place.origin.log().most_often_sent(f"/{file}") == 1 or place.second.status()["bytes"]["origin"] <= 2 * MIB

        dns.silent = True
        time_before = dns.asked
        wait_until(lambda: dns.asked > time_before, "it was asked again, in vain")
        assert reader.digest(place.path(mount, file)) == hashlib.sha256(content).hexdigest()
        assert followed(), "what was known stays"


def test_a_name_that_is_not_in_the_dns_is_told_in_status(place: Place) -> None:
    with DnsServer.serving() as dns:
        options = ("--supernode", "srv://nowhere.test", "--resolver", str(dns.address), "--listen", "127.0.0.1:0")
        mount = place.fleet.mount("m", *options, supernode=None)

        def told() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = mount.status()["supernodes"]
            return found

        wait_until(told, "it was asked")
        assert told() == [
            {
                "address": "srv://nowhere.test",
                "state": "down",
                "reason": "srv://nowhere.test: there is no such name in the DNS",
            }
        ]
