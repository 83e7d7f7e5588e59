import pytest

from flyfs.core.errors import Denied, Unavailable
from flyfs.core.urls import parse_url
from flyfs.origin.redirects import check_caller_headers, leads_to_directory, next_hop, stays_directory

SECRET = {"Authorization": "Bearer x"}


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/x", "http://h/x"),
        ("x?y=1", "http://h/a/x?y=1"),
        ("?y=1", "http://h/a/b?y=1"),
        ("//other/x", "http://other/x"),
        ("https://other:8443/x%20y", "https://other:8443/x%20y"),
        ("http://user:secret@h/x", "http://h/x"),
        ("/caf\xc3\xa9", "http://h/caf%C3%A9"),
        ("/with space", "http://h/with%20space"),
        ("/x#fragment", "http://h/x"),
        ("http://h/x?a=@b", "http://h/x?a=@b"),
    ],
)
def test_a_location_is_taken_as_origins_write_it(location: str, target: str) -> None:
    assert str(next_hop(parse_url("http://h/a/b"), location, {}).url) == target


@pytest.mark.parametrize(
    ("location", "kept"), [("/x", True), ("http://h:80/x", True), ("http://h:81/x", False), ("https://h/x", False)]
)
def test_the_callers_fields_stay_within_scheme_host_and_port(location: str, kept: bool) -> None:
    assert next_hop(parse_url("http://h/a"), location, SECRET).headers == (SECRET if kept else {})


def test_https_never_leads_back_to_http() -> None:
    with pytest.raises(Denied, match="redirects from https to http"):
        next_hop(parse_url("https://h/a"), "http://h/a", {})


@pytest.mark.parametrize("location", [None, "ftp://h/x", "http://[::x/", "file:///etc/passwd"])
def test_a_location_that_leads_nowhere_is_unavailable(location: str | None) -> None:
    with pytest.raises(Unavailable, match="redirects to no"):
        next_hop(parse_url("http://h/a"), location, {})


@pytest.mark.parametrize(
    ("url", "target", "directory"),
    [
        ("http://h/a", "http://h/a/", True),
        ("http://h/a?x", "http://h/a/?x", True),
        ("http://h/a", "https://h/a/", True),
        ("https://h:8443/a", "https://h:8443/a/", True),
        ("http://h/a", "http://other/a/", False),
        ("http://h:81/a", "http://h:82/a/", True),
        ("http://h/a", "http://h/b/", False),
        ("http://h/a", "http://h/a/b/", False),
        ("http://h/a", "http://h/a", False),
        ("http://h/a/", "http://h/a/", False),
    ],
)
def test_only_the_same_name_with_a_slash_is_a_directory(url: str, target: str, directory: bool) -> None:
    assert leads_to_directory(parse_url(url), parse_url(target)) is directory


@pytest.mark.parametrize(
    ("url", "target", "stays"),
    [
        ("http://h/a/", "http://h/a/index.html", True),
        ("http://h/a/", "http://cdn/x/", True),
        ("http://h/a/", "http://h/a", False),
        ("http://h/a/", "http://h/login", False),
        ("http://h/", "http://h/login", True),
    ],
)
def test_a_directory_stays_one_with_a_slash_or_below_itself(url: str, target: str, stays: bool) -> None:
    assert stays_directory(parse_url(url), parse_url(target)) is stays


@pytest.mark.parametrize(
    "fields", [{"": "x"}, {"a b": "x"}, {"é": "x"}, {"A": "x\r\nB: y"}, {"A": "€"}, {"A": "\0"}, {"Host": "h"}]
)
def test_fields_that_are_none_or_ours_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(Denied):
        check_caller_headers(fields)


def test_credentials_and_cookies_are_the_callers_to_give() -> None:
    check_caller_headers({"Authorization": "Basic x", "Cookie": "a=b", "X-Token": "é", "User-Agent": "mine"})
