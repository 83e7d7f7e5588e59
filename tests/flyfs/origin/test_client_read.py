from pathlib import Path

import pytest
import trio
import trio.testing

from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.errors import Denied, NotFound, Unavailable
from flyfs.core.grid import MIB, ByteRange
from flyfs.core.urls import parse_url
from flyfs.origin.answers import IsDirectory, VersionChanged
from tests.flyfs.origin.origins import MODIFIED, Version, a_place
from tests.support.hostile_origin import HostileOriginProcess, pattern

ETAG = Validator(ValidatorKind.ETAG, '"v1"')
LONG = pattern(9 * MIB + 12_345, 1)


def version(content: bytes, validator: Validator = ETAG) -> Version:
    return Version(validator=validator, size=len(content))


async def test_a_range_brings_exactly_its_bytes_and_the_whole_version() -> None:
    content = pattern(100_000)
    async with a_place() as place:
        place.put("/f", content, etag='"v1"', modified=MODIFIED)

        async with place.client.read(parse_url(place.origin.url("/f")), ByteRange(10, 70_000), {}, None) as body:
            buffer = bytearray(80_000)
            assert await body.receive_into(memoryview(buffer)) == 69_990
            assert await body.receive_into(memoryview(buffer)[:5]) == 0

        assert buffer[:69_990] == content[10:70_000]
        assert (body.head.status, body.head.start, body.head.length, body.head.size) == (206, 10, 69_990, 100_000)
        assert (body.head.validator, body.head.accepts_ranges, body.sequential) == (ETAG, True, False)


async def test_ranges_share_one_connection() -> None:
    content = pattern(1_000_000)
    async with a_place() as place:
        place.put("/f", content)

        for start in range(0, 1_000_000, 100_000):
            assert await place.read("/f", (start, start + 100_000)) == content[start : start + 100_000]

        assert place.connections == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [0, 1, 70_000, 5 * MIB])
async def test_a_whole_body_comes_through_in_every_framing(framing: str, size: int) -> None:
    content = pattern(size)
    async with a_place() as place:
        place.put("/f", content, framing=framing)

        assert await place.read("/f", buffer_bytes=100_001) == content


@pytest.mark.parametrize("expect", [None, version(LONG)])
async def test_a_long_body_comes_straight_from_the_socket_and_its_connection_is_not_used_again(expect: Version | None) -> None:
    async with a_place() as place:
        place.put("/f", LONG, etag='"v1"', early_hints=True)

        assert await place.read("/f", (0, len(LONG)), expect=expect) == LONG
        assert await place.read("/f", None, expect=expect, buffer_bytes=333_333) == LONG

        assert place.connections == 2


async def test_a_long_body_that_trickles_is_no_stall() -> None:
    content = pattern(4 * MIB + 5)
    async with a_place(stall_timeout_s=0.03) as place:
        place.put("/f", content, send_bytes=100_000, pause_s=0.01)

        assert await place.read("/f") == content


async def test_every_request_sends_if_range_where_a_version_is_expected() -> None:
    content = pattern(1000)
    async with a_place() as place:
        place.put("/e", content, etag='"v1"')
        place.put("/m", content, modified=MODIFIED)
        place.put("/n", content)
        modified = Validator(ValidatorKind.MODIFIED, MODIFIED)

        assert await place.read("/e", (1, 9), expect=version(content)) == content[1:9]
        assert await place.read("/m", (1, 9), expect=version(content, modified)) == content[1:9]
        assert await place.read("/n", (1, 9), expect=version(content, Validator(ValidatorKind.NONE))) == content[1:9]

        assert [request.fields.get("if-range") for request in place.origin.requests] == ['"v1"', MODIFIED, None]


