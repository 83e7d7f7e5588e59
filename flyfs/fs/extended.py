"""Extended attributes ``user.flyfs.*``: names and values as bytes. Pure."""

from flyfs.core.blob import Blob
from flyfs.core.urls import RemoteUrl
from flyfs.fs.remotes import BlobFigures

PREFIX = b"user.flyfs."

URL = PREFIX + b"url"
KIND = PREFIX + b"kind"
SIZE = PREFIX + b"size"
DIGEST = PREFIX + b"digest"

OF_DIRECTORIES = (URL, KIND)
OF_CONTROL = (KIND,)
OF_FILES = (
    URL,
    KIND,
    PREFIX + b"blob",
    SIZE,
    PREFIX + b"validator",
    PREFIX + b"pieces",
    PREFIX + b"piece_size",
    PREFIX + b"origin_bytes",
    PREFIX + b"peer_bytes",
    PREFIX + b"supernode_bytes",
)
"""What every file lists; ``digest`` only where it is known."""

OF_FILES_AT_MOST = (*OF_FILES, DIGEST)


def is_supported(name: bytes) -> bool:
    """Whether attributes with such a name exist at all.

    Only ``user.`` ones do. ``ls -l`` asks each file for ``security.selinux`` and ``system.posix_acl_access``; told that
    there is no such thing here, it never asks again for any file of the mount (10,000 files: 0.2 s instead of 2.5 s).
    """
    return name.startswith(b"user.")


def url_value(url: RemoteUrl) -> bytes:
    """``user.flyfs.url``: canonical, without credentials."""
    return str(url).encode("utf-8", "surrogateescape")


def blob_values(blob: Blob, figures: BlobFigures) -> dict[bytes, bytes]:
    """Everything that is known of a file's blob, by attribute name."""
    validator = f"{blob.validator.kind.value}:{blob.validator.value}" if blob.validator.value else blob.validator.kind.value
    told: dict[bytes, object] = {
        b"blob": blob.id,
        b"size": blob.size,
        b"validator": validator,
        b"pieces": f"{figures.have_pieces}/{len(blob.grid)}",
        b"piece_size": blob.piece_size,
        b"origin_bytes": figures.origin_bytes,
        b"peer_bytes": figures.peer_bytes,
        b"supernode_bytes": figures.supernode_bytes,
    }
    if figures.digest is not None:
        told[b"digest"] = figures.digest
    return {PREFIX + name: str(value).encode("utf-8", "surrogateescape") for name, value in told.items()}
