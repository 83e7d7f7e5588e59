"""``flyfs warm`` against real daemons, supernodes and an origin: onto this host, onto the supernode only, and what fails."""

import hashlib
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Supernode, wait_until
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(120)]

MIB = 1024 * 1024
CONTENT = random.Random(7).randbytes(9 * MIB + 5)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def url(origin: NginxOrigin, root: Path) -> str:
    (root / "file").write_bytes(CONTENT)
    return f"http://{origin.authority}/file"


@pytest.fixture
def supernode(fleet: Fleet) -> Iterator[Supernode]:
    return fleet.supernode()


def origin_bytes(origin: NginxOrigin) -> int:
    return sum(request.sent_bytes for request in origin.log().of("/file") if request.method == "GET")


def test_a_warmed_file_is_read_from_the_store_of_the_mount(
    fleet: Fleet, origin: NginxOrigin, supernode: Supernode, url: str, reader: Reader
) -> None:
    mount = fleet.mount("m", supernode=supernode)

    finished = fleet.run("warm", url)

    assert (finished.status, finished.stdout, finished.stderr) == (0, "", "")
    received = mount.status()["bytes"]
    assert received["supernode"] == len(CONTENT)
    assert origin_bytes(origin) == len(CONTENT)
    assert reader.digest(mount.path(origin.authority, "file")) == DIGEST
    assert mount.status()["bytes"]["supernode"] == len(CONTENT), "nothing more had to come"
    assert fleet.run("warm", url, "--local").status == 0, "what is warm stays so"


def test_on_the_supernode_only_nothing_comes_to_this_host(
    fleet: Fleet, origin: NginxOrigin, supernode: Supernode, url: str, reader: Reader
) -> None:
    mount = fleet.mount("m", supernode=supernode)

    finished = fleet.run("warm", "--supernode-only", url)

    assert (finished.status, finished.stdout, finished.stderr) == (0, "", "")
    assert mount.status()["bytes"]["supernode"] == 0
    assert supernode.status()["store"]["used_bytes"] >= len(CONTENT)
    origin.stop()
    assert reader.digest(mount.path(origin.authority, "file")) == DIGEST


def test_a_supernode_is_warmed_from_a_host_without_a_mount(
    fleet: Fleet, origin: NginxOrigin, supernode: Supernode, url: str
) -> None:
    finished = fleet.run("warm", url, "--supernode", supernode.address, "--supernode-only")

    assert (finished.status, finished.stderr) == (0, "")
    assert supernode.status()["bytes"]["origin"] == len(CONTENT)
    assert supernode.status()["bytes"]["served"] == 0
    assert origin_bytes(origin) == len(CONTENT)


def test_without_a_mount_it_warms_the_cache_of_get(fleet: Fleet, origin: NginxOrigin, url: str, tmp_path: Path) -> None:
    finished = fleet.run("warm", url)
    assert (finished.status, finished.stderr) == (0, "")

    assert fleet.run("get", url, "-o", tmp_path / "copy", "--sha256", DIGEST).status == 0
    assert origin_bytes(origin) == len(CONTENT)


def test_what_cannot_be_had_is_told_and_the_rest_is_warmed(
    fleet: Fleet, origin: NginxOrigin, supernode: Supernode, url: str, root: Path
) -> None:
    mount = fleet.mount("m", supernode=supernode)
    (root / "directory").mkdir()

    finished = fleet.run("warm", f"{url}-missing", f"http://{origin.authority}/directory", url)

    assert finished.status == 1
    assert finished.stderr.count("\n") == 1
    assert "file-missing" in finished.stderr
    assert "is a directory; give the URL of a file" in finished.stderr
    assert mount.status()["bytes"]["supernode"] == len(CONTENT)


def test_a_supernode_of_a_mounts_own_keeps_nothing(fleet: Fleet, url: str) -> None:
    fleet.mount("m")

    finished = fleet.run("warm", url, "--supernode-only")

    assert finished.status == 1
    assert "keeps no bytes; warm this host instead" in finished.stderr


@pytest.mark.parametrize("where", ["--local", "--supernode-only"])
def test_what_is_larger_than_its_store_is_refused_before_it_pushes_out_everything_else(
    fleet: Fleet, url: str, where: str
) -> None:
    supernode = fleet.supernode("small", "--cache-limit", "4MiB")
    mount = fleet.mount("m", "--cache-limit", "4MiB", supernode=supernode)

    finished = fleet.run("warm", url, where)

    assert finished.status == 1
    assert "larger than what the" in finished.stderr
    assert mount.status()["store"]["used_bytes"] < 2 * MIB


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_warm_ends_at_once_and_so_does_the_fetching(
    fleet: Fleet, supernode: Supernode, url: str, number: signal.Signals, status: int
) -> None:
    mount = fleet.mount("m", supernode=supernode)
    assert fleet.run("limit", "--receive", "500kB/s").status == 0
    with subprocess.Popen(fleet.words("warm", url), stderr=subprocess.PIPE, env=fleet.environment) as process:
        wait_until(lambda: mount.status()["bytes"]["supernode"] > 0, "something came")
        process.send_signal(number)
        began = time.monotonic()
        assert process.wait(20) == status
        assert time.monotonic() - began < 5
    assert fleet.run("limit", "--receive", "off").status == 0
    assert fleet.run("warm", f"{url}-missing").status == 1, "the daemon has time for more"
    assert mount.status()["bytes"]["supernode"] < len(CONTENT)


def test_an_interrupted_warm_of_the_supernode_ends_at_once(fleet: Fleet, supernode: Supernode, url: str) -> None:
    fleet.mount("m", supernode=supernode)
    assert fleet.run("limit", "--receive", "500kB/s").status == 0
    words = fleet.words("warm", url, "--supernode-only")
    with subprocess.Popen(words, stderr=subprocess.PIPE, env=fleet.environment) as process:
        wait_until(lambda: supernode.status()["bytes"]["origin"] > 0, "something came")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
