import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyfs.core.errors import Unavailable
from flyfs.core.remote import Entry, EntryKind
from flyfs.core.urls import parse_url
from flyfs.origin import entry_collector
from flyfs.origin.entry_collector import OriginListing
from flyfs.origin.listing import parse_listing

PAGES = Path(__file__).parent / "listings"
"""As the servers sent them for one directory (nginx 1.22, Apache 2.4, Python 3.11)."""

FILES = [
    "[br]", "a&b<c>.txt", "back\\slash", "big.bin", "café.txt", "col:on.txt", "empty", "hash#1", "huge.bin", "latin\udce9.txt",
    "pct%41.txt",
    "plain.txt", "q?mark.txt", "quote\"s'.txt", "semi;colon,plus+.txt", "with space.txt", "x" * 255, "~tilde", "é" * 127,
]  # fmt: skip
SIZES = dict.fromkeys(FILES, 1500) | {"big.bin": 5_000_000, "huge.bin": 3_000_000_000, "empty": 0}
MINUTE_S = 1795448400
SECOND_S = 1795448449


def listing_of(page: bytes | str, url: str = "http://h/dir/", content_type: str = "text/html") -> OriginListing:
    data = page if isinstance(page, bytes) else page.encode("utf-8", "surrogateescape")
    return parse_listing(data, content_type, parse_url(url), url)


def names(*links: str, url: str = "http://h/dir/") -> list[str]:
    return [entry.name for entry in page_of(*links, url=url).entries]


def page_of(*links: str, url: str = "http://h/dir/") -> OriginListing:
    return listing_of("<title>Index of /dir/</title>" + "".join(f'<a href="{link}">x</a>\n' for link in links), url)


def saved(name: str, url: str) -> dict[str, Entry]:
    content_type = "application/json" if name.endswith("json") else "text/html;charset=ISO-8859-1"
    listing = listing_of((PAGES / name).read_bytes(), url, content_type)
    assert (listing.listed, listing.skipped) == (True, 0)
    return {entry.name: entry for entry in listing.entries}


def test_nginx_html_tells_names_exact_sizes_and_minutes() -> None:
    entries = saved("nginx.html", "http://127.0.0.1:18080/dir/")

    assert sorted(entries) == sorted([*FILES, "sub dir"])
    assert entries.pop("sub dir") == Entry(name="sub dir", kind=EntryKind.DIRECTORY, modified_s=MINUTE_S)
    assert {name: entry.size for name, entry in entries.items()} == SIZES
    assert {(entry.kind, entry.modified_s, entry.modified_exact) for entry in entries.values()} == {
        (EntryKind.FILE, MINUTE_S, False)
    }


def test_nginx_html_with_rounded_sizes_tells_only_the_exact_ones() -> None:
    entries = saved("nginx_rough.html", "http://127.0.0.1:18080/rough/dir/")

    assert (entries["big.bin"].size, entries["huge.bin"].size) == (None, None)
    assert (entries["plain.txt"].size, entries["empty"].size) == (1500, 0)


def test_nginx_json_tells_names_exact_sizes_and_seconds() -> None:
    entries = saved("nginx.json", "http://127.0.0.1:18080/json/dir/")

    assert entries.pop("sub dir") == Entry(name="sub dir", kind=EntryKind.DIRECTORY, modified_s=SECOND_S, modified_exact=True)
    assert {name: entry.size for name, entry in entries.items()} == SIZES
    assert {(entry.modified_s, entry.modified_exact) for entry in entries.values()} == {(SECOND_S, True)}


@pytest.mark.parametrize(
    ("page", "url"),
    [
        ("apache_plain.html", "http://127.0.0.1:18081/dir/"),
        ("apache_fancy.html", "http://127.0.0.1:18081/fancy/dir/"),
        ("apache_table.html", "http://127.0.0.1:18081/table/dir/"),
        ("http_server.html", "http://127.0.0.1:18082/dir/"),
    ],
)
def test_apache_and_http_server_tell_names_and_nothing_else_to_rely_on(page: str, url: str) -> None:
    entries = saved(page, url)

    # http.server writes a byte that is no UTF-8 as an encoded surrogate; it reads it back the same way
    latin = "latin\udced\udcb3\udca9.txt" if page == "http_server.html" else "latin\udce9.txt"
    assert sorted(entries) == sorted([*(latin if name.startswith("latin") else name for name in FILES), "sub dir"])
    assert entries["sub dir"].kind is EntryKind.DIRECTORY
    assert {(entry.size, entry.modified_s) for entry in entries.values()} == {(None, None)}


