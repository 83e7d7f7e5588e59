"""Whatever an origin does, a reader gets the right bytes or the right error in time, and nothing wrong is kept."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, Mount, Supernode, wait_until
from tests.support.hostile_origin import HostileOriginProcess, pattern
from tests.support.nginx import NginxOrigin
from tests.support.reader import Answer, Reader
from tests.support.stored import stored_files

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(60)]

KIB = 1024
MIB = 1024 * KIB
DEADLINE_S = 3.0
LATE_S = DEADLINE_S + 1.0
"""Beyond the deadline by what a busy machine needs to say so."""
SOON_S = 1.5
"""After a first time-out: within a second, and what a busy machine needs."""


@dataclass
class Place:
    """A mount with a short deadline, and what its store may hold in the end."""

    mount: Mount
    supernode: Supernode | None
    versions: dict[str, list[bytes]] = field(default_factory=dict)

    def path(self, origin: HostileOriginProcess | NginxOrigin, name: str) -> Path:
        return self.mount.path(f"127.0.0.1:{origin.port}", name)

    def told(self, origin: HostileOriginProcess | NginxOrigin, name: str, *contents: bytes) -> None:
        """The file had these contents, and no other ones."""
        self.versions.setdefault(origin.url(name), []).extend(contents)


@pytest.fixture(scope="module", params=["embedded", "standalone"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Fleet.below(tmp_path_factory.mktemp("faults")) as fleet:
        supernode = fleet.supernode() if request.param == "standalone" else None
        mount = fleet.mount("m", "--deadline", f"{DEADLINE_S:g}", "--consistency", "ttl=1", supernode=supernode)
        place = Place(mount, supernode)
        yield place
        assert mount.umount().status == 0
        caches = [mount.cache]
        if supernode is not None:
            supernode.stop()
            caches.append(supernode.cache)
        for cache in caches:
            for stored in stored_files(cache):
                assert any(map(stored.is_part_of, place.versions[stored.url])) or not stored.pieces, (
                    f"wrong bytes of {stored.url}"
                )


@pytest.fixture
def hostile() -> Iterator[HostileOriginProcess]:
    with HostileOriginProcess.started() as origin:
        yield origin


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def assert_readable_soon(reader: Reader, path: Path, content: bytes) -> None:
    reader.wait_for_digest(path, digest_of(content), timeout_s=15)


def assert_told(answer: Answer, *errors: str, within_s: float = LATE_S) -> None:
    assert answer.error in errors, answer
    assert answer.seconds < within_s, answer


# -- what an origin answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, "ENOENT"),
        (410, "ENOENT"),
        (401, "EACCES"),
        (403, "EACCES"),
        (400, "EIO"),
        (429, "EIO"),
        (500, "EIO"),
        (502, "EIO"),
        (503, "EIO"),
    ],
)
def test_a_status_has_its_error_and_the_page_is_no_content(
    place: Place, hostile: HostileOriginProcess, reader: Reader, status: int, error: str
) -> None:
    content = pattern(300 * KIB, status)
    place.told(hostile, "/file", content)
    hostile.put("/file", text="an error page", status=status)
    path = place.path(hostile, "file")

    for do in ("digest", "stat"):
        assert_told(reader.ask(do, path=path), error, within_s=SOON_S)

    hostile.put("/file", size=len(content), seed=status, etag='"1"')
    assert_readable_soon(reader, path, content)


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_an_error_page_in_the_middle_of_a_file_is_no_content(
    place: Place, hostile: HostileOriginProcess, reader: Reader, status: int
) -> None:
    content = pattern(3 * MIB, status)
    place.told(hostile, "/file", content)
    hostile.put("/file", size=len(content), seed=status, etag='"1"')
    path = place.path(hostile, "file")
    descriptor = reader.get("open", path=path)
    assert reader.get("read_open", descriptor=descriptor, offset=0, size=1)["size"] == 1
    hostile.put("/file", text="x" * len(content), status=status)

    assert_told(
        reader.ask("read_open", descriptor=descriptor, offset=2 * MIB + 512 * KIB, size=10), "EIO", "ESTALE", "EACCES", "ENOENT"
    )

    hostile.put("/file", size=len(content), seed=status, etag='"1"')
    reader.get("close", descriptor=descriptor)
    assert_readable_soon(reader, path, content)


@pytest.mark.parametrize(
    "fault",
    [
        {"stops_after": 100 * KIB},
        {"stops_after": 100 * KIB, "resets": True},
        {"stops_after": 0},
        {"content_range": "bytes 0-99/100"},
        {"content_range": "bytes 1-1048576/3145728"},
        {"content_range": "nonsense"},
        {"text": "<html>Please log in</html>", "ranges": False, "content_type": "text/html"},
        {"text": "<html>Please log in</html>", "status": 200, "content_type": "text/html"},
        {"status": 200, "text": "x" * 3 * MIB},
    ],
    ids=[
        "closes",
        "resets",
        "says nothing",
        "other range",
        "shifted range",
        "no range",
        "200 page",
        "200 page, same tag",
        "200 text",
    ],
)
def test_what_does_not_fit_the_question_is_no_content(
    place: Place, hostile: HostileOriginProcess, reader: Reader, fault: dict[str, Any]
) -> None:
    content = pattern(3 * MIB, 5)
    good: dict[str, Any] = {"size": len(content), "seed": 5, "etag": '"1"'}
    place.told(hostile, "/file", content)
    hostile.put("/file", **good)
    path = place.path(hostile, "file")
    descriptor = reader.get("open", path=path)
    reader.get("read_open", descriptor=descriptor, offset=0, size=1)
    hostile.put("/file", **({"etag": good["etag"]} if "text" in fault else good), **fault)

    answer = reader.ask("read_open", descriptor=descriptor, offset=2 * MIB + 512 * KIB, size=KIB)
    if answer.error:
        assert_told(answer, "EIO", "ESTALE")
    else:  # a read that began before the fault
        assert answer.value["sha256"] == digest_of(content[2 * MIB + 512 * KIB :][:KIB])
    reader.get("close", descriptor=descriptor)

    hostile.put("/file", **good)
    assert_readable_soon(reader, path, content)


def test_fewer_bytes_than_promised_are_an_error_and_what_came_is_right(
    place: Place, hostile: HostileOriginProcess, reader: Reader
) -> None:
    content = pattern(MIB + 10, 6)
    promised = len(content) + 100_000
    hostile.put("/file", size=len(content), seed=6, etag='"1"', claims=promised, ranges=False)
    place.told(hostile, "/file", content, content + bytes(100_000))
    path = place.path(hostile, "file")

    answer = reader.ask("digest", path=path)

    assert_told(answer, "EIO")
    hostile.put("/file", size=len(content), seed=6, etag='"2"')
    assert_readable_soon(reader, path, content)


# -- origins that are not textbook ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["405", "501", "403", "break", "zero", "no-length"])
def test_an_origin_that_refuses_head_is_asked_with_get_and_remembered(
    place: Place, hostile: HostileOriginProcess, reader: Reader, head: str
) -> None:
    contents = [pattern(600 * KIB, seed) for seed in (8, 9)]
    for seed, content in zip((8, 9), contents, strict=True):
        hostile.put(f"/{seed}", size=len(content), seed=seed, etag=f'"{seed}"', head=head)
        place.told(hostile, f"/{seed}", content)

    for seed, content in zip((8, 9), contents, strict=True):
        assert reader.get("stat", path=place.path(hostile, str(seed)))["st_size"] == len(content)
        assert reader.digest(place.path(hostile, str(seed))) == digest_of(content)

    requests = hostile.requests()
    assert [one.method for one in requests if one.path == "/9"].count("HEAD") == 0
    for path, content in (("/8", contents[0]), ("/9", contents[1])):
        assert sum(one.sent_bytes for one in requests if one.path == path) <= len(content) + 1  # and the byte that told the head


def test_an_origin_that_ignores_ranges_is_read_once_from_the_start(
    place: Place, hostile: HostileOriginProcess, reader: Reader
) -> None:
    content = pattern(5 * MIB + 3, 10)
    hostile.put("/file", size=len(content), seed=10, etag='"1"', ranges=False)
    place.told(hostile, "/file", content)
    path = place.path(hostile, "file")

    middle = reader.get("read", path=path, offset=4 * MIB, size=1000)
    assert middle["sha256"] == digest_of(content[4 * MIB :][:1000])
    assert reader.digest(path) == digest_of(content)

    whole = [one for one in hostile.requests() if one.method == "GET" and one.sent_bytes == len(content)]
    assert len(whole) == 1
    assert sum(one.sent_bytes for one in hostile.requests()) < 2 * len(content)


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("size", [0, 1, 256 * KIB, 2 * MIB + 5])
def test_content_without_a_length_is_read_whole_and_then_is_a_file(
    place: Place, hostile: HostileOriginProcess, reader: Reader, framing: str, size: int
) -> None:
    content = pattern(size, 11)
    hostile.put("/file", size=size, seed=11, framing=framing, ranges=False)
    place.told(hostile, "/file", content)
    path = place.path(hostile, "file")

    assert reader.get("stat", path=path)["st_size"] == size
    assert reader.digest(path) == digest_of(content)


def test_content_without_a_length_that_takes_longer_than_the_deadline_is_there_on_a_later_try(
    place: Place, hostile: HostileOriginProcess, reader: Reader
) -> None:
    content = pattern(20 * 100_000, 12)
    slow = {"framing": "chunked", "ranges": False, "send_bytes": 100_000, "pause_s": DEADLINE_S / 10}
    hostile.put("/file", size=len(content), seed=12, etag='"1"', **slow)
    place.told(hostile, "/file", content)
    path = place.path(hostile, "file")

    assert_told(reader.ask("stat", path=path), "EIO")
    wait_until(lambda: reader.ask("stat", path=path).error == "", "the read went on", timeout_s=20)

    assert reader.get("stat", path=path)["st_size"] == len(content)
    whole = [one for one in hostile.requests() if one.method == "GET" and one.range is None]
    assert len(whole) == 1  # beside the probes for a length


def test_an_origin_without_any_validator_gives_one_version_or_none(
    place: Place, hostile: HostileOriginProcess, reader: Reader
) -> None:
    content = pattern(2 * MIB, 13)
    hostile.put("/file", size=len(content), seed=13)
    place.told(hostile, "/file", content)

    assert reader.digest(place.path(hostile, "file")) == digest_of(content)


# -- origins that are not there -------------------------------------------------------------------------------------------


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[NginxOrigin]:
    (tmp_path / "file").write_bytes(random.Random(14).randbytes(8 * MIB))
    (tmp_path / "other").write_bytes(random.Random(15).randbytes(MIB))
    with NginxOrigin.serving(tmp_path) as running:
        yield running


def test_an_origin_that_is_down_is_an_error_at_once_and_held_pieces_are_still_read(
    place: Place, nginx: NginxOrigin, reader: Reader
) -> None:
    content = (nginx.root / "file").read_bytes()
    place.told(nginx, "/file", content)
    place.told(nginx, "/other", (nginx.root / "other").read_bytes())
    path = place.path(nginx, "file")
    held = reader.get("read", path=path, offset=0, size=100)
    nginx.stop()

    assert_told(reader.ask("stat", path=place.path(nginx, "other")), "EIO")
    assert_told(reader.ask("stat", path=place.path(nginx, "other")), "EIO", within_s=SOON_S)
    assert reader.get("read", path=path, offset=0, size=100) == held
    assert_told(reader.ask("read", path=path, offset=7 * MIB, size=100), "EIO")
    assert_told(reader.ask("read", path=path, offset=7 * MIB, size=100), "EIO", within_s=SOON_S)
    assert reader.get("stat", path=path)["st_size"] == len(content)

    nginx.start()
    assert_readable_soon(reader, path, content)
    assert_readable_soon(reader, place.path(nginx, "other"), (nginx.root / "other").read_bytes())
    assert nginx.log().most_often_sent("/file") == 1


def test_an_origin_that_hangs_costs_one_deadline_and_then_less_than_a_second(
    place: Place, nginx: NginxOrigin, reader: Reader
) -> None:
    content = (nginx.root / "file").read_bytes()
    place.told(nginx, "/file", content)
    place.told(nginx, "/other", (nginx.root / "other").read_bytes())
    path = place.path(nginx, "file")
    held = reader.get("read", path=path, offset=0, size=100)
    nginx.pause()
    try:
        assert_told(reader.ask("read", path=path, offset=7 * MIB, size=100), "EIO")
        assert_told(reader.ask("read", path=path, offset=6 * MIB, size=100), "EIO", within_s=SOON_S)
        assert_told(reader.ask("stat", path=place.path(nginx, "other")), "EIO")
        assert_told(reader.ask("stat", path=place.path(nginx, "never seen")), "EIO", within_s=SOON_S)
        assert reader.get("read", path=path, offset=0, size=100) == held
        assert reader.get("stat", path=path)["st_size"] == len(content)
        assert "up" in reader.get("text", path=place.mount.mountpoint / ".fly" / "supernodes")
    finally:
        nginx.resume()

    assert_readable_soon(reader, path, content)
    assert_readable_soon(reader, place.path(nginx, "other"), (nginx.root / "other").read_bytes())


@pytest.mark.timeout(100)
def test_a_body_that_stops_coming_costs_one_deadline_and_is_given_up(
    fleet: Fleet, hostile: HostileOriginProcess, reader: Reader
) -> None:
    content = pattern(3 * MIB, 16)
    hostile.put("/file", size=len(content), seed=16, etag='"1"', stops_after=100 * KIB, hangs="body")
    path = fleet.mount("m", "--deadline", f"{DEADLINE_S:g}").path(f"127.0.0.1:{hostile.port}", "file")
    assert reader.get("stat", path=path)["st_size"] == len(content)

    assert_told(reader.ask("read", path=path, offset=0, size=10), "EIO")
    assert_told(reader.ask("read", path=path, offset=0, size=10), "EIO", within_s=SOON_S)

    hostile.put("/file", size=len(content), seed=16, etag='"1"')
    reader.wait_for_digest(path, digest_of(content), timeout_s=45)  # the origin may stall for 30 s before it is given up


MODIFIED = ({"modified": "Mon, 06 Nov 2023 10:00:00 GMT"}, {"modified": "Mon, 06 Nov 2023 10:00:01 GMT"})


# -- versions -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tags",
    [
        ({"etag": '"1"'}, {"etag": '"2"'}),
        ({"etag": 'W/"1"', **MODIFIED[0]}, {"etag": 'W/"2"', **MODIFIED[1]}),
        MODIFIED,
    ],
    ids=["strong", "weak", "date"],
)
@pytest.mark.parametrize("size_after", [3 * MIB, 2 * MIB + 1])
def test_an_open_file_keeps_its_version_and_a_new_open_sees_the_new_one(
    place: Place, hostile: HostileOriginProcess, reader: Reader, tags: tuple[dict[str, str], dict[str, str]], size_after: int
) -> None:
    before, after = tags
    old, new = pattern(3 * MIB, 17), pattern(size_after, 18)
    place.told(hostile, "/file", old, new)
    hostile.put("/file", size=len(old), seed=17, **before)
    path = place.path(hostile, "file")
    descriptor = reader.get("open", path=path)
    held = reader.get("read_open", descriptor=descriptor, offset=0, size=100)
    hostile.put("/file", size=len(new), seed=18, **after)

    # The version is over: bytes of it that nobody has are gone, in time; those that are held stay what they were.
    answer = reader.ask("read_open", descriptor=descriptor, offset=2 * MIB + 512 * KIB, size=100)
    if answer.error:
        assert_told(answer, "ESTALE")
    else:
        assert answer.value["sha256"] == digest_of(old[2 * MIB + 512 * KIB :][:100])
    assert reader.get("read_open", descriptor=descriptor, offset=0, size=100) == held

    assert_readable_soon(reader, path, new)
    assert reader.get("stat", path=path)["st_size"] == len(new)
    assert reader.get("read_open", descriptor=descriptor, offset=0, size=100) == held
    reader.get("close", descriptor=descriptor)


def test_a_file_that_is_removed_is_gone_for_new_readers_only(place: Place, hostile: HostileOriginProcess, reader: Reader) -> None:
    content = pattern(100 * KIB, 19)
    place.told(hostile, "/file", content)
    hostile.put("/file", size=len(content), seed=19, etag='"1"')
    path = place.path(hostile, "file")
    descriptor = reader.get("open", path=path)
    held = reader.get("read_open", descriptor=descriptor, offset=0, size=len(content))
    hostile.remove("/file")

    wait_until(lambda: reader.ask("stat", path=path).error == "ENOENT", "the name is gone")
    assert reader.get("read_open", descriptor=descriptor, offset=0, size=len(content)) == held
    reader.get("close", descriptor=descriptor)
