import itertools

import pytest

from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.errors import TooLarge
from flyfs.core.grid import KIB, MAX_PIECE_BYTES, MAX_PIECES, MIB
from flyfs.core.versions import VersionBook

URL = "http://origin.test/f"
WEAK = Validator(ValidatorKind.MODIFIED, "Mon, 23 Nov 2026 15:40:49 GMT")
STRONG = Validator(ValidatorKind.ETAG, '"v1"')
NOTHING = Validator(ValidatorKind.NONE)


def a_book(piece_size: int | None = None) -> VersionBook:
    return VersionBook(itertools.count(1000).__next__, piece_size)


def blob_of(book: VersionBook, validator: Validator, size: int = 10) -> Blob:
    return book.blob_of(URL, "public", validator, size)


def test_a_strong_validator_needs_no_generation() -> None:
    assert blob_of(a_book(), STRONG).generation == 0


@pytest.mark.parametrize("validator", [WEAK, NOTHING])
def test_the_same_weak_version_is_the_same_blob_until_it_is_forgotten(validator: Validator) -> None:
    book = a_book()
    first = blob_of(book, validator)
    assert (first.generation, blob_of(book, validator)) == (1000, first)
    assert blob_of(book, validator, size=11).generation == 1001

    book.forget(first)
    assert blob_of(book, validator).generation == 1002


def test_forgetting_a_strong_version_changes_nothing() -> None:
    book = a_book()
    book.forget(blob_of(book, STRONG))
    book.learn(blob_of(book, STRONG))

    assert blob_of(book, STRONG).generation == 0


def test_a_blob_of_an_earlier_run_goes_on_with_its_generation() -> None:
    earlier = blob_of(a_book(), WEAK)
    book = VersionBook(lambda: 7)
    book.learn(earlier)

    assert blob_of(book, WEAK) == earlier


def test_a_name_of_which_somebody_holds_a_version_is_known() -> None:
    book = a_book()
    book.learn(blob_of(a_book(), STRONG))

    assert (book.has_read(URL), book.has_read(URL + "x")) == (True, False)


def test_what_somebody_says_later_does_not_replace_what_we_said() -> None:
    book = a_book()
    ours = blob_of(book, WEAK)
    book.learn(blob_of(VersionBook(lambda: 7), WEAK))

    assert blob_of(book, WEAK) == ours


def test_the_piece_size_follows_from_the_size_unless_a_test_says_otherwise() -> None:
    assert (a_book().piece_size(1), a_book().piece_size(200 * MIB)) == (256 * KIB, MIB)
    assert blob_of(a_book(4096), STRONG).piece_size == 4096


@pytest.mark.parametrize(("piece_size", "size"), [(4096, 4096 * MAX_PIECES + 1), (2 * MAX_PIECE_BYTES, 1)])
def test_what_would_not_fit_into_any_frame_is_too_large(piece_size: int, size: int) -> None:
    with pytest.raises(TooLarge):
        blob_of(a_book(piece_size), STRONG, size)


def test_only_content_without_any_validator_has_to_come_in_one_answer() -> None:
    assert [VersionBook.needs_whole_read(one) for one in (STRONG, WEAK, NOTHING)] == [False, False, True]
