from functools import partial

import pytest
import trio
import trio.testing

from flyfs.core.blob import Validator, ValidatorKind
from flyfs.core.errors import Denied, NotFound, Unavailable
from flyfs.core.urls import parse_url
from flyfs.origin.answers import OriginDirectory
from tests.flyfs.origin.origins import MODIFIED, MODIFIED_S, a_client, a_place


async def test_a_file_costs_one_head_and_tells_size_validator_and_time() -> None:
    async with a_place() as place:
        place.put("/f", b"hello", etag='"v1"', modified=MODIFIED)

        head = await place.head("/f")

        assert (head.size, head.length, head.start, head.modified_s) == (5, 5, 0, MODIFIED_S)
        assert head.validator == Validator(ValidatorKind.ETAG, '"v1"')
        assert head.accepts_ranges is True
        assert place.asked("/f") == [("HEAD", None)]
        assert place.origin.requests[0].fields["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("fields", "validator"),
    [
        ({"etag": '"v"', "modified": MODIFIED}, Validator(ValidatorKind.ETAG, '"v"')),
        ({"etag": 'W/"v"', "modified": MODIFIED}, Validator(ValidatorKind.MODIFIED, MODIFIED)),
        ({"etag": 'W/"v"'}, Validator(ValidatorKind.NONE)),
        ({"modified": MODIFIED}, Validator(ValidatorKind.MODIFIED, MODIFIED)),
        ({}, Validator(ValidatorKind.NONE)),
    ],
)
async def test_the_strongest_validator_is_taken_and_a_weak_etag_is_none(fields: dict[str, str], validator: Validator) -> None:
    async with a_place() as place:
        place.put("/f", b"x", **fields)

        assert (await place.head("/f")).validator == validator


@pytest.mark.parametrize("refusal", ["405", "501", "403", "400", "500", "break"])
async def test_an_origin_that_refuses_head_is_asked_for_one_byte_and_remembered(refusal: str) -> None:
    async with a_place() as place:
        place.put("/a", b"hello", etag='"a"', head=refusal)
        place.put("/b", b"hello world", etag='"b"', head=refusal)

        first, second = await place.head("/a"), await place.head("/b")

        assert (first.size, second.size, first.accepts_ranges) == (5, 11, True)
        assert (first.status, first.start, first.length) == (200, 0, 5)
        assert first.validator.value == '"a"'
        assert place.asked("/a") == [("HEAD", None), ("GET", "bytes=0-0")]
        assert place.asked("/b") == [("GET", "bytes=0-0")]


async def test_a_head_that_claims_no_bytes_is_not_believed_before_a_get_confirmed_one() -> None:
    async with a_place() as place:
        place.put("/lie", b"hello", head="zero")

        assert (await place.head("/lie")).size == 5
        assert (await place.head("/lie")).size == 5
        assert place.asked("/lie") == [("HEAD", None), ("GET", "bytes=0-0"), ("GET", "bytes=0-0")]


async def test_an_origin_whose_empty_files_are_empty_is_believed_from_then_on() -> None:
    async with a_place() as place:
        place.put("/empty", b"", etag='"e"')

        for _ in range(2):
            head = await place.head("/empty")
            assert (head.size, head.validator.value) == (0, '"e"')
        assert place.asked("/empty") == [("HEAD", None), ("GET", "bytes=0-0"), ("GET", None), ("HEAD", None)]


async def test_a_head_without_a_length_is_completed_by_a_get() -> None:
    async with a_place() as place:
        place.put("/f", b"hello", head="no-length")

        assert (await place.head("/f")).size == 5


async def test_content_without_a_length_has_no_size_and_is_no_error() -> None:
    async with a_place() as place:
        place.put("/f", b"hello" * 100_000, framing="chunked", ranges=False)

        head = await place.head("/f")

        assert (head.size, head.length, head.accepts_ranges) == (None, None, False)


async def test_an_origin_that_ignores_range_is_told_by_the_probe_without_reading_the_file() -> None:
    async with a_place() as place:
        place.put("/f", bytes(50_000_000), ranges=False, head="405")

        head = await place.head("/f")

        assert (head.size, head.accepts_ranges) == (50_000_000, False)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert place.origin.requests[-1].sent_bytes < 20_000_000


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotFound), (410, NotFound), (401, Denied), (403, Denied), (429, Unavailable), (500, Unavailable), (503, Unavailable)],
)
async def test_a_status_is_the_error_it_stands_for(status: int, error: type[Exception]) -> None:
    async with a_place() as place:
        place.put("/f", b"an error page", status=status)

        with pytest.raises(error, match=f"/f: the origin answers {status}"):
            await place.stat("/f")


async def test_the_connection_is_kept_over_heads_and_errors() -> None:
    async with a_place() as place:
        place.put("/f", b"x")
        for path in ("/f", "/missing", "/f", "/missing", "/f"):
            try:
                await place.stat(path)
            except NotFound:
                assert path == "/missing"

        assert place.connections == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_told_and_keeps_everybody_away_from_that_origin(status: int) -> None:
    async with a_place() as place:
        place.put("/busy", status=status, headers={"Retry-After": "7"})
        place.put("/f", b"x")

        with pytest.raises(Unavailable) as told:
            await place.stat("/busy")
        assert told.value.retry_after_s == 7
        with pytest.raises(Unavailable, match="left alone") as again:
            await place.stat("/f")
        assert again.value.retry_after_s is not None
        assert 6 < again.value.retry_after_s <= 7
        assert place.asked("/f") == []


