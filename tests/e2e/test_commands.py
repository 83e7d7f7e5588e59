"""``flyfs get``, ``path`` and ``status`` against real daemons, and what every command's end says."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fleet import Finished, Fleet, Mount, wait_until
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(60)]

MIB = 1024 * 1024
CONTENT = random.Random(1).randbytes(5 * MIB + 3)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass(frozen=True)
class Place:
    """An origin, and a mount of this host that any command finds."""

    origin: NginxOrigin
    fleet: Fleet
    mount: Mount


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("commands")
    (directory / "root" / "a b").mkdir(parents=True)
    for name in ("file", "other", "third", "a b/100% of #1?.bin"):
        (directory / "root" / name).write_bytes(CONTENT)
    with NginxOrigin.serving(directory / "root") as origin, Fleet.below(directory) as fleet:
        yield Place(origin, fleet, fleet.mount("m"))


def assert_failed(finished: Finished, status: int, *words: str) -> None:
    """One line on stderr that says what, why, what to do."""
    assert finished.status == status, finished
    assert finished.stdout == ""
    assert re.fullmatch(r"flyfs: [^\n]+\n", finished.stderr), finished.stderr
    for word in words:
        assert word in finished.stderr


# -- get ------------------------------------------------------------------------------------------------------------------


def test_get_asks_the_daemon_of_the_host(place: Place, tmp_path: Path) -> None:
    before = place.mount.status()["bytes"]

    finished = place.fleet.run("get", place.origin.url("file"), "-o", tmp_path / "got", "--sha256", DIGEST)

    assert (finished.status, finished.stdout) == (0, "")
    assert (tmp_path / "got").read_bytes() == CONTENT
    after = place.mount.status()["bytes"]
    assert after["supernode"] - before["supernode"] == len(CONTENT)
    assert list(tmp_path.iterdir()) == [tmp_path / "got"]


def test_get_names_the_file_after_the_url(place: Place, tmp_path: Path) -> None:
    finished = place.fleet.run("get", place.origin.url("a b/100% of #1?.bin"), cwd=tmp_path)
    assert finished.status == 0, finished
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == CONTENT
    assert file.name.startswith("100")


def test_get_alone_starts_what_it_needs_and_leaves_nothing(place: Place, tmp_path: Path) -> None:
    before = place.mount.status()["bytes"]

    finished = place.fleet.run(
        "get", place.origin.url("other"), "-o", tmp_path / "got", "--cache", tmp_path / "cache", "--allow-origin", "127.0.0.1"
    )

    assert (finished.status, finished.stdout) == (0, ""), finished
    assert (tmp_path / "got").read_bytes() == CONTENT
    assert place.mount.status()["bytes"] == before
    sent = place.origin.log().of("/other").sent_bytes
    assert sent == len(CONTENT)
    again = place.fleet.run("get", place.origin.url("other"), "-o", tmp_path / "again", "--cache", tmp_path / "cache")
    assert (again.status, (tmp_path / "again").read_bytes()) == (0, CONTENT)
    assert place.origin.log().of("/other").sent_bytes == sent  # the cache was kept


def test_get_without_any_daemon_fetches_by_itself(fleet: Fleet, place: Place, tmp_path: Path) -> None:
    finished = fleet.run("get", place.origin.url("third"), "-o", tmp_path / "got")
    assert (finished.status, (tmp_path / "got").read_bytes()) == (0, CONTENT), finished


def test_get_through_a_supernode_of_its_own(fleet: Fleet, place: Place, tmp_path: Path) -> None:
    supernode = fleet.supernode()
    words = ("get", place.origin.url("third"), "--supernode", supernode.address, "--cache", tmp_path / "cache")
    finished = fleet.run(*words, "-o", tmp_path / "got")
    assert (finished.status, (tmp_path / "got").read_bytes()) == (0, CONTENT), finished
    assert supernode.status()["bytes"]["served"] == len(CONTENT)


@pytest.mark.parametrize("alone", [False, True], ids=["through the daemon", "alone"])
def test_get_fails_without_a_trace(place: Place, tmp_path: Path, alone: bool) -> None:
    how = ("--cache", tmp_path / "cache") if alone else ()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("what was there before")
    target = tmp_path / "out" / "kept"

    for url, words in (
        (place.origin.url("missing"), ("missing",)),
        (place.origin.url("a b"), ("directory",)),
        (place.origin.url("file"), (DIGEST,)),
        ("http://127.0.0.1:1/unreachable", ("unreachable",)),
    ):
        finished = place.fleet.run("get", url, "-o", target, "--sha256", "0" * 64, *how)
        assert_failed(finished, 1, *words)
        assert target.read_text() == "what was there before"
    assert list((tmp_path / "out").iterdir()) == [target]


def test_get_gives_up_at_its_timeout(place: Place, tmp_path: Path) -> None:
    (place.origin.root / "slow").write_bytes(CONTENT)
    place.origin.pause()
    try:
        finished = place.fleet.run(
            "get", place.origin.url("slow"), "-o", tmp_path / "got", "--timeout", "1", "--cache", tmp_path / "cache"
        )
    finally:
        place.origin.resume()
    assert_failed(finished, 1, "in time")
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_get_leaves_no_file(place: Place, tmp_path: Path, number: signal.Signals, status: int) -> None:
    (place.origin.root / "slow").write_bytes(CONTENT)
    place.origin.pause()
    try:
        words = [*place.mount.words[:1], "get", place.origin.url("slow"), "-o", tmp_path / "got", "--cache", tmp_path / "cache"]
        with subprocess.Popen(words, env=place.fleet.environment, stderr=subprocess.PIPE) as process:
            wait_until((tmp_path / "cache" / "supernode" / "peer-id").exists, "it has begun")
            process.send_signal(number)
            assert process.wait(15) == status
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()
    finally:
        place.origin.resume()
    assert [file.name for file in tmp_path.iterdir()] == ["cache"]


def test_another_users_get_writes_its_own_file(place: Place, tmp_path: Path) -> None:
    """The caller writes, not the daemon: into a directory that is only the caller's."""
    os.chown(tmp_path, 65534, 65534)
    tmp_path.chmod(0o777)
    finished = place.fleet.run("get", place.origin.url("file"), "-o", tmp_path / "got")
    assert finished.status == 0, finished
    assert (tmp_path / "got").stat().st_uid == os.getuid()


