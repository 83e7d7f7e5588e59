import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flyfs.core.urls import RemoteUrl, canonical_authority, parse_url, split_authority


@pytest.mark.parametrize(("text", "canonical"), [
    ("http://host", "http://host/"),
    ("HTTP://HOST/A", "http://host/A"),
    ("http://host:80/", "http://host/"),
    ("https://host:443/", "https://host/"),
    ("https://host:80/", "https://host:80/"),
    ("http://host:0080/", "http://host/"),
    ("http://host:/", "http://host/"),
    ("http://host./a", "http://host/a"),
    ("http://host/a#fragment", "http://host/a"),
    ("http://host/a?", "http://host/a"),
    ("http://host/a?b=c d&e=%20/?", "http://host/a?b=c%20d&e=%20/?"),
    ("http://host/a%20b", "http://host/a%20b"),
    ("http://host/a b", "http://host/a%20b"),
    ("http://host/%7euser/%41", "http://host/~user/A"),
    ("http://host/grüße", "http://host/gr%C3%BC%C3%9Fe"),
    ("http://host/%ff", "http://host/%FF"),
    ("http://host/\udcff?\udcff", "http://host/%FF?%FF"),
    ("http://host/a//b", "http://host/a/b"),
    ("http://host/a/./b", "http://host/a/b"),
    ("http://host/a/../b", "http://host/b"),
    ("http://host/../../b", "http://host/b"),
    ("http://host/a/b/..", "http://host/a/"),
    ("http://host/a/.", "http://host/a/"),
    ("http://host/a/%2e%2E/b", "http://host/b"),
    ("http://host/a%2Fb", "http://host/a/b"),
    ("http://host/..%2F..%2Fb", "http://host/b"),
    ("http://host/%", "http://host/%25"),
    ("http://host/a%3Fb%23c", "http://host/a%3Fb%23c"),
    ("http://[::1]:8080/", "http://[::1]:8080/"),
    ("http://[0:0::0001]/", "http://[::1]/"),
    ("http://[2001:DB8::A]/", "http://[2001:db8::a]/"),
    ("http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
    ("http://bücher.example/", "http://xn--bcher-kva.example/"),
    ("http://WWW.BÜCHER.example/", "http://www.xn--bcher-kva.example/"),
    ("http://a_b.host/", "http://a_b.host/"),
    ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
])  # fmt: skip
def test_one_spelling_per_name(text: str, canonical: str) -> None:
    url = parse_url(text)
    assert str(url) == canonical
    assert parse_url(canonical) == url


@pytest.mark.parametrize(("text", "message"), [
    ("", "not an http or https URL"),
    ("host/a", "not an http or https URL"),
    ("ftp://host/", "not an http or https URL"),
    ("http:///a", "not a host name"),
    ("http://user@host/", "user name or password"),
    ("http://user:secret@host/", "user name or password"),
    ("http://@host/", "user name or password"),
    ("http://host:0/", "not a port"),
    ("http://host:65536/", "not a URL"),
    ("http://host:x/", "not a URL"),
    ("http://host::/", "not a URL"),
    ("http://[::1/", "not a URL"),
    ("http://[:::]/", "not a"),
    ("http://[1::2::3]/", "not a"),
    ("http://::1/", "not a"),
    ("http://-host/", "not a host name"),
    ("http://ho st/", "not a host name"),
    ("http://host..a/", "not a host name"),
    ("http://" + "a" * 64 + "/", "not a host name"),
    ("http://" + "a." * 130 + "/", "not a host name"),
    ("http://ü" + "u" * 64 + "/", "not a host name"),
    ("http://host%2Fa/", "not a host name"),
    ("http://host/a%00b", "NUL"),
])  # fmt: skip
def test_what_is_no_url_is_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_url(text)


def test_a_refusal_never_repeats_a_long_text() -> None:
    with pytest.raises(ValueError, match="not an http") as refused:
        parse_url("x" * 100_000)
    assert len(str(refused.value)) < 300


@given(st.text(max_size=30), st.text(max_size=20), st.text("abcABC.:[]0123ü-_", max_size=12))
def test_the_canonical_form_of_anything_is_canonical(path: str, query: str, host: str) -> None:
    try:
        url = parse_url(f"http://{host}/{path}?{query}")
    except ValueError:
        assume(False)
    assert parse_url(str(url)) == url
    assert str(url).isascii()
    assert not {".", ".."} & set(url.segments)
    assert "" not in url.segments[:-1]


@given(st.binary(max_size=20))
def test_any_bytes_may_be_in_a_path(data: bytes) -> None:
    assume(b"\0" not in data)
    url = parse_url("http://h/" + "".join(f"%{byte:02x}" for byte in data))
    expected = [one for one in data.split(b"/") if one not in (b"", b".", b"..")]
    assert [one.encode("utf-8", "surrogateescape") for one in url.segments if one] == expected


def test_host_and_port() -> None:
    assert (parse_url("http://[::1]:81/").host, parse_url("http://[::1]:81/").port) == ("::1", 81)
    assert (parse_url("https://Host/").host, parse_url("https://Host/").port) == ("host", 443)
    assert split_authority("http", "[::1]") == ("::1", 80)
    assert canonical_authority("https", "HOST:443") == "host"


@pytest.mark.parametrize("authority", ["", ":80", "h:", "h:-1", "h:+1", "h:\u0661", "h:" + "9" * 5000, "::1", "[]", "[h]", "h]"])
def test_what_is_no_authority_is_refused(authority: str) -> None:
    with pytest.raises(ValueError, match="not a (host name|port)|Exceeds the limit"):
        canonical_authority("http", authority)


ROOT = parse_url("http://h/")
FILE = parse_url("http://h/a/b?q=1")


def test_a_directory_ends_with_a_slash() -> None:
    assert ROOT.is_directory
    assert not FILE.is_directory
    assert str(FILE.as_directory()) == "http://h/a/b/"
    assert ROOT.as_directory() is ROOT


def test_children() -> None:
    assert str(ROOT.child("a")) == "http://h/a"
    assert str(FILE.child("c d", "x=1")) == "http://h/a/b/c%20d?x=1"
    assert str(FILE.as_directory().child("c/d")) == "http://h/a/b/c/d"
    assert str(ROOT.child("what?#%")) == "http://h/what%3F%23%25"


def test_people_do_not_see_the_query() -> None:
    assert FILE.redacted() == "http://h/a/b?…"
    assert ROOT.redacted() == "http://h/"
    assert RemoteUrl("http", "h", ("",)) == ROOT