@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.iterdir()))
def test_a_listed_name_leads_back_to_the_link(page: str) -> None:
    directory = parse_url("http://h/dir/")
    for entry in saved(page, "http://h/dir/").values():
        url = directory.child(entry.name, entry.query)
        assert parse_url(str(url)) == url
        assert "?" not in str(url)


@pytest.mark.parametrize(
    "link",
    [
        "f", "./f", "%66", "/dir/f", "/%64ir/f", "http://h/dir/f", "HTTP://H:80/dir/f", "//h/dir/f", "f#fragment", "&#102;",
    ],
)  # fmt: skip
def test_all_spellings_of_a_link_to_a_name_are_that_name(link: str) -> None:
    assert names(link) == ["f"]


@pytest.mark.parametrize(
    "link",
    [
        "../", "..", ".", "./", "", "/", "/dir/", "/dir", "/other/f", "/dir/sub/f", "sub/f", "../f", "https://h/dir/f", "http://h:81/dir/f",
        "http://other/dir/f", "//other/dir/f", "mailto:a@b", "javascript:void(0)", "?C=N;O=D", "?", "#top", "http://h", "http:///dir/f",
        "http://h/dir/", "data:text/html,x",
    ],
)  # fmt: skip
def test_a_link_to_anything_else_is_no_entry_and_not_counted(link: str) -> None:
    listing = page_of(link)

    assert (listing.entries, listing.skipped, listing.listed) == ((), 0, True)


@pytest.mark.parametrize("link", ["%2e%2e", "%2e", "a%2Fb", "a%00b", "%2E%2E/"])
def test_names_that_nobody_could_open_are_skipped_and_counted(link: str) -> None:
    listing = page_of("f", link)

    assert [entry.name for entry in listing.entries] == ["f"]
    assert listing.skipped == 1


def test_duplicates_are_skipped_and_counted_and_the_first_counts() -> None:
    listing = page_of("f", "g/", "f", "./f", "g")

    assert [(entry.name, entry.kind) for entry in listing.entries] == [("f", EntryKind.FILE), ("g", EntryKind.DIRECTORY)]
    assert listing.skipped == 3


def test_a_file_with_a_query_is_a_name_of_its_own() -> None:
    listing = page_of("f?v=1&amp;w=2", "f?v=2", "f", "/dir/f?v=3")

    assert [(entry.name, entry.query) for entry in listing.entries] == [("f", "v=1&w=2"), ("f", "v=2"), ("f", ""), ("f", "v=3")]


def test_names_below_the_root_and_in_deep_directories_are_found() -> None:
    assert names("/f", "g", "/dir/h", url="http://h/") == ["f", "g"]
    assert names("/a%20b/c/f", "/a b/c/g", "/a%20b/x/h", url="http://h/a%20b/c/") == ["f", "g"]


def test_upper_case_and_single_quotes_and_raw_bytes_are_read() -> None:
    page = b"<TITLE>Index of /x</TITLE><A HREF='caf\xc3\xa9'>a</A><A class=x HREF=\"lat\xe9\" id=y>b</A>"

    assert [entry.name for entry in listing_of(page).entries] == ["café", "lat\udce9"]


@pytest.mark.parametrize(
    ("page", "content_type"),
    [
        ("<title>Welcome</title><a href='about.html'>about</a>", "text/html"),
        ("", "text/html"),
        ("<title>Index of /dir/</title><a href='f'>f</a>", "text/plain"),
        ("<title>Index of /dir/</title><a href='f'>f</a>", ""),
        ('{"files": []}', "application/json"),
        ("[1, 2]", "application/json"),
        ('[{"name": "f"}]', "application/json"),
        ('[{"name": "f", "type": "file"}', "application/json"),
        ('[{"name": "f", "type": "file"}, x]', "application/json"),
        ('[{"name": "f", "type": "file"}] ]', "application/json"),
        ("[" * 100_000 + "]", "application/json"),
        ("\xff", "application/json"),
    ],
)
def test_a_page_that_is_no_listing_makes_a_directory_that_is_not_listed(page: str, content_type: str) -> None:
    assert listing_of(page, content_type=content_type) == OriginListing(entries=(), skipped=0, listed=False)


