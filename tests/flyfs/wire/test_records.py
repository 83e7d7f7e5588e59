from dataclasses import replace

import msgpack
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.blob import Blob
from flyfs.core.errors import Corrupt
from flyfs.core.manifest import SignedDigests
from flyfs.wire.records import MAGIC, MAX_RECORD_BYTES, decode_record, decode_records, encode_record, encode_records
from flyfs.wire.schema import SchemaError
from tests.flyfs.wire.samples import BATCH, BLOB

BATCHES = [replace(BATCH, first=first) for first in range(3)]
FILE = encode_records(BATCHES)
ONE = len(FILE) // 3


def test_the_bytes_of_records_never_change() -> None:
    assert encode_record(BLOB).hex() == (
        "464c593153000000480f2138ad8c174296af687474703a2f2f6f2e746573742f61a67075626c696392a86d6f646966696564bd5361742c20"
        "3031204a616e20323032322030303a30303a303020474d54ce000493e0cfffffffffffffffffce00040000"
    )  # fmt: skip
    assert encode_record(BATCH).hex() == (
        "464c5931ca000000e20b36f40bf21afd95d94061626162616261626162616261626162616261626162616261626162616261626162616261"
        "62616261626162616261626162616261626162616261626162616202c4200101010101010101010101010101010101010101010101010101"
        "010101010101c4200202020202020202020202020202020202020202020202020202020202020202c4400303030303030303030303030303"
        "0303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303"
    )  # fmt: skip


def test_a_record_comes_back() -> None:
    assert decode_record(Blob, encode_record(BLOB)) == BLOB
    assert decode_record(Blob, encode_record(BLOB)).id == BLOB.id
    assert decode_records(SignedDigests, FILE) == (BATCHES, len(FILE))
    assert decode_records(SignedDigests, b"") == ([], 0)


def test_a_torn_tail_costs_the_last_records_only() -> None:
    for size in range(len(FILE)):
        whole = size // ONE
        assert decode_records(SignedDigests, FILE[:size]) == (BATCHES[:whole], whole * ONE)


def test_no_flipped_bit_goes_unnoticed() -> None:
    for bit in range(8 * ONE):
        damaged = bytearray(FILE)
        damaged[ONE + (bit >> 3)] ^= 1 << (bit & 7)
        assert decode_records(SignedDigests, bytes(damaged)) == (BATCHES[:1], ONE)


@given(st.binary(max_size=100))
def test_garbage_behind_good_records_ends_the_list(garbage: bytes) -> None:
    assert decode_records(SignedDigests, FILE + garbage) == (BATCHES, len(FILE))


@pytest.mark.parametrize("data", [b"", FILE, FILE[:-1], FILE[:ONE] + b"x", FILE[: ONE - 1], encode_record(BLOB)])
def test_a_file_that_is_not_exactly_one_record_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt, match=f"a damaged SignedDigests record of {len(data)} bytes"):
        decode_record(SignedDigests, data)


@pytest.mark.parametrize("payload", [
    b"", b"\xc1", b"\x91", b"\x80", b"\x91\x01", b"\xc7\x00\x05", b"\x91" * 5000, b"\xdd\xff\xff\xff\xff",
    b"\x95\xa3abc\x00\xc4\x00\xc4\x00\xc4\x00",
])  # fmt: skip
def test_a_record_with_a_good_checksum_over_nonsense_is_damage(payload: bytes) -> None:
    data = MAGIC + len(payload).to_bytes(4, "little") + blake3(payload).digest(8) + payload
    assert decode_records(SignedDigests, FILE + data + FILE) == (BATCHES, len(FILE))


def test_a_record_of_a_later_version_with_more_fields_is_read() -> None:
    plain = ["ab" * 32, 0, bytes(32), b"k", b"s", "new"]
    payload = msgpack.packb(plain)
    data = MAGIC + len(payload).to_bytes(4, "little") + blake3(payload).digest(8) + payload
    assert decode_record(SignedDigests, data).signature == b"s"


def test_another_format_version_is_not_read() -> None:
    assert decode_records(SignedDigests, FILE.replace(b"FLY1", b"FLY2", 1)) == ([], 0)


def test_what_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(ValueError, match="bytes record of 16777217 bytes"):
        encode_record(bytes(MAX_RECORD_BYTES - 4))
    with pytest.raises(SchemaError):
        encode_record(object())


def test_a_length_beyond_the_limit_is_damage() -> None:
    assert decode_records(bytes, MAGIC + (MAX_RECORD_BYTES + 1).to_bytes(4, "little") + bytes(MAX_RECORD_BYTES + 20)) == ([], 0)
