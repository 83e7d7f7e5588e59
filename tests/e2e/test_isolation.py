"""A mount whose disk gives other bytes than it took: readers get right ones, it is isolated, and comes back repaired."""

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, Mount, Supernode, wait_until
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(110)]

SIZE = 6 * 1024 * 1024
SAW_IT = "sends wrong bytes, as the supernode saw for itself"


@pytest.fixture
def contents(root: Path) -> dict[str, bytes]:
    made = {name: random.Random(name).randbytes(SIZE) for name in ("first", "second")}
    for name, content in made.items():
        (root / name).write_bytes(content)
    return made


def isolated(one: Mount | Supernode) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = one.status()["peers"]["isolated"]
    return found


def data_file(mount: Mount, content: bytes) -> Path:
    (found,) = (path for path in mount.cache.glob("blobs/*/*/data") if path.read_bytes() == content)
    return found


def test_a_corrupting_peer_among_three_readers_is_isolated_and_comes_back_once_it_is_repaired(
    tmp_path: Path, fleet: Fleet, origin: NginxOrigin, contents: dict[str, bytes], reader: Reader
) -> None:
    def assert_reads(mount: Mount, name: str) -> None:
        assert reader.digest(mount.path(origin.authority, name)) == hashlib.sha256(contents[name]).hexdigest()

    parole = tmp_path / "parole"
    fleet.environment.update(PYTHONPATH=str(Path(__file__).parent / "parole"), PAROLE=str(parole))
    supernode = fleet.supernode()
    del fleet.environment["PYTHONPATH"]
    bad = fleet.mount("bad", supernode=supernode)
    for name in contents:
        assert_reads(bad, name)
    damaged = data_file(bad, contents["first"])
    with damaged.open("r+b") as file:
        file.write(bytes(SIZE))
    readers = [fleet.mount(name, supernode=supernode) for name in ("anne", "bert", "carl")]

    for mount in readers:
        assert_reads(mount, "first")

    wait_until(lambda: isolated(supernode), "the supernode isolates it")
    (told,) = isolated(supernode)
    assert (told["peer"], told["reason"], told["reporters"]) == (bad.status()["peer_id"], SAW_IT, 0)
    assert told["since"] < told["until"]
    assert "server.peer.isolated" in supernode.log_text()
    wait_until(lambda: bad.status()["advertised"]["isolated"], "it hears so itself")
    assert bad.status()["advertised"]["isolated"]["reason"] == SAW_IT
    assert SAW_IT in fleet.run("status", bad.mountpoint).stdout
    assert sum(mount.status()["pieces"]["rejected"] for mount in readers) >= 1
    assert "server.peer.restored" not in supernode.log_text()

    with damaged.open("r+b") as file:
        file.write(contents["first"])
    parole.touch()
    dora = fleet.mount("dora", supernode=supernode)
    assert_reads(dora, "second")  # which nobody else has

    assert dora.status()["bytes"]["peers"] > 0
    wait_until(lambda: "server.peer.restored" in supernode.log_text(), "it did well on probation")
    wait_until(lambda: bad.status()["advertised"]["isolated"] is None, "it hears that, too")
    assert isolated(supernode) == []
