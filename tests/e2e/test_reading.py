"""Any read of any size by any number of readers gives the origin's bytes, and costs the origin each byte once."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Mount, Supernode
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(100)]

MIB = 1024 * 1024
READERS = 64


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reading")
    (place / "root").mkdir()
    return place


@pytest.fixture(scope="module")
def origin(place: Path) -> Iterator[NginxOrigin]:
    with NginxOrigin.serving(place / "root") as running:
        yield running


@pytest.fixture(scope="module")
def parts(place: Path) -> Iterator[tuple[Supernode, Mount]]:
    with Fleet.below(place) as fleet:
        supernode = fleet.supernode()
        yield supernode, fleet.mount("m", supernode=supernode)


@pytest.mark.parametrize("size", [24 * MIB + 12_345, 160 * MIB - 1], ids=["small-pieces", "large-pieces"])
def test_random_reads_of_sixteen_threads_are_the_reads_of_the_local_file(
    place: Path, origin: NginxOrigin, parts: tuple[Supernode, Mount], reader: Reader, size: int
) -> None:
    name = f"random {size}"
    (place / "root" / name).write_bytes(random.Random(size).randbytes(size))

    wrong = reader.get(
        "compare",
        path=parts[1].path(origin.authority, name),
        local=place / "root" / name,
        seed=size,
        threads=16,
        reads=30,
        most=3 * MIB,
        timeout_s=80,
    )

    assert wrong == []
    log = origin.log().of(f"/{name}")
    assert log.most_often_sent(f"/{name}") == 1
    assert log.sent_bytes <= size


def test_many_readers_of_one_cold_file_cause_one_flight_per_piece(
    place: Path, origin: NginxOrigin, parts: tuple[Supernode, Mount], reader: Reader
) -> None:
    supernode, mount = parts
    size = 20 * MIB + 1
    content = random.Random(3).randbytes(size)
    (place / "root" / "cold").write_bytes(content)
    before, served_before = mount.status(), supernode.status()["bytes"]

    digests = reader.get("together", path=mount.path(origin.authority, "cold"), threads=READERS, timeout_s=80)

    assert digests == [hashlib.sha256(content).hexdigest()] * READERS
    after, served_after = mount.status(), supernode.status()["bytes"]
    assert after["pieces"]["verified"] - before["pieces"]["verified"] == 81
    assert after["pieces"]["rejected"] == 0
    assert after["bytes"]["supernode"] - before["bytes"]["supernode"] == size
    assert served_after["served"] - served_before["served"] == size
    assert served_after["origin"] - served_before["origin"] == size
    log = origin.log().of("/cold")
    assert (log.sent_bytes, log.most_often_sent("/cold")) == (size, 1)
    assert len([one for one in log if one.method == "HEAD"]) <= 1


def test_what_is_cold_everywhere_arrives_in_any_order(
    place: Path, origin: NginxOrigin, parts: tuple[Supernode, Mount], reader: Reader
) -> None:
    """Backwards, every second piece, then the rest: what is asked of the origin never overlaps."""
    size = 6 * MIB
    content = random.Random(4).randbytes(size)
    (place / "root" / "order").write_bytes(content)
    path = parts[1].path(origin.authority, "order")
    step = 256 * 1024

    for start in (*range(size - step, -1, -2 * step), *range(0, size, 2 * step)):
        found = reader.get("read", path=path, offset=start, size=step)
        assert found["sha256"] == hashlib.sha256(content[start : start + step]).hexdigest()

    assert origin.log().most_often_sent("/order") == 1


def test_a_reader_that_is_killed_while_it_waits_disturbs_nobody(
    fleet: Fleet, origin: NginxOrigin, place: Path, reader: Reader
) -> None:
    content = random.Random(5).randbytes(3 * MIB)
    (place / "root" / "waited for").write_bytes(content)
    mount = fleet.mount("killed")
    path = mount.path(origin.authority, "waited for")
    assert reader.get("stat", path=path)["st_size"] == len(content)

    origin.pause()
    try:
        with Reader.started() as doomed:
            doomed.begin("digest", path=path)
            assert reader.get("text", path=mount.mountpoint / ".fly" / "status.json")
            assert reader.get("stat", path=path, timeout_s=5)["st_size"] == len(content)
    finally:
        origin.resume()

    assert reader.digest(path) == hashlib.sha256(content).hexdigest()
