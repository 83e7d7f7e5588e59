"""Which blobs lie in a cache directory, from two small files of each. Shell; waits for the disk.

A cold disk answers in the order of inodes twice as fast as in the order of names, and four readers at a time keep it busy
(decision record 9). Whoever does not own the directory may look, too: by itself this changes nothing.
"""

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from flyfs.core import ids
from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.errors import Corrupt
from flyfs.core.ids import BlobId
from flyfs.store import effects
from flyfs.store.blob_files import DURABLE, HEAD, decode_durable, decode_head, directory_of
from flyfs.store.holdings import Holding

BLOBS_NAME = "blobs"
_READERS = 4
_AT_ONCE = 64
"""Blobs per task of a reader: enough that handing out the work costs nothing."""


@dataclass(frozen=True, slots=True)
class FoundBlob:
    """A blob on this disk.

    Attributes:
        used_bytes: what its durable pieces take.
        used_at_s: when it was last used, seconds since 1970.
    """

    blob: Blob
    used_bytes: int
    used_at_s: float


@dataclass(frozen=True, slots=True)
class NoBlob:
    """A name of a blob, without one: nothing says what its files are."""

    blob_id: BlobId


Tend: TypeAlias = Callable[[int, Blob, Bitmap], None]
"""Does what is to be done to a blob that nobody uses yet: called with the directory ``blobs``, and the pieces marked durable."""


def scan_blobs(blobs_fd: int, tend: Tend | None = None) -> Iterator[FoundBlob | NoBlob]:
    """What lies below the open directory ``blobs``; unknown names, and what cannot be read now, are passed by.

    Args:
        blobs_fd: the directory.
        tend: called with each blob, by one of several threads.

    Raises:
        OSError: the directory cannot be read.
    """
    places = sorted(_places(blobs_fd))
    tasks = (places[at : at + _AT_ONCE] for at in range(0, len(places), _AT_ONCE))
    with ThreadPoolExecutor(_READERS, "flyfs-scan") as readers:
        yield from chain.from_iterable(readers.map(partial(_look, blobs_fd, tend), tasks))


_Place: TypeAlias = tuple[int, BlobId, bool]
"""(inode, blob id, whether it is a directory)"""


def _places(blobs_fd: int) -> Iterator[_Place]:
    """All names that a blob may have."""
    for above in effects.names_in(blobs_fd):
        try:
            fd = os.open(above, effects.DIRECTORY, dir_fd=blobs_fd)
        except OSError:  # no directory of ours
            continue
        try:
            with suppress(OSError), os.scandir(fd) as entries:  # what cannot be listed now is passed by
                for entry in entries:
                    if entry.name.startswith(above) and (blob_id := _blob_id(entry.name)) is not None:
                        yield entry.inode(), blob_id, entry.is_dir(follow_symlinks=False)
        finally:
            os.close(fd)


def _blob_id(name: str) -> BlobId | None:
    try:
        return ids.blob_id(name)
    except ValueError:
        return None


def _look(blobs_fd: int, tend: Tend | None, places: list[_Place]) -> list[FoundBlob | NoBlob]:
    """In a thread: what there is."""
    found: list[FoundBlob | NoBlob] = []
    for _, blob_id, is_directory in places:
        try:
            found.append(_look_at(blobs_fd, blob_id, tend) if is_directory else NoBlob(blob_id))
        except (FileNotFoundError, Corrupt):
            found.append(NoBlob(blob_id))
        except OSError:  # a passing fault, or the disk's: the start goes on without this blob
            continue
    return found


def _look_at(blobs_fd: int, blob_id: BlobId, tend: Tend | None) -> FoundBlob:
    place = directory_of(blob_id)
    head, used_at_s = _read_with_time(blobs_fd, f"{place}/{HEAD}")
    blob = decode_head(head, blob_id)
    durable = Bitmap(len(blob.grid))
    with suppress(FileNotFoundError):  # nothing was ever marked
        mark, marked_at_s = _read_with_time(blobs_fd, f"{place}/{DURABLE}")
        durable = decode_durable(mark, blob)
        if durable.count:
            used_at_s = max(used_at_s, marked_at_s)
    if tend is not None:
        tend(blobs_fd, blob, durable)
    used_bytes = bytes_of(blob, durable.count, last=durable.length > 0 and durable.length - 1 in durable)
    return FoundBlob(blob, used_bytes, used_at_s)


def _read_with_time(directory_fd: int, name: str) -> tuple[bytes, float]:
    """A small file's content, and when it was last modified. What is no file counts as absent, so a link is never followed."""
    fd = os.open(name, effects.READ, dir_fd=directory_fd)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise IsADirectoryError(f"{name} is no file")
        return os.read(fd, found.st_size + 1), found.st_mtime
    finally:
        os.close(fd)


def held_from_outside(directory: Path) -> list[Holding]:
    """What a cache directory holds, the least recently used first, read by who neither has nor changes it. Raises OSError."""
    fd = os.open(directory / BLOBS_NAME, effects.DIRECTORY)
    try:
        found = [one for one in scan_blobs(fd) if isinstance(one, FoundBlob)]
    finally:
        os.close(fd)
    return [Holding(one.blob, one.used_bytes, one.used_at_s, None) for one in sorted(found, key=lambda one: one.used_at_s)]


def bytes_of(blob: Blob, pieces: int, *, last: bool) -> int:
    """What ``pieces`` pieces of a blob take, the shorter last one among them or not."""
    return pieces * blob.piece_size - (len(blob.grid) * blob.piece_size - blob.size if last else 0)
