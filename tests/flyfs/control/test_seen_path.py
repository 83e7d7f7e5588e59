import pytest

from flyfs.control.seen_path import seen_path
from flyfs.core.errors import NotFound
from flyfs.core.urls import parse_url

LONG = "d" * 130


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h", "http/h"),
        ("http://HOST:80/", "http/host"),
        ("http://h:8080/a/", "http/h:8080/a"),
        ("http://[::1]:8080/a%20b?q=1/2", "http/[::1]:8080/a b?q=1%2F2"),
        ("http://h/?q", "http/h/?q"),
        ("http://h/100%2525", "http/h/100%2525"),
        ("https://h:8443/a.bin", "https/h:8443/a.bin"),
        ("https://h/a/b/c.bin", "https/h/a%2Fb%2Fc.bin"),
        ("https://h/a/b/", "https/h/a%2Fb"),
        ("https://h/a/b.bin?v=1/2", "https/h/a%2Fb.bin?v=1%2F2"),
        (f"http://h/{LONG}/{LONG}/f?v=1", f"http/h/{LONG}/{LONG}/f?v=1"),
        (f"http://h/{LONG}/{LONG}/", f"http/h/{LONG}/{LONG}"),
        ("http://h/" + "x" * 255, "http/h/" + "x" * 255),
        ("http://h/" + "x" * 238 + "~" + "y" * 16, "http/h/" + "x" * 238 + "~" + "y" * 16),
    ],
)
def test_a_url_is_seen_at_a_path_that_needs_no_listing(url: str, path: str) -> None:
    assert seen_path(parse_url(url)) == path


@pytest.mark.parametrize(
    "url", ["http://h/" + "x" * 256, "http://h/" + "x" * 256 + "/f", "http://h/a/b?" + "q" * 300, "http://h/?" + "q" * 300]
)
def test_a_name_longer_than_a_file_name_has_no_path(url: str) -> None:
    with pytest.raises(NotFound, match="find it in the listing"):
        seen_path(parse_url(url))
