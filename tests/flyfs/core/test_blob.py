from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.grid import MAX_PIECE_BYTES, MAX_PIECES

GOLDEN = Blob(
    url="https://origin.test/a%20b.bin",
    principal="public",
    validator=Validator(ValidatorKind.ETAG, '"5f3"'),
    size=1_000_000,
    generation=0,
    piece_size=262_144,
)
WEAK = replace(GOLDEN, validator=Validator(ValidatorKind.MODIFIED, "Sat, 01 Jan 2022 00:00:00 GMT"), generation=7)
NAMELESS = replace(GOLDEN, validator=Validator(ValidatorKind.NONE), generation=(1 << 64) - 1)
ESCAPED = replace(GOLDEN, validator=Validator(ValidatorKind.ETAG, '"\udcff"'))


@pytest.mark.parametrize(("blob", "blob_id"), [
    (GOLDEN, "53a5dbe23aacb37f7b0f4b3e4710eba683ea0dfef66e30c5b40595f3f4b2e55b"),
    (WEAK, "740627cfd4e6c312832536e1420b74ebc04f9b16c786a1a74bf595ac57c4cbac"),
    (NAMELESS, "6940ef667db1c1b66c30950033351b43675f5af7c6b86a0150b778f46affd302"),
    (ESCAPED, "d25abc4234c1f54610c780055fcb4b63fcb2730c5a9bd2c09be03d668b526d95"),
])  # fmt: skip
def test_ids_of_version_1_never_change(blob: Blob, blob_id: str) -> None:
    assert blob.id == blob_id


@pytest.mark.parametrize("other", [
    replace(WEAK, url="https://origin.test/a%20b.bi"),
    replace(WEAK, principal="public2"),
    replace(WEAK, url="https://origin.test/a%20b.binp", principal="public"[1:]),  # lengths are part of the id
    replace(WEAK, validator=Validator(ValidatorKind.NONE, WEAK.validator.value)),
    replace(WEAK, validator=Validator(ValidatorKind.MODIFIED, "Sat, 01 Jan 2022 00:00:01 GMT")),
    replace(WEAK, size=1_000_001),
    replace(WEAK, generation=8),
])  # fmt: skip
def test_everything_that_tells_versions_and_audiences_apart_is_in_the_id(other: Blob) -> None:
    assert other.id != WEAK.id


def test_the_piece_size_is_not_in_the_id() -> None:
    smaller = replace(WEAK, piece_size=1024)
    assert smaller.id == WEAK.id
    assert smaller != WEAK
    assert (len(WEAK.grid), len(smaller.grid)) == (4, 977)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_no_two_lists_of_parts_hash_alike(left: str, right: str) -> None:
    together = replace(GOLDEN, url=left + right, principal="")
    apart = replace(GOLDEN, url=left, principal=right)
    assert (together.id == apart.id) == (right == "")


@pytest.mark.parametrize("kind", [ValidatorKind.DIGEST, ValidatorKind.ETAG])
def test_a_strong_validator_leaves_no_room_for_a_generation(kind: ValidatorKind) -> None:
    assert kind.strong
    with pytest.raises(ValueError, match="generation 0"):
        replace(WEAK, validator=Validator(kind, "x"))


@pytest.mark.parametrize("kind", [ValidatorKind.MODIFIED, ValidatorKind.NONE])
def test_weak_validators_have_generations(kind: ValidatorKind) -> None:
    assert not kind.strong
    assert replace(WEAK, validator=Validator(kind, "x")).generation == 7


@pytest.mark.parametrize("generation", [-1, 1 << 64])
def test_a_generation_has_64_bits(generation: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        replace(WEAK, generation=generation)


@pytest.mark.parametrize(("size", "piece_size"), [
    (MAX_PIECES + 1, 1),
    (1 << 63, 4 << 20),
    (1, MAX_PIECE_BYTES + 1),  # a peer that names it would make us reserve memory
    (1 << 80, 1 << 70),
])  # fmt: skip
def test_a_grid_that_no_message_can_carry_is_refused(size: int, piece_size: int) -> None:
    with pytest.raises(ValueError, match="more than a blob may have"):
        replace(WEAK, size=size, piece_size=piece_size)


@pytest.mark.parametrize(("size", "piece_size"), [(-1, 4), (0, 0), (4, -4)])
def test_a_grid_of_nonsense_is_refused(size: int, piece_size: int) -> None:
    with pytest.raises(ValueError, match="not a grid|more than a blob"):
        replace(WEAK, size=size, piece_size=piece_size)
