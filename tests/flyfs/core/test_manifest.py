from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.errors import Corrupt
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import (
    DIGEST_BYTES,
    PAGE_PIECES,
    Fork,
    Manifest,
    SignedDigests,
    digests_to_sign,
    piece_digest,
    piece_hasher,
)
from tests.support.builders import KEY, OTHER_KEY, a_blob, a_blob_id, a_manifest, bytes_of, digests_of

BLOB = a_blob(6)
LONG = a_blob(PAGE_PIECES + 3, name="long", piece_size=8)


def spans(manifest: Manifest, page: int = 0) -> list[tuple[int, int]]:
    return [(batch.first, batch.pieces.stop) for batch in manifest.batches(page)]


def test_digests_of_version_1_never_change() -> None:
    assert piece_digest(b"piece").hex() == "394cfefbec18b6774d5650fdd741678b8246f82592479f236a3b5e25e7e5a6c7"
    assert digests_to_sign(a_blob_id(), 258, b"d" * 32) == b"".join([
        b"flyfs digests 1\0",
        bytes.fromhex(a_blob_id()),
        bytes([2, 1, 0, 0, 0, 0, 0, 0]),
        b"d" * 32,
    ])  # fmt: skip


def test_bytes_that_come_one_after_another_have_the_same_digest() -> None:
    hasher = piece_hasher()
    for byte in b"piece":
        hasher.update(bytes([byte]))
    assert hasher.digest() == piece_digest(b"piece")


def test_an_empty_manifest_knows_nothing() -> None:
    manifest = a_manifest(BLOB)
    assert manifest.digest_of(PieceIndex(0)) is None
    assert manifest.batch_for(PieceIndex(0)) is None
    assert manifest.batches(0) == ()
    assert not manifest.knows(digests_of(BLOB))
    with pytest.raises(Corrupt, match="no digest known for piece 0"):
        manifest.prove(PieceIndex(0), bytes_of(BLOB, 0))


def test_a_piece_is_proved_by_its_digest() -> None:
    manifest = a_manifest(BLOB, digests_of(BLOB, 1, 3))
    manifest.prove(PieceIndex(1), bytes_of(BLOB, 1))
    manifest.prove(PieceIndex(2), memoryview(bytearray(bytes_of(BLOB, 2))))
    with pytest.raises(Corrupt, match="piece 2 .* does not match"):
        manifest.prove(PieceIndex(2), bytes_of(BLOB, 1))
    with pytest.raises(Corrupt, match="does not match"):
        manifest.prove(PieceIndex(2), bytes_of(BLOB, 2)[:-1])
    assert [manifest.digest_of(PieceIndex(piece)) is not None for piece in range(6)] == [False, True, True, False, False, False]


def test_small_batches_are_replaced_by_the_page() -> None:
    manifest = a_manifest(BLOB, *(digests_of(BLOB, piece, piece + 1) for piece in (3, 0, 5)))
    assert spans(manifest) == [(0, 1), (3, 4), (5, 6)]
    assert manifest.add(digests_of(BLOB))
    assert spans(manifest) == [(0, 6)]
    assert not manifest.add(digests_of(BLOB))
    assert not manifest.add(digests_of(BLOB, 2, 4))
    assert spans(manifest) == [(0, 6)]


def test_what_another_key_vouched_for_is_taken_over_by_the_new_one() -> None:
    old = digests_of(BLOB, key=OTHER_KEY)
    manifest = a_manifest(BLOB)
    assert manifest.add(old)
    assert manifest.vouched_by({KEY.public}) == 0
    assert manifest.add(digests_of(BLOB, 2, 4))
    assert not manifest.add(digests_of(BLOB, 2, 4))
    assert manifest.keys == {KEY.public, OTHER_KEY.public}
    assert manifest.vouched_by({KEY.public}) == 0b1100
    assert manifest.vouched_by({OTHER_KEY.public}) == 0b111111
    assert [manifest.batch_for(PieceIndex(piece)).key == KEY.public for piece in range(6)] == [  # type: ignore[union-attr]
        False, False, True, True, False, False,
    ]  # fmt: skip

    assert manifest.add(digests_of(BLOB))
    assert [batch.key for batch in manifest.batches(0)] == [KEY.public]
    assert manifest.vouched_by({KEY.public}) == 0b111111


def test_a_fork_holds_both_batches_as_its_proof() -> None:
    mine, theirs = digests_of(BLOB, 1, 3), KEY.sign(BLOB.id, 2, piece_digest(b"other"))
    manifest = a_manifest(BLOB, mine)
    with pytest.raises(Fork) as caught:
        manifest.add(theirs)

    assert caught.value.batches == (mine, theirs)


