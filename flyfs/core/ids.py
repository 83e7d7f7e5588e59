"""Names of things as types of their own, so that one cannot be passed for another. Pure."""

import re
from typing import NewType

PieceIndex = NewType("PieceIndex", int)
"""Position of a piece in its blob's grid, from 0."""

BlobId = NewType("BlobId", str)
"""64 lower-case hexadecimal digits."""

PeerId = NewType("PeerId", str)
"""32 lower-case hexadecimal digits, random, made once per cache directory."""

Ino = NewType("Ino", int)
"""A FUSE inode number: a path at one version. 1 is the root."""

Handle = NewType("Handle", int)
"""A FUSE file handle; always equal to the inode number, so that a successor process can answer for it."""

PUBLIC = "public"
"""The principal of content that an anonymous request may read."""

_BLOB_ID = re.compile(r"[0-9a-f]{64}")
_PEER_ID = re.compile(r"[0-9a-f]{32}")


def blob_id(text: str) -> BlobId:
    """``text`` checked to be a blob id, because on-disk names are derived from it.

    Raises:
        ValueError: it is not 64 lower-case hexadecimal digits.
    """
    if not _BLOB_ID.fullmatch(text):
        raise ValueError(f"not a blob id: {text[:80]!r}")
    return BlobId(text)


def peer_id(text: str) -> PeerId:
    """``text`` checked to be a peer id.

    Raises:
        ValueError: it is not 32 lower-case hexadecimal digits.
    """
    if not _PEER_ID.fullmatch(text):
        raise ValueError(f"not a peer id: {text[:80]!r}")
    return PeerId(text)
