from dataclasses import replace

import pytest

from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.ids import BlobId
from flyfs.core.remote import Entry, EntryKind, RemoteDirectory, RemoteFile
from flyfs.fs.versions import Facts, answered_facts, fits, listed_facts, merged


def listed(size: int | None = 5, modified_s: int | None = 60, *, exact: bool = False, as_of: float = 0.0) -> Facts:
    return Facts(directory=False, size=size, modified_s=modified_s, modified_exact=exact, as_of=as_of)


def known(blob: str = "b1", size: int = 5, modified_s: int | None = 77, as_of: float = 0.0) -> Facts:
    return Facts(directory=False, size=size, modified_s=modified_s, modified_exact=True, blob_id=BlobId(blob), as_of=as_of)


DIRECTORY = Facts(directory=True, as_of=0.0)


@pytest.mark.parametrize(
    ("before", "last_listed", "new", "same"),
    [
        (listed(), None, known(), True),  # the first exact answer: the listing's minute says nothing against it
        (listed(size=None), None, known(), True),
        (listed(size=6), None, known(), False),
        (listed(modified_s=77, exact=True), None, known(), True),
        (listed(modified_s=78, exact=True), None, known(), False),
        (listed(modified_s=None, exact=True), None, known(), True),
        (known(), None, known(), True),
        (known(), None, known("b2"), False),
        (known(), listed(), listed(), True),
        (known(), listed(), listed(modified_s=120), False),  # listings are compared with listings
        (known(), listed(), listed(modified_s=None), True),
        (known(), listed(modified_s=None), listed(), True),
        (known(), listed(), listed(size=6), False),
        (known(), None, listed(modified_s=999), True),  # an unknown zone: no evidence
        (known(), None, listed(modified_s=78, exact=True), False),
        (known(), listed(), listed(modified_s=77, exact=True), True),  # the origin's listings became exact
        (DIRECTORY, None, DIRECTORY, True),
        (DIRECTORY, None, known(), False),
        (known(), None, DIRECTORY, False),
    ],
)
def test_what_fits_a_version(before: Facts, last_listed: Facts | None, new: Facts, same: bool) -> None:
    assert fits(before, last_listed, new) is same


def test_the_exact_answer_wins_and_the_later_time_counts() -> None:
    assert merged(listed(as_of=3.0), known(as_of=5.0)) == known(as_of=5.0)
    assert merged(listed(as_of=9.0), known(as_of=5.0)) == known(as_of=9.0)
    assert merged(known(as_of=5.0), listed(as_of=9.0)) == known(as_of=9.0)
    assert merged(known(as_of=9.0), listed(as_of=5.0)) == known(as_of=9.0)


def test_an_exact_answer_without_a_time_keeps_the_listed_one() -> None:
    together = merged(listed(as_of=3.0), known(modified_s=None, as_of=5.0))

    assert (together.modified_s, together.modified_exact, together.blob_id) == (60, False, "b1")


def test_a_size_once_known_is_not_lost() -> None:
    assert merged(listed(as_of=1.0), listed(size=None, as_of=2.0)) == listed(as_of=2.0)
    assert merged(listed(size=None, as_of=1.0), listed(as_of=2.0)) == listed(as_of=2.0)
    assert merged(replace(DIRECTORY, modified_s=4), replace(DIRECTORY, as_of=7.0)) == replace(DIRECTORY, modified_s=4, as_of=7.0)


def test_facts_of_answers() -> None:
    blob = Blob(
        url="http://h/a", principal="public", validator=Validator(ValidatorKind.ETAG, '"e"'), size=5, generation=0, piece_size=4
    )

    assert answered_facts(RemoteDirectory(age_s=0.0), 7.0) == replace(DIRECTORY, as_of=7.0)
    assert answered_facts(RemoteFile(blob=blob, modified_s=77, age_s=0.0), 7.0) == known(blob.id, as_of=7.0)
    assert answered_facts(RemoteFile(blob=None, modified_s=77, age_s=0.0), 7.0) == listed(None, 77, exact=True, as_of=7.0)


def test_facts_of_listings_and_their_keys() -> None:
    file = listed_facts(Entry(name="a", kind=EntryKind.FILE, size=5, modified_s=60), 7.0)
    directory = listed_facts(Entry(name="d", kind=EntryKind.DIRECTORY), 7.0)

    assert file == listed(as_of=7.0)
    assert {file.version_key, directory.version_key, known().version_key} == {"listed 5 60", "directory", "blob b1"}
