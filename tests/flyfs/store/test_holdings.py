"""What people mean by the names of blobs, and what they are told of them."""

from dataclasses import replace

import pytest

from flyfs.core.blob import Blob
from flyfs.store.holdings import Holding, Selection, select_blobs
from tests.support.builders import PIECE_BYTES, a_blob

A, B = a_blob(name="a"), a_blob(name="b")
NEWER_A = replace(A, size=A.size + 1)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("http://origin.test/a", [A, NEWER_A]),
        ("HTTP://Origin.Test:80/./a", [A, NEWER_A]),
        (A.id, [A]),
        (A.id[:8].upper(), [A]),
    ],
)
def test_a_url_means_all_versions_and_an_id_or_its_start_one_blob(name: str, meant: list[Blob]) -> None:
    assert select_blobs([A, B, NEWER_A], [name]) == Selection(tuple(blob.id for blob in meant), (), ())


@pytest.mark.parametrize("name", ["http://origin.test/c", "http://origin.test/a?token=1", A.id[:7], "f" * 64, "nonsense", ""])
def test_a_name_that_means_nothing_is_told(name: str) -> None:
    assert select_blobs([A, B], [name, B.id]) == Selection((B.id,), (name,), ())


def test_a_start_of_two_ids_is_ambiguous() -> None:
    ids = sorted(a_blob(name=str(number)).id for number in range(500))
    twins = [a_blob(name="x"), a_blob(name="y")]
    for twin in twins:
        object.__setattr__(twin, "id", ids[0][:20] + twin.id[20:])
    assert select_blobs(twins, [ids[0][:20], twins[0].id]) == Selection((twins[0].id,), (), (ids[0][:20],))


def test_a_blob_that_is_meant_twice_is_selected_once() -> None:
    assert select_blobs([A], [A.id, A.url]).blob_ids == (A.id,)


@pytest.mark.parametrize(("held_bytes", "pieces"), [(0, 0), (PIECE_BYTES, 1), (PIECE_BYTES // 2, 1), (PIECE_BYTES * 5 // 2, 3)])
def test_held_pieces_follow_from_held_bytes(held_bytes: int, pieces: int) -> None:
    assert Holding(a_blob(2.5), held_bytes, 0.0, None).pieces == pieces