async def test_a_blob_is_an_expectation() -> None:
    content = pattern(1000)
    async with a_place() as place:
        url = place.origin.url("/f")
        blob = Blob(url=url, principal="public", validator=ETAG, size=1000, generation=0, piece_size=100)
        place.put("/f", content, etag='"v1"')
        assert await place.read("/f", (0, 100), expect=blob) == content[:100]

        place.put("/f", content, etag='"v2"')
        with pytest.raises(VersionChanged):
            await place.read("/f", (0, 100), expect=blob)


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("part", [None, (0, 10), (500, 600), (0, 1000)])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"etag": '"v1"'}, {"etag": '"v2"'}),
        ({"etag": '"v1"'}, {}),
        ({"etag": '"v1"'}, {"etag": 'W/"v1"'}),
        ({"modified": MODIFIED}, {"modified": "Mon, 23 Nov 2026 15:40:50 GMT"}),
    ],
)
async def test_a_replaced_file_of_the_same_size_is_another_version(
    if_range: bool, part: tuple[int, int] | None, before: dict[str, str], after: dict[str, str]
) -> None:
    async with a_place() as place:
        place.put("/f", pattern(1000, 1), **before)
        then = await place.head("/f")
        place.put("/f", pattern(1000, 2), if_range=if_range, **after)

        with pytest.raises(VersionChanged):
            await place.read("/f", part, expect=then)


@pytest.mark.parametrize("part", [None, (0, 10), (900, 1000), (0, 1000)])
async def test_without_a_validator_another_size_is_another_version(part: tuple[int, int] | None) -> None:
    async with a_place() as place:
        place.put("/f", pattern(1000))
        then = await place.head("/f")
        for size in (800, 1200):
            place.put("/f", pattern(size))

            with pytest.raises(VersionChanged, match=f"{size} bytes where 1000 were"):
                await place.read("/f", part, expect=then)


async def test_another_version_tells_its_head() -> None:
    async with a_place() as place:
        place.put("/f", pattern(1000), etag='"v2"')

        with pytest.raises(VersionChanged) as told:
            await place.read("/f", (0, 10), expect=version(pattern(1000)))

        assert told.value.head is not None
        assert told.value.head.validator.value == '"v2"'
        assert told.value.kind == "stale"


@pytest.mark.parametrize("expected", [True, False])
async def test_an_origin_that_ignores_range_gives_the_whole_from_the_start_and_says_so(expected: bool) -> None:
    content = pattern(200_000)
    async with a_place() as place:
        place.put("/f", content, etag='"v1"', ranges=False)
        url = parse_url(place.origin.url("/f"))

        async with place.client.read(url, ByteRange(1000, 2000), {}, version(content) if expected else None) as body:
            assert (body.sequential, body.head.start, body.head.length) == (True, 0, 200_000)
            assert body.head.accepts_ranges is False
            buffer = bytearray(200_000)
            assert await body.receive_into(memoryview(buffer)) == 200_000

        assert buffer == content


async def test_the_whole_file_as_a_range_answered_with_200_tells_nothing_about_ranges() -> None:
    async with a_place() as place:
        place.put("/f", b"hello", ranges=False)

        async with place.client.read(parse_url(place.origin.url("/f")), ByteRange(0, 100), {}, None) as body:
            assert (body.sequential, body.head.accepts_ranges) == (False, None)


async def test_a_range_beyond_the_end_of_a_file_stops_with_the_file() -> None:
    async with a_place() as place:
        place.put("/f", b"hello")

        assert await place.read("/f", (0, 262_144)) == b"hello"


async def test_a_range_of_an_empty_file_is_the_empty_body_with_its_validator() -> None:
    async with a_place() as place:
        place.put("/f", b"", etag='"v1"')

        async with place.client.read(parse_url(place.origin.url("/f")), ByteRange(0, 1000), {}, None) as body:
            assert (body.head.size, body.head.length, body.head.validator) == (0, 0, ETAG)
            assert await body.receive_into(memoryview(bytearray(10))) == 0
        with pytest.raises(VersionChanged):
            await place.read("/f", (0, 1000), expect=version(b"hello"))


async def test_an_empty_range_is_a_mistake() -> None:
    async with a_place() as place:
        with pytest.raises(ValueError, match="empty range"):
            await place.read("/f", (5, 5))


