from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.bitmap import Bitmap, pieces_of, runs_of
from tests.support.builders import drawn, picture_of

pictures = st.text("#.", max_size=70)


def test_bit_i_is_bit_i_modulo_8_of_byte_i_div_8_least_significant_first() -> None:
    assert drawn("#........#").to_bytes() == b"\x01\x02"
    assert drawn(".......#").to_bytes() == b"\x80"
    assert drawn("").to_bytes() == b""


@given(pictures)
def test_bytes_and_back_give_the_same_bitmap(picture: str) -> None:
    bitmap = drawn(picture)
    again = Bitmap.from_bytes(bitmap.to_bytes(), bitmap.length)
    assert again == bitmap
    assert picture_of(again) == picture
    assert again.count == len(again) == picture.count("#")


@given(st.integers(1, 40), st.lists(st.tuples(st.booleans(), st.integers(0, 39))))
def test_a_bitmap_behaves_like_a_set(length: int, steps: list[tuple[bool, int]]) -> None:
    bitmap, model = Bitmap(length), set[int]()
    for add, piece in steps:
        if piece >= length:
            continue
        if add:
            assert bitmap.add(piece) == (piece not in model)
            model.add(piece)
        else:
            assert bitmap.discard(piece) == (piece in model)
            model.discard(piece)
    assert list(bitmap) == sorted(model)
    assert len(bitmap) == len(model)
    assert bitmap.complete == (len(model) == length)


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0"])
def test_bytes_of_the_wrong_length_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"a bitmap of 9 pieces has 2 bytes"):
        Bitmap.from_bytes(data, 9)


@pytest.mark.parametrize("last", [0x02, 0x80, 0xFF])
def test_a_set_spare_bit_is_refused(last: int) -> None:
    with pytest.raises(ValueError, match="spare bits"):
        Bitmap.from_bytes(bytes([0, last]), 9)


@pytest.mark.parametrize("piece", [-1, 4, 1 << 70])
def test_a_piece_outside_the_grid_is_an_error(piece: int) -> None:
    bitmap = Bitmap(4)
    with pytest.raises(IndexError):
        bitmap.add(piece)
    with pytest.raises(IndexError):
        bitmap.discard(piece)
    with pytest.raises(IndexError):
        assert piece in bitmap


def test_a_copy_is_independent() -> None:
    bitmap = drawn("#.")
    twin = bitmap.copy()
    twin.add(1)
    assert (picture_of(bitmap), picture_of(twin)) == ("#.", "##")
    assert (bitmap.count, twin.count) == (1, 2)


@pytest.mark.parametrize(("one", "other", "left"), [
    ("##..", "#.#.", ".#.."),
    ("####", "....", "####"),
    ("#########", "#########", "........."),
    ("", "", ""),
])  # fmt: skip
def test_what_another_bitmap_has_can_be_left_out(one: str, other: str, left: str) -> None:
    bitmap = drawn(one)
    rest = bitmap.without(drawn(other))
    assert (picture_of(rest), rest.count) == (left, left.count("#"))
    assert picture_of(bitmap) == one


def test_bitmaps_are_equal_where_length_and_pieces_are() -> None:
    assert drawn("#.") == drawn("#.")
    assert drawn("#.") != drawn("#..")
    assert drawn("#.") != drawn(".#")
    assert drawn("#.") != b"\x01"
    with pytest.raises(TypeError):
        hash(drawn("#"))


def test_an_empty_blob_is_complete() -> None:
    assert Bitmap(0).complete
    assert list(Bitmap(0)) == []


@pytest.mark.parametrize(("picture", "pieces", "all_of_them"), [
    ("####", range(1, 3), True),
    ("#.##", range(2, 4), True),
    ("#.##", range(4), False),
    ("....", range(0), True),
])  # fmt: skip
def test_has_all_asks_for_every_piece_of_a_range(picture: str, pieces: range, all_of_them: bool) -> None:
    assert drawn(picture).has_all(pieces) is all_of_them


@given(pictures, st.integers(0, 80))
def test_the_first_missing_piece_is_the_first_that_is_not_there(picture: str, start: int) -> None:
    missing = picture.find(".", start)
    assert drawn(picture).first_missing(start) == (missing if missing >= 0 else len(picture))


def test_the_first_missing_piece_is_found_behind_many_that_are_there() -> None:
    bitmap = drawn("#" * 100 + "." + "#" * 100)
    assert bitmap.first_missing() == 100
    assert bitmap.first_missing(101) == 201


def test_people_see_the_first_64_pieces() -> None:
    assert repr(drawn("##.#")) == "<Bitmap ##.# 3/4>"
    assert repr(drawn("#" * 65)) == f"<Bitmap {'#' * 64}… 65/65>"


@given(pictures)
def test_runs_and_pieces_are_inverse(picture: str) -> None:
    bitmap = drawn(picture)
    runs = runs_of(bitmap)
    assert list(pieces_of(runs, bitmap.length)) == list(bitmap)
    assert all(left[0] + left[1] < right[0] for left, right in pairwise(runs)), "neighbouring runs are one"


def test_adjacent_pieces_are_one_run() -> None:
    assert runs_of([0, 1, 2, 5, 7, 8]) == ((0, 3), (5, 1), (7, 2))
    assert runs_of([0, 0, 1, 1, 3, 3]) == ((0, 2), (3, 1)), "a piece that was gained twice is told once"


@pytest.mark.parametrize("runs", [
    [(-1, 1)],
    [(0, 0)],
    [(0, -1)],
    [(0, 11)],
    [(10, 1)],
    [(0, 10), (0, 10)],  # a small message must not cost a walk over the grid per run
    [(4, 2), (5, 1)],
    [(5, 1), (3, 1)],
    [(1 << 63, 1 << 63)],
])  # fmt: skip
def test_runs_that_leave_the_grid_or_repeat_pieces_are_refused(runs: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="does not fit a grid of 10"):
        list(pieces_of(runs, 10))
