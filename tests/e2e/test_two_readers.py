"""The main job: a file read through two mounts comes from the origin once, and to the second reader from the first."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Mount, Supernode, wait_until
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(110)]

SIZE = 200_000_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def digests(place: Path) -> dict[str, str]:
    """SHA-256 of the origin's files."""
    root = place / "root"
    root.mkdir()
    found: dict[str, str] = {}
    for seed, name in enumerate(("after", "together")):
        sha256 = hashlib.sha256()
        with (root / name).open("wb") as file:
            for start in range(0, SIZE, 1_000_000):
                block = hashlib.shake_128(f"{seed} {start}".encode()).digest(1_000_000)
                file.write(block)
                sha256.update(block)
        found[name] = sha256.hexdigest()
    return found


@pytest.fixture(scope="module")
def origin(place: Path, digests: dict[str, str]) -> Iterator[NginxOrigin]:
    with NginxOrigin.serving(place / "root") as running:
        yield running


@pytest.fixture(scope="module")
def parts(place: Path) -> Iterator[tuple[Supernode, Mount, Mount]]:
    with Fleet.below(place) as fleet:
        supernode = fleet.supernode()
        yield supernode, fleet.mount("first", supernode=supernode), fleet.mount("second", supernode=supernode)


def gained(mount: Mount, before: dict[str, int]) -> dict[str, int]:
    return {source: count - before[source] for source, count in mount.status()["bytes"].items()}


def assert_asked_once(origin: NginxOrigin, name: str) -> None:
    log = origin.log()
    assert log.most_often_sent(f"/{name}") == 1, [one.sent_range for one in log.of(f"/{name}")]
    assert log.of(f"/{name}").sent_bytes <= SIZE


def test_who_reads_later_is_served_by_who_read_before(
    origin: NginxOrigin, parts: tuple[Supernode, Mount, Mount], digests: dict[str, str], reader: Reader
) -> None:
    _, first, second = parts
    before_first, before_second = first.status()["bytes"], second.status()["bytes"]

    assert reader.digest(first.path(origin.authority, "after"), timeout_s=50) == digests["after"]
    assert reader.digest(second.path(origin.authority, "after"), timeout_s=50) == digests["after"]

    assert_asked_once(origin, "after")
    assert gained(first, before_first)["supernode"] == SIZE
    bytes_of_second = gained(second, before_second)
    assert bytes_of_second["peers"] + bytes_of_second["supernode"] == SIZE
    assert bytes_of_second["peers"] > bytes_of_second["supernode"]
    assert gained(first, before_first)["served"] == bytes_of_second["peers"]


def test_who_reads_at_the_same_time_is_served_by_the_other(
    origin: NginxOrigin, parts: tuple[Supernode, Mount, Mount], digests: dict[str, str], reader: Reader
) -> None:
    supernode, first, second = parts
    before_first, before_second = first.status()["bytes"], second.status()["bytes"]

    with Reader.started() as other:
        reader.begin("digest", path=first.path(origin.authority, "together"))
        # The second starts a moment later, so that it is known who leads: of two in step either may be served by the other.
        wait_until(lambda: gained(first, before_first)["supernode"] > SIZE // 20, "the first has begun")
        other.begin("digest", path=second.path(origin.authority, "together"))
        assert reader.finish(timeout_s=60).value == digests["together"]
        assert other.finish(timeout_s=60).value == digests["together"]

    assert_asked_once(origin, "together")
    bytes_of_first, bytes_of_second = gained(first, before_first), gained(second, before_second)
    for received in (bytes_of_first, bytes_of_second):  # a piece that is late is asked of two, and may come from both
        assert SIZE <= received["peers"] + received["supernode"] < 1.1 * SIZE
    assert bytes_of_second["peers"] > bytes_of_second["supernode"]
    assert supernode.status()["pieces"]["rejected"] == first.status()["pieces"]["rejected"] == 0
    assert second.status()["pieces"]["rejected"] == 0


def test_what_both_hold_is_asked_of_nobody_again(
    origin: NginxOrigin, parts: tuple[Supernode, Mount, Mount], digests: dict[str, str], reader: Reader
) -> None:
    _, first, second = parts
    sent = origin.log().of("/together").sent_bytes

    for mount in (first, second):
        for _ in range(2):
            assert reader.digest(mount.path(origin.authority, "together"), timeout_s=50) == digests["together"]

    assert origin.log().of("/together").sent_bytes == sent
