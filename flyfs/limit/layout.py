"""Where what lies in the limit file, version 1. Pure. Described in docs/reference/limit-file.md.

Words of 8 bytes in the byte order of the host: the file is memory that processes of one host share, and never travels.
"""

from enum import IntEnum

from flyfs.limit.bucket import Bucket, Priority

MAGIC = int.from_bytes(b"flyfslim", "little")
VERSION = 1
FILE_BYTES = 4096
"""A page: reserved when the file is made, so that no write into it can meet a full disk."""


class HeaderWord(IntEnum):
    """The words before the buckets."""

    MAGIC = 0
    VERSION = 1
    CHANGES = 2
    """How often a rate was set since the file was made."""
    CHANGED_BY = 3
    """Process id of who set it last, in its own namespace."""
    CHANGED_AT_NS = 4
    """When: nanoseconds since 1970."""


class Direction(IntEnum):
    """The two buckets, each by its first word."""

    RECEIVE = 8
    SEND = 16


RATE = 0
"""Word of a bucket: bytes per second, 0 for no limit."""
FREE_AT = 1
"""The first of as many words as there are priorities: nanoseconds of CLOCK_MONOTONIC."""
GRANTED = FREE_AT + len(Priority)
"""The first of as many words: sums of bytes, modulo 2**64."""
BUCKET_WORDS = GRANTED + len(Priority)


def load_bucket(words: memoryview, direction: Direction) -> Bucket:
    """A bucket as it is now; under the lock."""
    rate, *rest = words[direction : direction + BUCKET_WORDS].tolist()
    return Bucket(rate, rest[: len(Priority)], rest[len(Priority) :])


def save_bucket(words: memoryview, direction: Direction, bucket: Bucket) -> None:
    """Keeps what grants changed; under the lock. Never the rate, which others set."""
    for word, value in enumerate((*bucket.free_at, *bucket.granted), direction + FREE_AT):
        words[word] = value
