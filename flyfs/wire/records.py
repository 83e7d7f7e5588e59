"""Values as checksummed records in files: the only encoding of flyfs' own files on disk. Pure.

A record is a 4-byte magic with the format version, a 4-byte little-endian length, 8 bytes of BLAKE3 over the payload, and the
payload (msgpack). A file is one record, or many appended: a torn or damaged tail ends the list and is reported.
"""

from collections.abc import Iterable
from typing import TypeVar

import msgpack
from blake3 import blake3

from flyfs.core.errors import Corrupt
from flyfs.wire.schema import Plain, SchemaError, from_plain, to_plain

T = TypeVar("T")

MAGIC = b"FLY1"
_HEADER_BYTES = 16
MAX_RECORD_BYTES = 16 * 1024 * 1024


def encode_record(value: object) -> bytes:
    """One record. Raises ValueError where it would be too long to be read again."""
    payload: bytes = msgpack.packb(to_plain(value), unicode_errors="surrogateescape")
    if len(payload) > MAX_RECORD_BYTES:
        raise ValueError(f"a {type(value).__name__} record of {len(payload)} bytes")
    return MAGIC + len(payload).to_bytes(4, "little") + blake3(payload).digest(8) + payload


def decode_record(kind: type[T], data: bytes) -> T:
    """The value of a file that is exactly one record.

    Raises:
        Corrupt: it is not.
    """
    values, good = decode_records(kind, data)
    if len(values) != 1 or good != len(data):
        raise Corrupt(f"a damaged {kind.__name__} record of {len(data)} bytes")
    return values[0]


def decode_records(kind: type[T], data: bytes) -> tuple[list[T], int]:
    """All good records from the start of a file, and how many bytes they take.

    What follows them is a torn append or damage: the caller cuts the file there.
    """
    values: list[T] = []
    good = 0
    while (payload := _payload_at(data, good)) is not None:
        try:
            plain: Plain = msgpack.unpackb(payload, unicode_errors="surrogateescape", max_ext_len=0, max_map_len=0)
            values.append(from_plain(kind, plain))
        except (SchemaError, ValueError, msgpack.UnpackException):
            break
        good += _HEADER_BYTES + len(payload)
    return values, good


def _payload_at(data: bytes, at: int) -> bytes | None:
    header = data[at : at + _HEADER_BYTES]
    if len(header) < _HEADER_BYTES or header[:4] != MAGIC:
        return None
    length = int.from_bytes(header[4:8], "little")
    payload = data[at + _HEADER_BYTES : at + _HEADER_BYTES + length]
    if length > MAX_RECORD_BYTES or len(payload) < length or blake3(payload).digest(8) != header[8:16]:
        return None
    return payload


def encode_records(values: Iterable[object]) -> bytes:
    """Many records, one behind the other."""
    return b"".join(map(encode_record, values))