async def test_a_redirect_to_the_name_with_a_slash_is_a_directory() -> None:
    async with a_place() as place:
        place.put("/dir", location="/dir/", status=301)
        place.put("/abs", location=place.origin.url("/abs/"), status=301)

        assert await place.stat("/dir") == OriginDirectory(url=parse_url(place.origin.url("/dir/")))
        assert await place.stat("/abs") == OriginDirectory(url=parse_url(place.origin.url("/abs/")))
        assert place.asked("/dir") == [("HEAD", None)]


async def test_other_redirects_are_followed_to_the_file() -> None:
    async with a_place() as place:
        place.put("/a", location="/b")
        place.put("/b", location="c?x=1", status=307)
        place.put("/c", b"hello", etag='"c"')

        assert (await place.head("/a")).size == 5


async def test_redirects_in_a_circle_end() -> None:
    async with a_place() as place:
        place.put("/a", location="/b")
        place.put("/b", location="/a")

        with pytest.raises(Unavailable, match="more than 5 times"):
            await place.stat("/a")
        assert len(place.origin.requests) == 6


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "http://[::bad/", "http://a b/"])
async def test_a_redirect_to_no_usable_url_is_unavailable(location: str) -> None:
    async with a_place() as place:
        place.put("/a", location=location)

        with pytest.raises(Unavailable, match="redirects to no usable URL|Invalid URL in location"):
            await place.stat("/a")


async def test_callers_headers_reach_their_origin_and_no_other() -> None:
    async with a_place() as place, a_place() as other:
        place.put("/same", location="/f")
        place.put("/f", b"x")
        place.put("/away", location=other.origin.url("/g"))
        other.put("/g", b"xy")
        secret = {"Authorization": "Bearer s3cret", "X-Api-Key": "k"}

        await place.stat("/same", secret)
        await place.stat("/away", secret)

        assert [request.fields.get("authorization") for request in place.origin.requests] == ["Bearer s3cret"] * 3
        assert "authorization" not in other.origin.requests[0].fields
        assert "x-api-key" not in other.origin.requests[0].fields


async def test_a_cookie_set_for_one_caller_is_never_sent_again() -> None:
    async with a_place() as place:
        place.put("/f", b"x", headers={"Set-Cookie": "session=1; Path=/"})

        await place.stat("/f")
        await place.stat("/f")

        assert "cookie" not in place.origin.requests[1].fields


@pytest.mark.parametrize("name", ["Host", "range", "Accept-Encoding", "X-Forwarded-For", "Metadata-Flavor", "bad name", "X-Ok"])
async def test_headers_that_a_caller_must_not_set_are_refused_by_name(name: str) -> None:
    async with a_place() as place:
        with pytest.raises(Denied, match=name):
            await place.stat("/f", {name: "a\nb"})
        assert place.origin.requests == []


async def test_a_directory_url_is_one_where_it_answers_and_the_root_always_is() -> None:
    async with a_place() as place:
        place.put("/d/", b"<html>", content_type="text/html")
        place.put("/locked/", status=403)
        place.put("/moved/", location="/elsewhere")
        place.put("/elsewhere", b"x")
        place.put("/start/", location="/start/index.html")
        place.put("/start/index.html", b"x")

        assert isinstance(await place.stat("/d/"), OriginDirectory)
        assert isinstance(await place.stat("/"), OriginDirectory)
        assert isinstance(await place.stat("/start/"), OriginDirectory)
        with pytest.raises(NotFound):
            await place.stat("/nothing/")
        with pytest.raises(NotFound):
            await place.stat("/moved/")
        with pytest.raises(Denied):
            await place.stat("/locked/")


async def test_a_directory_that_refuses_head_is_asked_with_get() -> None:
    async with a_place() as place:
        place.put("/d/", b"<html>", head="405")

        for _ in range(2):
            assert isinstance(await place.stat("/d/"), OriginDirectory)
        assert place.asked("/d/") == [("HEAD", None), ("GET", None), ("GET", None)]


async def test_an_origin_that_is_down_hangs_or_speaks_no_http_is_unavailable() -> None:
    async with a_place() as place:
        place.put("/f", hangs="head")
        with pytest.raises(Unavailable, match="too slow"):
            await place.stat("/f")
    async with a_client() as client:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await client.stat(parse_url(place.origin.url("/f")), {})

    async def talk_nonsense(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"220 smtp ready\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery, a_client() as client:
        (listener,) = await nursery.start(partial(trio.serve_tcp, talk_nonsense, 0, host="127.0.0.1"))
        with pytest.raises(Unavailable, match="breaks HTTP"):
            await client.stat(parse_url(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/f"), {})
        nursery.cancel_scope.cancel()


async def test_a_caller_that_gives_up_leaves_the_client_usable() -> None:
    async with a_place(stall_timeout_s=30) as place:
        place.put("/slow", hangs="head")
        place.put("/f", b"x")
        for _ in range(12):
            with trio.move_on_after(0.01) as scope:
                await place.stat("/slow")
            assert scope.cancelled_caught

        assert (await place.head("/f")).size == 1


async def test_an_interim_answer_is_no_answer() -> None:
    async with a_place() as place:
        place.put("/f", b"hello", early_hints=True)

        assert (await place.head("/f")).size == 5
        assert await place.read("/f", (1, 3)) == b"el"


async def test_at_most_eight_requests_are_under_way_at_one_origin() -> None:
    async with a_place(stall_timeout_s=30) as place, trio.open_nursery() as nursery:
        place.put("/f", hangs="head")
        for _ in range(20):
            nursery.start_soon(place.stat, "/f")
        with trio.fail_after(5):
            while len(place.origin.requests) < 8:
                await trio.testing.wait_all_tasks_blocked(0.01)

        await trio.testing.wait_all_tasks_blocked(0.05)

        assert len(place.origin.requests) == 8
        nursery.cancel_scope.cancel()