async def test_416_inside_the_known_file_is_unavailable() -> None:
    async with a_place() as place:
        place.put("/f", status=416, headers={"Content-Range": "bytes */1000"})

        with pytest.raises(Unavailable, match="416"):
            await place.read("/f", (0, 10), expect=version(pattern(1000)))


@pytest.mark.parametrize(
    "content_range", ["bytes 1-9/1000", "bytes 0-9/", "bytes 0-8/1000", "bytes 0-99/1000", "items 0-9/1000", "bytes */1000", "x"]
)
async def test_a_wrong_content_range_is_never_content(content_range: str) -> None:
    async with a_place() as place:
        place.put("/f", pattern(1000), content_range=content_range)

        with pytest.raises(Unavailable):
            await place.read("/f", (0, 10))


async def test_a_content_range_of_another_total_is_another_version() -> None:
    async with a_place() as place:
        place.put("/f", pattern(1000), content_range="bytes 0-9/999", etag='"v1"')

        with pytest.raises(VersionChanged):
            await place.read("/f", (0, 10), expect=version(pattern(1000)))


async def test_a_part_that_is_announced_longer_than_its_range_is_unavailable() -> None:
    async with a_place() as place:
        place.put("/f", pattern(1000), claims=50)

        with pytest.raises(Unavailable, match="announces 50 bytes for a part of 10"):
            await place.read("/f", (0, 10))


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotFound), (410, NotFound), (401, Denied), (403, Denied), (500, Unavailable), (503, Unavailable), (204, Unavailable)],
)
@pytest.mark.parametrize("part", [None, (0, 10)])
async def test_an_error_page_is_never_content(status: int, error: type[Exception], part: tuple[int, int] | None) -> None:
    async with a_place() as place:
        place.put("/f", b"<html>Something went wrong" * 100, status=status, framing="length" if status != 204 else "none")

        with pytest.raises(error):
            await place.read("/f", part)


@pytest.mark.parametrize("size", [100_000, 6 * MIB])
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("part", [True, False])
async def test_a_body_that_ends_early_is_unavailable(size: int, resets: bool, part: bool) -> None:
    async with a_place() as place:
        place.put("/f", pattern(size), stops_after=50_000, resets=resets)

        with pytest.raises(Unavailable, match="ends early|breaks HTTP|broke"):
            await place.read("/f", (0, size) if part else None)


@pytest.mark.parametrize("size", [100_000, 6 * MIB])
async def test_fewer_bytes_than_promised_are_unavailable(size: int) -> None:
    async with a_place() as place:
        place.put("/f", pattern(size), claims=size + 10)

        with pytest.raises(Unavailable):
            await place.read("/f")


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("size", [999, 1001])
async def test_an_unannounced_body_that_is_not_as_long_as_expected_is_unavailable(framing: str, size: int) -> None:
    async with a_place() as place:
        place.put("/f", pattern(size), etag='"v1"', framing=framing)

        with pytest.raises(Unavailable, match="ends early" if size == 999 else "goes on beyond"):
            await place.read("/f", expect=version(pattern(1000)))


async def test_a_chunked_body_that_is_cut_is_unavailable() -> None:
    async with a_place() as place:
        place.put("/f", pattern(100_000), framing="chunked", stops_after=50_000)

        with pytest.raises(Unavailable):
            await place.read("/f")


@pytest.mark.parametrize("size", [100_000, 6 * MIB])
async def test_a_body_that_stalls_is_unavailable_after_the_stall_time(size: int) -> None:
    async with a_place() as place:
        place.put("/f", pattern(size), stops_after=70_000, hangs="body")

        with trio.fail_after(5), pytest.raises(Unavailable, match="too slow: not a byte"):
            await place.read("/f")


async def test_bytes_beyond_the_promised_end_never_become_the_next_answer() -> None:
    async with a_place() as place:
        forged = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        place.put("/f", b"hello", trailing=forged)
        place.put("/g", b"fine")

        for _ in range(3):
            assert await place.read("/f") == b"hello"
            assert await place.read("/g") == b"fine"


