from dataclasses import replace

import pytest

from flyfs.core.errors import Corrupt
from flyfs.core.signing import KEY_BYTES, SigningKey, verify
from tests.support.builders import KEY, OTHER_KEY, a_blob, a_blob_id, digests_of

BATCH = KEY.sign(a_blob_id(), 3, bytes(range(64)))
TRUSTED = frozenset([KEY.public])


def flipped(data: bytes, bit: int) -> bytes:
    return bytes(byte ^ (1 << (bit & 7) if bit >> 3 == at else 0) for at, byte in enumerate(data))


def test_signatures_of_version_1_never_change() -> None:
    assert KEY.public.hex() == "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    assert BATCH.signature.hex() == (
        "662a3ab7031a1f52c647efc46140ae22dd834d2ed26f11a6e14b0aaeb9fdf7df"
        "a9030a8f7e646a00d4ac7251e3515e58fa9c063f9adfee5a13b0e7754bff960a"
    )  # fmt: skip
    assert (len(BATCH.key), len(BATCH.signature)) == (KEY_BYTES, 64)


def test_what_a_trusted_key_signed_passes() -> None:
    verify(BATCH, TRUSTED)
    verify(digests_of(a_blob(3)), frozenset([OTHER_KEY.public, KEY.public]))


def test_a_flipped_bit_in_the_signature_is_refused() -> None:
    for bit in range(8 * len(BATCH.signature)):
        with pytest.raises(Corrupt, match="does not fit"):
            verify(replace(BATCH, signature=flipped(BATCH.signature, bit)), TRUSTED)


def test_a_flipped_bit_in_the_digests_is_refused() -> None:
    for bit in range(8 * 64):
        with pytest.raises(Corrupt, match="does not fit"):
            verify(replace(BATCH, digests=flipped(BATCH.digests, bit)), TRUSTED)


def test_a_flipped_bit_in_the_blob_id_is_refused() -> None:
    for bit in range(8 * 32):
        with pytest.raises(Corrupt, match="does not fit"):
            verify(replace(BATCH, blob_id=flipped(bytes.fromhex(BATCH.blob_id), bit).hex()), TRUSTED)


def test_a_flipped_bit_in_the_key_is_an_untrusted_key() -> None:
    for bit in range(8 * KEY_BYTES):
        with pytest.raises(Corrupt, match="no supernode of ours"):
            verify(replace(BATCH, key=flipped(BATCH.key, bit)), TRUSTED)


def test_another_first_piece_is_refused() -> None:
    for bit in range(64):
        with pytest.raises(Corrupt, match="does not fit"):
            verify(replace(BATCH, first=BATCH.first ^ (1 << bit)), TRUSTED)


def test_an_untrusted_key_is_refused_though_its_signature_fits() -> None:
    batch = digests_of(a_blob(3), key=OTHER_KEY)
    verify(batch, frozenset([OTHER_KEY.public]))
    for trusted in (TRUSTED, frozenset[bytes]()):
        with pytest.raises(Corrupt, match="no supernode of ours"):
            verify(batch, trusted)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65)])
def test_a_signature_of_another_length_is_refused(signature: bytes) -> None:
    with pytest.raises(Corrupt, match="does not fit"):
        verify(replace(BATCH, signature=signature), TRUSTED)


def test_a_trusted_key_that_is_no_key_proves_nothing() -> None:
    with pytest.raises(Corrupt, match="does not fit"):
        verify(replace(BATCH, key=b"short"), frozenset([b"short"]))


def test_a_blob_id_that_is_no_hex_is_refused() -> None:
    with pytest.raises(Corrupt, match="does not fit"):
        verify(replace(BATCH, blob_id="x" * 64), TRUSTED)


def test_a_new_seed_makes_a_key() -> None:
    seed = SigningKey.new_seed()
    assert seed != SigningKey.new_seed()
    assert SigningKey(seed).public == SigningKey(seed).public
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(seed[:-1])
