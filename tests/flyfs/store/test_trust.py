"""Which pieces are proved again, after which stop, under which policy."""

import pytest

from flyfs.core.bitmap import Bitmap
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.verify import Verify
from flyfs.store.trust import CleanBlob, Stamp, Trust
from tests.support.builders import a_blob_id, drawn, picture_of

A, B = a_blob_id("a"), a_blob_id("b")
THEN, LATER = Stamp(4096, 1_000), Stamp(4096, 2_000)


def after_clean_stop(verify: Verify = Verify.FIRST_USE, unproved: bytes = b"") -> Trust:
    return Trust(verify, [CleanBlob(blob_id=A, size=THEN.size, changed_ns=THEN.changed_ns, unproved=unproved)])


def to_prove(trust: Trust, stamp: Stamp = THEN, durable: str = "##.#", blob_id: BlobId = A) -> str:
    return picture_of(trust.loaded(blob_id, drawn(durable), stamp).unproved)


def records_of(trust: Trust, now: Stamp | None = LATER) -> list[CleanBlob]:
    return list(trust.record([A, B], lambda _: now))


def test_after_a_crash_all_that_is_durable_is_proved_again() -> None:
    assert to_prove(Trust(Verify.FIRST_USE)) == "##.#"


def test_after_a_clean_stop_nothing_is_proved_while_the_file_looks_as_it_did() -> None:
    assert to_prove(after_clean_stop()) == "...."


@pytest.mark.parametrize("stamp", [LATER, Stamp(THEN.size - 1, THEN.changed_ns)])
def test_a_file_that_was_changed_since_is_proved_again(stamp: Stamp) -> None:
    assert to_prove(after_clean_stop(), stamp) == "##.#"


def test_a_blob_that_no_clean_stop_names_is_proved_again() -> None:
    assert to_prove(after_clean_stop(), blob_id=B) == "##.#"


def test_what_was_not_proved_before_a_clean_stop_is_proved_after_it() -> None:
    assert to_prove(after_clean_stop(unproved=drawn(".###").to_bytes())) == ".#.#"
    assert to_prove(after_clean_stop(unproved=b"of another grid")) == "##.#"


@pytest.mark.parametrize(("verify", "proved_again"), [(Verify.ALWAYS, "##.#"), (Verify.NEVER, "....")])
def test_always_proves_after_a_clean_stop_too_and_never_not_even_after_a_crash(verify: Verify, proved_again: str) -> None:
    assert to_prove(after_clean_stop(verify)) == proved_again
    assert to_prove(Trust(verify)) == proved_again


def test_a_blob_is_judged_once_in_a_run() -> None:
    trust = Trust(Verify.ALWAYS)
    first = trust.loaded(A, drawn("##"), THEN)
    first.proved(PieceIndex(0))
    again = trust.loaded(A, drawn("##"), LATER)
    assert again is first
    assert picture_of(again.unproved) == ".#"

    trust.forget(A)
    assert to_prove(trust, durable="##") == "##"


def test_a_new_blob_has_nothing_to_prove_and_is_recorded_as_it_looks_in_the_end() -> None:
    trust = after_clean_stop()
    created = trust.created(A, 4)
    assert (picture_of(created.unproved), created.stamp) == ("....", None)

    assert records_of(trust) == [CleanBlob(blob_id=A, size=LATER.size, changed_ns=LATER.changed_ns)]
    assert records_of(trust, None) == [], "its file is gone"


def test_a_blob_that_nobody_used_keeps_its_record_unseen() -> None:
    assert records_of(after_clean_stop(), LATER) == list(after_clean_stop().record([A], lambda _: None)) != []
    assert records_of(Trust(Verify.FIRST_USE)) == []


def test_what_others_did_to_a_file_while_it_was_only_read_is_found_by_the_next_start() -> None:
    trust = after_clean_stop()
    trust.loaded(A, drawn("##.#"), THEN)
    (recorded,) = records_of(trust, LATER)
    assert recorded.changed_ns == THEN.changed_ns
    assert to_prove(Trust(Verify.FIRST_USE, [recorded]), LATER) == "##.#"


def test_a_clean_stop_after_a_crash_does_not_make_unproved_pieces_trusted() -> None:
    for verify in Verify:
        trust = Trust(verify)
        loaded = trust.loaded(A, drawn("##.#"), THEN)
        loaded.proved(PieceIndex(1))
        (recorded,) = records_of(trust)
        assert to_prove(Trust(Verify.FIRST_USE, [recorded])) == "#..#"


def test_a_file_that_was_written_is_recorded_as_it_looks_in_the_end() -> None:
    trust = after_clean_stop()
    trust.loaded(A, drawn("##.#"), THEN).changed()
    assert [one.changed_ns for one in records_of(trust)] == [LATER.changed_ns]


def test_bitmaps_of_the_store_are_not_shared_with_it() -> None:
    durable = Bitmap.of(2, [0, 1])
    Trust(Verify.ALWAYS).loaded(A, durable, THEN).proved(PieceIndex(0))
    assert picture_of(durable) == "##"


@pytest.mark.parametrize("verify", Verify)
def test_a_piece_in_doubt_is_proved_before_it_is_served_whatever_the_policy(verify: Verify) -> None:
    trust = after_clean_stop(verify)
    loaded = trust.loaded(A, drawn("##.#"), THEN)
    loaded.doubt(PieceIndex(1))
    assert 1 in loaded.unproved
    (recorded,) = records_of(trust)
    assert 1 in drawn(to_prove(Trust(Verify.FIRST_USE, [recorded])))
