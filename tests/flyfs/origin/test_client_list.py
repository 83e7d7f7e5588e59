import pytest

from flyfs.core.errors import Denied, NotFound, Unavailable
from flyfs.origin import client as module
from flyfs.origin.entry_collector import OriginListing
from tests.flyfs.origin.origins import a_place

PAGE = b'<title>Index of /d/</title><a href="../">../</a><a href="f">f</a><a href="g/">g/</a><a href="f">f</a>'


async def test_a_listing_is_one_get_and_tells_what_was_skipped() -> None:
    async with a_place() as place:
        place.put("/d/", PAGE, content_type="text/html")

        listing = await place.listing("/d")

        assert [entry.name for entry in listing.entries] == ["f", "g"]
        assert (listing.skipped, listing.listed) == (1, True)
        assert place.asked("/d/") == [("GET", None)]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_long_listing_comes_whole_in_every_framing(framing: str) -> None:
    links = b"".join(b'<a href="file-%d">x</a>\n' % number for number in range(5_000))
    async with a_place() as place:
        place.put("/d/", PAGE + links, content_type="text/html", framing=framing)

        assert len((await place.listing("/d/")).entries) == 5_002


async def test_a_listing_longer_than_the_limit_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LISTING_MAX_BYTES", 100_000)
    async with a_place() as place:
        place.put("/known/", PAGE + bytes(10_000_000), content_type="text/html")
        place.put("/chunked/", PAGE + bytes(10_000_000), content_type="text/html", framing="chunked")

        for path in ("/known/", "/chunked/"):
            with pytest.raises(Unavailable, match="the listing is longer than 100000 bytes"):
                await place.listing(path)


async def test_a_listing_that_breaks_off_is_no_listing() -> None:
    async with a_place() as place:
        place.put("/d/", PAGE * 10, content_type="text/html", stops_after=300)

        with pytest.raises(Unavailable):
            await place.listing("/d/")


async def test_a_directory_that_may_not_be_listed_or_shows_something_else_is_empty_and_says_so() -> None:
    async with a_place() as place:
        place.put("/off/", b"Forbidden", status=403)
        place.put("/page/", b"<title>Welcome</title><a href='x'>x</a>", content_type="text/html")
        place.put("/login/", location="/sign-in")
        place.put("/sign-in", PAGE, content_type="text/html")

        for path in ("/off/", "/page/", "/login/", "/"):
            assert await place.listing(path) == OriginListing(entries=(), skipped=0, listed=False)


async def test_a_redirected_listing_is_read_relative_to_where_it_is() -> None:
    async with a_place() as place:
        place.put("/d/", location="/e/")
        place.put("/e/", b'<title>Index of /e/</title><a href="/e/f">f</a><a href="/d/g">g</a>', content_type="text/html")

        assert [entry.name for entry in (await place.listing("/d/")).entries] == ["f"]


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (401, Denied), (500, Unavailable), (503, Unavailable)])
async def test_a_listing_that_fails_is_the_error_of_its_status(status: int, error: type[Exception]) -> None:
    async with a_place() as place:
        place.put("/d/", PAGE, content_type="text/html", status=status)

        with pytest.raises(error):
            await place.listing("/d/")
