import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flyfs.core.names import NAME_MAX, read_name, show_name

any_bytes = st.binary(max_size=80).map(lambda data: data.decode("utf-8", "surrogateescape"))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
"""All texts that a decoded name can be: UTF-8, with what is no UTF-8 as surrogate escapes."""
tricky = st.text("%2Ff3F05a/?\0~.", max_size=40)
names = any_bytes | texts | tricky


def raw(shown: str) -> bytes:
    return shown.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(("name", "shown"), [
    ("plain.bin", "plain.bin"),
    ("with space & #hash", "with space & #hash"),
    ("grüße", "grüße"),
    ("a/b", "a%2Fb"),
    ("a\0b", "a%00b"),
    ("what?", "what%3F"),
    ("100%", "100%"),
    ("100%zz", "100%zz"),
    ("a%2Fb", "a%252Fb"),
    ("%41", "%2541"),
    ("%", "%"),
    ("%/", "%%2F"),
    ("%2/", "%2%2F"),
    ("\udcff", "\udcff"),
    ("x~0123456789abcdef", "x~0123456789abcdef"),
])  # fmt: skip
def test_the_four_characters_that_cannot_be_shown_as_they_are(name: str, shown: str) -> None:
    assert show_name(name) == shown
    assert read_name(shown) == (name, "")


@given(names)
@example("%2F")
@example("%252F%00%3F%25")
def test_all_names_come_back(name: str) -> None:
    shown = show_name(name)
    assert "/" not in shown
    assert "\0" not in shown
    assert "?" not in shown
    if len(raw(shown)) < 239:  # shorter than any shortened one
        assert read_name(shown) == (name, "")


@given(names.filter(lambda name: len(raw(name)) < 60), tricky | texts)
@example("", "q")
@example("a", "x=%2F&y=/&z=%252f&w=%00&v=%2500&u=%25")
def test_a_name_with_a_query_comes_back(name: str, query: str) -> None:
    shown = show_name(name, query)
    assert "/" not in shown
    assert "\0" not in shown
    if len(raw(shown)) < 239:
        assert read_name(shown) == (name, query)


@pytest.mark.parametrize(("query", "shown"), [
    ("a=1&b=%20", "f?a=1&b=%20"),
    ("a=1?", "f?a=1?"),
    ("path=/x", "f?path=%2Fx"),
    ("path=%2Fx", "f?path=%252Fx"),
    ("path=%252Fx", "f?path=%25252Fx"),
    ("a=%25", "f?a=%25"),
])  # fmt: skip
def test_a_query_is_shown_raw_as_far_as_a_file_name_can(query: str, shown: str) -> None:
    assert show_name("f", query) == shown
    assert read_name(shown) == ("f", query)


def test_lower_case_escapes_are_read_too() -> None:
    assert read_name("a%2fb%3fc?q=%2f") == ("a/b?c", "q=/")
    assert read_name("a%2Fb%2Fc.bin") == ("a/b/c.bin", "")


@given(
    st.binary(min_size=200, max_size=400).map(lambda data: data.decode("utf-8", "surrogateescape")) | st.text("?ü", min_size=80)
)
def test_no_shown_name_exceeds_255_bytes(name: str) -> None:
    shown = raw(show_name(name))
    assert len(shown) <= NAME_MAX
    assert shown.decode("utf-8", "surrogateescape") == show_name(name)


def test_a_name_of_255_bytes_is_shown_whole_and_a_longer_one_as_start_and_hash() -> None:
    assert show_name("n" * 255) == "n" * 255
    assert show_name("n" * 256) == "n" * 238 + "~81219d0ff494282d"
    assert show_name("n" * 257) != show_name("n" * 256)
    assert show_name("?" * 85) == "%3F" * 85
    assert show_name("?" * 86)[-17] == "~"


def test_a_shortened_name_never_ends_in_half_a_character() -> None:
    assert show_name("n" + "ü" * 200)[:-17] == "n" + "ü" * 118
