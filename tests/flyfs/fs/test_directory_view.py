from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.names import read_name
from flyfs.core.remote import Entry, EntryKind, Listing
from flyfs.fs import directory_view
from flyfs.fs.directory_view import FIRST_POSITION, name_position, view_of


def a_listing(*entries: Entry) -> Listing:
    return Listing(entries=entries, skipped=1, age_s=0.0)


def a_file(name: str, query: str = "") -> Entry:
    return Entry(name=name, kind=EntryKind.FILE, size=1, query=query)


NAMES = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=100), unique=True, max_size=30)


@given(NAMES)
def test_reading_on_from_any_row_gives_exactly_the_rest(names: list[str]) -> None:
    view = view_of(a_listing(*map(a_file, names)), 0.0)

    assert len(view.rows) == len(names)
    for index, row in enumerate(view.rows):
        assert FIRST_POSITION <= row.position < 1 << 63
        assert view.index_behind(row.position) == index + 1
        assert view.find(row.name) is row
        assert (row.remote_name or read_name(row.name))[0] in names


@given(NAMES, st.randoms())
def test_what_two_snapshots_share_stands_at_the_same_position(names: list[str], random: object) -> None:
    first = view_of(a_listing(*map(a_file, names)), 0.0)
    second = view_of(a_listing(*map(a_file, names[::2])), 0.0)

    positions = {row.name: row.position for row in first.rows}
    assert all(positions[row.name] == row.position for row in second.rows)


def test_a_name_too_long_to_show_is_found_by_its_short_name() -> None:
    long = a_file("x" * 300)
    view = view_of(a_listing(long), 0.0)

    (row,) = view.rows
    assert len(row.raw) == 255
    assert row.remote_name == ("x" * 300, "")
    assert view.find(row.name) is row
    assert view.find("x" * 300) is None


def test_names_with_queries_can_be_read_back_unless_they_are_shortened() -> None:
    view = view_of(a_listing(a_file("a", "b=%2F"), a_file("c", "d=1"), a_file("e", "f" * 300)), 0.0)

    assert sorted((row.name[:3], row.remote_name) for row in view.rows) == [
        ("a?b", None),
        ("c?d", None),
        ("e?f", ("e", "f" * 300)),
    ]


def test_of_two_entries_shown_alike_one_is_skipped_and_counted() -> None:
    view = view_of(a_listing(a_file("a"), Entry(name="a", kind=EntryKind.DIRECTORY)), 0.0)

    assert [row.facts.directory for row in view.rows] == [False]
    assert view.skipped == 2


def test_names_whose_positions_collide_stand_beside_each_other(monkeypatch: object) -> None:
    monkeypatch.setattr(directory_view, "name_position", lambda raw: 40)  # type: ignore[attr-defined]
    view = view_of(a_listing(a_file("b"), a_file("a"), a_file("c")), 0.0)

    assert [(row.name, row.position) for row in view.rows] == [("a", 40), ("b", 41), ("c", 42)]


def test_bytes_that_are_no_text_survive() -> None:
    view = view_of(a_listing(a_file("\udcff")), 0.0)

    assert view.rows[0].raw == b"\xff"
    assert view.rows[0].position == name_position(b"\xff")
