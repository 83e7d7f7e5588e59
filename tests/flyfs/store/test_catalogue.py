"""The catalogue: bytes and order of use."""

from flyfs.core.ids import BlobId
from flyfs.store.catalogue import Catalogue
from flyfs.store.holdings import Holding
from tests.flyfs.store.builders import a_blob


def test_used_bytes_follow_blobs_that_come_change_and_go() -> None:
    catalogue = Catalogue()
    a, b = a_blob(name="a"), a_blob(name="b")
    catalogue.add(a, 10, used_at_s=1)
    catalogue.add(b, used_at_s=2)
    catalogue.change_used(b.id, 7)
    catalogue.set_used(a.id, 4)
    assert (catalogue.used_bytes, len(catalogue), b.id in catalogue) == (11, 2, True)
    assert (catalogue.remove(a.id), catalogue.remove(a.id)) == (4, 0)
    catalogue.add(b, 3, used_at_s=3)

    assert (catalogue.used_bytes, list(catalogue.by_age())) == (3, [(b.id, 3)])


def test_what_was_found_last_is_last_and_told_apart_from_what_only_lies_there() -> None:
    catalogue = Catalogue()
    blobs = [a_blob(name=name) for name in "abc"]
    for at, blob in enumerate(blobs):
        catalogue.add(blob, used_at_s=at)

    assert catalogue.peek(blobs[1].id) is blobs[1]
    assert catalogue.find(blobs[0].id, 7.5) is blobs[0]
    assert [blob_id for blob_id, _ in catalogue.by_age()] == [blobs[1].id, blobs[2].id, blobs[0].id]
    assert list(catalogue.found()) == [(blobs[0].id, 7.5)]
    assert catalogue.peek(blobs[1].id) is blobs[1]
    assert next(catalogue.by_age())[0] == blobs[1].id
    assert list(catalogue.found()) == [(blobs[0].id, 7.5)]
    assert catalogue.holdings(lambda blob_id: blob_id == blobs[1].id) == [
        Holding(blobs[1], 0, 1, True),
        Holding(blobs[2], 0, 2, False),
        Holding(blobs[0], 0, 7.5, False),
    ]


def test_an_unknown_blob_changes_nothing() -> None:
    catalogue = Catalogue()
    unknown = BlobId("0" * 64)
    catalogue.remove(unknown)
    catalogue.change_used(unknown, 5)

    assert (catalogue.find(unknown, 1), catalogue.peek(unknown), catalogue.used_bytes) == (None, None, 0)