def test_batches_that_overlap_are_both_kept() -> None:
    manifest = a_manifest(BLOB, digests_of(BLOB, 0, 3), digests_of(BLOB, 2, 5))
    assert spans(manifest) == [(0, 3), (2, 5)]
    assert tuple(manifest.all_batches()) == manifest.batches(0)
    assert [manifest.batch_for(PieceIndex(piece)) is not None for piece in range(6)] == [True] * 5 + [False]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)).map(lambda span: (span[0], min(6, span[0] + span[1])))))
def test_what_is_kept_vouches_for_all_that_was_added_and_nothing_twice(added: list[tuple[int, int]]) -> None:
    manifest, known = Manifest(BLOB.id, 6), set[int]()
    for first, stop in added:
        batch = digests_of(BLOB, first, stop)
        covered = any(start <= first and stop <= end for start, end in spans(manifest))
        assert manifest.knows(batch) == (set(range(first, stop)) <= known)
        assert manifest.add(batch) != covered
        known |= set(range(first, stop))
    kept = spans(manifest)
    assert kept == sorted(set(kept))
    assert not [(one, other) for one in kept for other in kept if one != other and one[0] <= other[0] and other[1] <= one[1]]
    for piece in range(6):
        batch = manifest.batch_for(PieceIndex(piece))
        assert (batch is not None) == (manifest.digest_of(PieceIndex(piece)) is not None) == (piece in known)
        assert batch is None or piece in batch.pieces


def test_pages_are_apart() -> None:
    manifest = a_manifest(LONG, digests_of(LONG), digests_of(LONG, PAGE_PIECES))
    assert spans(manifest) == [(0, PAGE_PIECES)]
    assert spans(manifest, 1) == [(PAGE_PIECES, PAGE_PIECES + 3)]
    manifest.prove(PieceIndex(PAGE_PIECES + 2), bytes_of(LONG, PAGE_PIECES + 2))
    assert manifest.digest_of(PieceIndex(PAGE_PIECES + 3)) is None
    assert manifest.digest_of(PieceIndex(10 * PAGE_PIECES)) is None
    assert manifest.batches(2) == ()


@pytest.mark.parametrize(("first", "count"), [(PAGE_PIECES - 1, 2), (0, PAGE_PIECES + 1), (-1, 1), (0, 0)])
def test_a_batch_stays_in_one_page(first: int, count: int) -> None:
    with pytest.raises(ValueError, match="not a digest batch"):
        replace(digests_of(BLOB), first=first, digests=bytes(count * DIGEST_BYTES))


def test_a_batch_holds_whole_digests() -> None:
    with pytest.raises(ValueError, match="33 bytes from piece 0"):
        replace(digests_of(BLOB), digests=bytes(33))


def test_a_contradiction_is_a_fork_and_changes_nothing() -> None:
    manifest = a_manifest(BLOB, digests_of(BLOB, 0, 2))
    digests = digests_of(BLOB).digests
    forked = KEY.sign(BLOB.id, 0, digests[:DIGEST_BYTES] + bytes([digests[DIGEST_BYTES] ^ 1]) + digests[DIGEST_BYTES + 1 :])
    assert not manifest.knows(forked)
    with pytest.raises(Fork, match="two signed digests for piece 1"):
        manifest.add(forked)
    assert spans(manifest) == [(0, 2)]
    assert manifest.digest_of(PieceIndex(2)) is None
    manifest.prove(PieceIndex(1), bytes_of(BLOB, 1))


def test_new_digests_beside_known_ones_are_no_fork() -> None:
    manifest = a_manifest(BLOB, digests_of(BLOB, 1, 2))
    assert manifest.add(digests_of(BLOB, 0, 4))
    manifest.prove(PieceIndex(3), bytes_of(BLOB, 3))


@pytest.mark.parametrize("batch", [
    digests_of(a_blob(6, name="other")),
    KEY.sign(BLOB.id, 5, bytes(2 * DIGEST_BYTES)),
    KEY.sign(BLOB.id, 1 << 60, bytes(DIGEST_BYTES)),
])  # fmt: skip
def test_a_batch_of_another_blob_or_beyond_the_grid_is_refused(batch: SignedDigests) -> None:
    manifest = Manifest(BLOB.id, 6)
    with pytest.raises(ValueError, match="does not fit"):
        manifest.add(batch)
    assert manifest.batches(0) == ()
    assert not manifest.knows(batch)