@pytest.mark.parametrize(
    ("page", "content_type"), [("<h1>Index of /e/</h1>", "text/html"), ("[\n]", "application/json; charset=utf-8")]
)
def test_an_empty_listing_is_a_listing(page: str, content_type: str) -> None:
    assert listing_of(page, content_type=content_type) == OriginListing(listed=True)


def test_a_page_with_apaches_sort_links_is_a_listing_whatever_its_title() -> None:
    page = '<title>Our files</title><a href="?C=N;O=D">Name</a><a href="f">f</a>'

    assert [entry.name for entry in listing_of(page).entries] == ["f"]


def test_odd_members_of_a_json_listing_cost_only_themselves() -> None:
    rows = [
        {"name": "dev", "type": "other"},
        {"name": "..", "type": "directory"},
        {"name": "a", "type": "file", "size": -1, "mtime": "yesterday"},
        {"name": "b", "type": "file", "size": True, "mtime": 7},
        {"name": "c", "type": "directory", "size": 4096},
        {"name": "a", "type": "file"},
    ]

    listing = listing_of(json.dumps(rows), content_type="application/json")

    assert [(entry.name, entry.size, entry.modified_s, entry.modified_exact) for entry in listing.entries] == [
        ("a", None, None, False), ("b", None, None, False), ("c", None, None, False),
    ]  # fmt: skip
    assert listing.skipped == 3


@pytest.mark.parametrize(
    ("columns", "size", "modified_s"),
    [
        ("  23-Nov-2026 15:40   7\n", 7, MINUTE_S),
        ("  23-Nov-2026 15:40   7K\n", None, MINUTE_S),
        ("  31-Feb-2026 15:40   7\n", 7, None),
        ("  23-Foo-2026 25:61   7\n", 7, None),
        ("  2026-11-23 15:40   7\n", 7, None),
        ("  what is this\n", None, None),
        ("  one two\n", None, None),
        ("", None, None),
        ("  23-Nov-2026 15:40   " + "9" * 30, None, MINUTE_S),
        ("  23-Nov-2026 15:40   ٣", None, MINUTE_S),
    ],
)
def test_nginx_columns_that_do_not_fit_tell_nothing(columns: str, size: int | None, modified_s: int | None) -> None:
    listing = listing_of(
        f'<title>Index of /</title><h1>Index of /</h1><hr><pre><a href="../">../</a>\n<a href="f">f</a>{columns}'
    )

    assert [(entry.name, entry.size, entry.modified_s) for entry in listing.entries] == [("f", size, modified_s)]


def test_a_million_names_are_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_collector, "LISTING_MAX_NAMES", 3)

    assert len(page_of("a", "b", "c").entries) == 3
    with pytest.raises(Unavailable, match="more than 3 names"):
        page_of("a", "b", "c", "d")


@settings(deadline=None)  # the machine may be busy
@given(st.text(alphabet="<>a href='\"=/?#&%.\n\x00;é", max_size=300))
def test_any_page_is_read_without_an_exception_and_only_openable_names_come_out(junk: str) -> None:
    listing = listing_of(f"<title>Index of /</title>{junk}")

    assert all(entry.name not in ("", ".", "..") and not set(entry.name) & {"/", "\0"} for entry in listing.entries)


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=300))
def test_any_json_is_read_without_an_exception(junk: bytes) -> None:
    listing_of(b"[" + junk + b"]", content_type="application/json")


@pytest.mark.parametrize("junk", ["<a ", '<a href="x">', "<a href='", '<a href="a" x', "<a \t\t\t", "<a href=", "<title>"])
def test_reading_takes_linear_time_whatever_the_page(junk: str) -> None:
    def seconds(times: int) -> float:
        start = time.thread_time()
        listing_of("<title>Index of /</title>" + junk * times)
        return time.thread_time() - start

    seconds(1000)

    assert seconds(80_000) < 60 * max(seconds(10_000), 0.001)  # quadratic would be 64 times and more; linear is 8