async def test_coded_content_is_refused_with_a_clear_text() -> None:
    async with a_place() as place:
        place.put("/f", pattern(1000), headers={"Content-Encoding": "gzip"})

        with pytest.raises(Unavailable, match="coded as gzip although identity was asked for"):
            await place.read("/f", (0, 10))
        with pytest.raises(Unavailable, match="coded as gzip"):
            await place.read("/f")


async def test_a_name_that_redirects_to_a_directory_says_so_when_read() -> None:
    async with a_place() as place:
        place.put("/dir", location="/dir/", status=301)

        with pytest.raises(IsDirectory) as told:
            await place.read("/dir", (0, 262_144))

        assert told.value.url == parse_url(place.origin.url("/dir/"))
        assert told.value.kind == "not_found"


async def test_a_redirected_range_is_asked_again_at_the_target() -> None:
    content = pattern(1000)
    async with a_place() as place:
        place.put("/f", location="/g")
        place.put("/g", content, etag='"v1"')

        assert await place.read("/f", (10, 20), expect=version(content)) == content[10:20]
        assert place.asked("/g") == [("GET", "bytes=10-19")]


@pytest.mark.parametrize("size", [100_000, 6 * MIB])
async def test_leaving_a_body_unread_leaves_the_client_usable(size: int) -> None:
    async with a_place() as place:
        place.put("/f", pattern(size))
        url = parse_url(place.origin.url("/f"))
        for take in (0, 1000, 90_000):
            async with place.client.read(url, None, {}, None) as body:
                if take:
                    assert await body.receive_into(memoryview(bytearray(take))) == take

        assert await place.read("/f", (5, 10)) == pattern(size)[5:10]


@pytest.mark.parametrize("size", [100_000, 6 * MIB])
async def test_a_reader_cancelled_in_the_middle_leaves_the_client_usable(size: int) -> None:
    async with a_place(stall_timeout_s=30) as place:
        place.put("/f", pattern(size), stops_after=50_000, hangs="body")
        place.put("/g", b"fine")
        for _ in range(10):
            with trio.move_on_after(0.01) as scope:
                await place.read("/f")
            assert scope.cancelled_caught

        assert await place.read("/g") == b"fine"


async def test_long_bodies_leave_room_for_short_requests() -> None:
    async with a_place(stall_timeout_s=30) as place, trio.open_nursery() as nursery:
        place.put("/long", LONG, hangs="body", stops_after=1)
        place.put("/g", b"fine")
        for _ in range(8):
            nursery.start_soon(place.read, "/long")
        with trio.fail_after(5):
            while len(place.origin.requests) < 6:
                await trio.testing.wait_all_tasks_blocked(0.01)
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert len(place.origin.requests) == 6

            assert await place.read("/g", (0, 4)) == b"fine"
        nursery.cancel_scope.cancel()


async def test_a_kept_connection_that_the_origin_closed_is_replaced() -> None:
    async with a_place() as place:
        place.put("/f", b"hello", framing="close")
        place.put("/g", b"fine", head="break")

        for _ in range(3):
            assert await place.read("/f") == b"hello"
            assert await place.read("/g") == b"fine"
            assert (await place.head("/g")).size == 4


async def test_the_origin_as_a_process_of_its_own_obeys_and_remembers() -> None:
    async with a_place() as place:
        with HostileOriginProcess.started({"/f": {"size": 1000, "seed": 3, "etag": '"v1"'}}) as process:
            url = parse_url(process.url("/f"))
            buffer = bytearray(1000)
            async with place.client.read(url, ByteRange(0, 1000), {}, None) as body:
                assert await body.receive_into(memoryview(buffer)) == 1000
            assert buffer == pattern(1000, 3)

            await trio.to_thread.run_sync(lambda: process.put("/f", status=403))
            with pytest.raises(Denied):
                await place.client.stat(url, {})
            log = await trio.to_thread.run_sync(process.requests)
            assert [(request.method, request.range, request.status, request.sent_bytes) for request in log] == [
                ("GET", "bytes=0-999", 206, 1000),
                ("HEAD", None, 403, 0),
                ("GET", "bytes=0-0", 403, 0),
            ]
        assert not Path(f"/proc/{process.pid}").exists()