# -- path -----------------------------------------------------------------------------------------------------------------


def test_the_path_of_a_url_is_where_it_is_seen(place: Place, reader: Reader) -> None:
    for name in ("file", "a b/100% of #1?.bin"):
        finished = place.fleet.run("path", place.origin.url(name))
        assert (finished.status, finished.stderr) == (0, "")
        shown = finished.stdout.removesuffix("\n")
        assert shown.startswith(f"http/{place.origin.authority}/")
        assert reader.digest(place.mount.mountpoint / shown) == DIGEST


def test_the_path_of_a_deep_url_needs_no_directory(place: Place) -> None:
    finished = place.fleet.run("path", "https://example.com/a/b/c.bin?x=1")
    assert (finished.status, finished.stdout) == (0, "https/example.com/a%2Fb%2Fc.bin?x=1\n")


# -- status ---------------------------------------------------------------------------------------------------------------


def test_status_tells_every_figure_of_the_contract(place: Place, reader: Reader) -> None:
    reader.digest(place.mount.path(place.origin.authority, "file"))

    finished = place.fleet.run("status", place.mount.mountpoint, "--json")

    assert (finished.status, finished.stderr) == (0, "")
    told = json.loads(finished.stdout)
    assert {*told} >= {
        "version", "role", "peer_id", "mountpoint", "started_at", "pid", "keeper_pid", "bytes", "pieces", "peers", "supernodes",
        "store", "demand_latency_ms", "loop_lag_ms", "open_files",
    }  # fmt: skip
    assert (told["role"], told["mountpoint"], told["pid"]) == ("peer", str(place.mount.mountpoint), place.mount.pid)
    assert {*told["bytes"]} >= {"origin", "supernode", "peers", "store", "served"}
    assert {*told["store"]} >= {"used_bytes", "limit_bytes", "free_bytes", "blobs", "read_through"}
    assert told["supernodes"][0]["state"] == "up"
    assert told["store"]["used_bytes"] >= len(CONTENT)
    control = json.loads(reader.get("text", path=place.mount.mountpoint / ".fly" / "status.json"))
    assert {*control} == {*told}
    assert control["bytes"]["supernode"] == told["bytes"]["supernode"]


def test_status_without_a_mountpoint_lists_all(place: Place) -> None:
    plain = place.fleet.run("status")
    assert plain.status == 0
    assert str(place.mount.mountpoint) in plain.stdout
    told = [json.loads(line) for line in place.fleet.run("status", "--json").stdout.splitlines()]
    assert [one["mountpoint"] for one in told] == [str(place.mount.mountpoint)]


def test_a_supernode_tells_the_same_figures_of_itself(fleet: Fleet) -> None:
    told = fleet.supernode().status()
    assert (told["role"], told["mountpoint"]) == ("supernode", None)
    assert {*told["bytes"]} >= {"origin", "supernode", "peers", "store", "served"}
    assert {*told} >= {"version", "peer_id", "pid", "pieces", "peers", "store", "loop_lag_ms", "demand_latency_ms"}


# -- every command's end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("status", "/nowhere"), 1),
        (("umount", "/nowhere"), 1),
        (("umount", "/proc"), 1),
        (("get",), 2),
        (("get", "ftp://example.com/x"), 2),
        (("get", "http://example.com/x", "--rate-limit", "1B/s"), 2),
        (("get", "http://example.com/x", "--sha256", "abc"), 2),
        (("mount", "/tmp", "--listen", "0.0.0.0:7402"), 2),
        (("mount", "/tmp", "--nonsense"), 2),
        (("mount", "/tmp", "--consistency", "sometimes"), 2),
        (("mirror",), 2),
        (("upgrade", "/mnt"), 2),
        (("warm", "oci://registry.example.com/x"), 2),
        (("warm", "http://example.com/x", "--supernode-only"), 2),
        (("limit", "--receive", "fast"), 2),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else None,
)
def test_a_failure_is_one_line_and_a_status(fleet: Fleet, words: tuple[str, ...], status: int) -> None:
    assert_failed(fleet.run(*words), status)
