"""The files of one blob on this disk (docs/reference/store-format.md). Shell; its methods may wait for the disk.

``head`` says what the blob is, ``data`` holds its bytes at their place (sparse), ``digests`` what proves them, ``durable``
which pieces survived a sync. A damaged file costs its blob's pieces at most; what is loaded is consistent in itself.
"""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from flyfs.core.bitmap import Bitmap, runs_of
from flyfs.core.blob import Blob
from flyfs.core.errors import Corrupt, Unavailable
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.manifest import PAGE_PIECES, Fork, Manifest, SignedDigests
from flyfs.store import effects
from flyfs.store.faults import ALIGNMENT_BYTES, Expected, pieces_on_disk
from flyfs.store.page_cache import scratch
from flyfs.store.trust import Stamp
from flyfs.wire.records import decode_record, decode_records, encode_record, encode_records

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_SECTOR_BYTES = 512  # what st_blocks counts, whatever the file system
HEAD, DATA, DIGESTS, DURABLE = "head", "data", "digests", "durable"


@dataclass(frozen=True, slots=True, kw_only=True)
class DurablePieces:
    """The content of ``durable``.

    Attributes:
        piece_size: bytes per piece, because the bitmap means nothing on another grid.
        pieces: the bitmap (``core.bitmap``).
    """

    blob_id: BlobId
    piece_size: int
    pieces: bytes


def directory_of(blob_id: BlobId) -> str:
    """Where a blob lies below ``blobs``: 256 directories, so that none grows too large."""
    return f"{blob_id[:2]}/{blob_id}"


class BlobFiles:
    """Descriptors of one blob's directory and data file, and what is done through them.

    All paths are relative to the open directory: once set aside, a blob's files can never be taken for its successor's.
    """

    def __init__(self, blobs_fd: int, blob: Blob) -> None:
        """``blobs_fd`` is the directory ``blobs``; nothing is opened yet."""
        self.blob = blob
        self.data_fd = -1
        self._directory_fd = -1
        self._blobs_fd = blobs_fd
        self._made = True
        self._digests_bytes = 0  # good ones
        self._names_synced = False

    @classmethod
    def unmade(cls, blobs_fd: int, blob: Blob) -> "BlobFiles":
        """A blob without any file, because there was no room for them."""
        files = cls(blobs_fd, blob)
        files._made = False
        return files

    @classmethod
    def create(cls, blobs_fd: int, blob: Blob) -> "BlobFiles":
        """A new blob without any piece. Raises OSError."""
        files = cls(blobs_fd, blob)
        effects.ensure_directory(blobs_fd, blob.id[:2])
        effects.make_directory(blobs_fd, directory_of(blob.id))
        files._directory_fd = os.open(directory_of(blob.id), effects.DIRECTORY, dir_fd=blobs_fd)
        try:
            files.data_fd = effects.create_file(files._directory_fd, DATA, blob.size)
            os.close(effects.create_file(files._directory_fd, DIGESTS))
            # Last, because a directory without a head is no blob. It need not outlive the machine before a piece does.
            effects.replace_file(files._directory_fd, HEAD, encode_record(blob), sync=False)
        except OSError:
            files.close()
            raise
        return files

    @property
    def made(self) -> bool:
        """Whether there are files."""
        return self._made

    @property
    def is_open(self) -> bool:
        """Whether descriptors are open."""
        return self.data_fd >= 0

    def open(self) -> None:
        """Opens the descriptors.

        Raises:
            Corrupt: the files are not there, or the data file is no file of the blob's size.
            Unavailable: they cannot be opened now, for want of descriptors or memory.
        """
        try:
            self._directory_fd = os.open(directory_of(self.blob.id), effects.DIRECTORY, dir_fd=self._blobs_fd)
            self.data_fd = os.open(DATA, effects.WRITE, dir_fd=self._directory_fd)
            found = os.fstat(self.data_fd)
        except OSError as error:
            self.close()
            raise _meaning_of(error, self.blob.id) from error
        if not stat.S_ISREG(found.st_mode) or found.st_size != self.blob.size:
            self.close()
            raise Corrupt(f"the data file of blob {self.blob.id} has {found.st_size} bytes, not {self.blob.size}")

    def close(self) -> None:
        """Closes them; twice is fine."""
        for fd in (self.data_fd, self._directory_fd):
            if fd >= 0:
                os.close(fd)
        self.data_fd = self._directory_fd = -1

    @property
    def stamp(self) -> Stamp:
        """How the data file looks now; the descriptors must be open."""
        return stamp_of(os.fstat(self.data_fd))

    @property
    def is_cut(self) -> bool:
        """Whether somebody made the data file shorter, as far as that can be seen: while descriptors are open."""
        return self.is_open and os.fstat(self.data_fd).st_size < self.blob.size

    def lose(self) -> None:
        """They are not what they should be: as if none had been made."""
        self.close()
        self._made = False

    def load(self) -> tuple[Bitmap, Manifest]:
        """Opens the descriptors and reads which pieces are durable, and the digests that prove them.

        Raises:
            Corrupt, Unavailable: as ``open``.
        """
        self.open()
        try:
            manifest = self._load_digests()
            durable = self._load_durable()
        except OSError as error:
            self.close()
            raise _meaning_of(error, self.blob.id) from error
        _discard_unprovable(durable, manifest)
        return durable, manifest

    def open_past_cache(self) -> int:
        """Another descriptor of the data file, whose reads (of whole pages) ask the disk and leave the page cache as it is.

        On a file system that cannot, it reads as any other.

        Raises:
            Corrupt, Unavailable: as ``open``.
        """
        try:
            fd = os.open(DATA, effects.READ | os.O_DIRECT, dir_fd=self._directory_fd)
            try:
                os.preadv(fd, (scratch()[:ALIGNMENT_BYTES],), 0)
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EINVAL:
                    raise
            else:
                return fd
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise _meaning_of(error, self.blob.id) from error
        return os.open(DATA, effects.READ, dir_fd=self._directory_fd)

    def sync_data(self) -> None:
        """What was written to the data file is on the disk. Raises OSError: then nobody knows what is."""
        effects.sync_data(self.data_fd)

    def start_writeback(self, start: int, stop: int) -> None:
        """The disk begins to write bytes ``[start, stop)`` of the data. Raises OSError: then nobody knows what is on it."""
        effects.start_writeback(self.data_fd, start, stop)

    def pieces_on_disk(self, expected: Sequence[Expected]) -> list[PieceIndex]:
        """Those of the expected pieces that the disk has. None where the file system cannot be read past the page cache."""
        try:
            direct = os.open(DATA, effects.READ | os.O_DIRECT, dir_fd=self._directory_fd)
        except OSError:
            return []
        try:
            return pieces_on_disk(direct, expected)
        finally:
            os.close(direct)

    def append_digests(self, batches: Iterable[SignedDigests]) -> None:
        """Adds batches behind the good ones, on the disk. Raises OSError: then none counts, and they can be appended again."""
        self._sync_names()
        records = encode_records(batches)
        fd = os.open(DIGESTS, effects.WRITE, dir_fd=self._directory_fd)
        try:
            effects.write_at(fd, records, self._digests_bytes)
            effects.set_length(fd, self._digests_bytes + len(records))  # a torn attempt may have been longer
            effects.sync_data(fd)
        finally:
            os.close(fd)
        self._digests_bytes += len(records)

    def replace_durable(self, durable: Bitmap) -> None:
        """These pieces count after a restart. The data and their digests must be on the disk. Raises OSError."""
        self._sync_names()
        effects.replace_file(self._directory_fd, DURABLE, encode_record(_durable_record(self.blob, durable)), sync=True)

    def unmark(self, durable: Bitmap) -> None:
        """Only these pieces count after a restart, once this returns; needs no room on a full disk. Raises OSError.

        There the record is overwritten in its place: a crash in the middle tears it, and costs the marks of this blob.
        """
        try:
            self.replace_durable(durable)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._overwrite_durable(durable)

    def _overwrite_durable(self, durable: Bitmap) -> None:
        try:
            fd = os.open(DURABLE, effects.WRITE, dir_fd=self._directory_fd)
        except FileNotFoundError:  # nothing was ever marked
            return
        record = encode_record(_durable_record(self.blob, durable))
        try:
            effects.write_at(fd, record, 0)
            effects.set_length(fd, len(record))
            effects.sync_data(fd)
        finally:
            os.close(fd)

    def free(self, runs: Iterable[tuple[int, int]]) -> None:
        """Gives the room of (first, count) runs of pieces back. None of them may be marked. Raises OSError."""
        size = self.blob.piece_size
        for first, count in runs:  # the last piece with all of its last disk block
            effects.punch_hole(self.data_fd, first * size, (first + count) * size)

    def _sync_names(self) -> None:
        """Once per session, before anything else becomes durable: the head, and the names on the way to it, are on the disk."""
        if self._names_synced:
            return
        fd = os.open(HEAD, effects.READ, dir_fd=self._directory_fd)
        try:
            effects.sync_data(fd)
        finally:
            os.close(fd)
        effects.sync_entries(self._directory_fd)
        above = os.open(self.blob.id[:2], effects.DIRECTORY, dir_fd=self._blobs_fd)
        try:
            effects.sync_entries(above)
        finally:
            os.close(above)
        effects.sync_entries(self._blobs_fd)
        self._names_synced = True

    def _load_durable(self) -> Bitmap:
        try:
            return decode_durable(effects.read_file(self._directory_fd, DURABLE), self.blob)
        except FileNotFoundError:
            return Bitmap(len(self.blob.grid))

    def _load_digests(self) -> Manifest:
        """The digests on disk; a torn or damaged tail is cut off, batches that do not fit are left out."""
        manifest = Manifest(self.blob.id, len(self.blob.grid))
        try:
            content = effects.read_file(self._directory_fd, DIGESTS)
        except FileNotFoundError:
            os.close(effects.create_file(self._directory_fd, DIGESTS))
            content = b""
        batches, self._digests_bytes = decode_records(SignedDigests, content)
        for batch in batches:
            try:
                manifest.add(batch)
            except (ValueError, Fork):  # a file that somebody changed: what it does not prove is fetched again
                continue
        return manifest


def decode_head(content: bytes, blob_id: BlobId) -> Blob:
    """The blob that a blob's directory is for, from the content of ``head``.

    Raises:
        Corrupt: the head is damaged, or of another blob.
    """
    blob = decode_record(Blob, content)
    if blob.id != blob_id:
        raise Corrupt(f"the head of blob {blob_id} is of blob {blob.id}")
    return blob


def decode_durable(content: bytes, blob: Blob) -> Bitmap:
    """The pieces that ``durable`` marks; none where it is damaged or of another grid: they are fetched again, that is all."""
    try:
        record = decode_record(DurablePieces, content)
        if (record.blob_id, record.piece_size) == (blob.id, blob.piece_size):
            return Bitmap.from_bytes(record.pieces, len(blob.grid))
    except (Corrupt, ValueError):
        pass
    return Bitmap(len(blob.grid))


def free_unmarked(blobs_fd: int, blob: Blob, durable: Bitmap) -> None:
    """Gives room back that no mark speaks of, after a process that did not end well; before anybody uses the blob.

    What a disk does not give back lies there until the blob goes.
    """
    data = f"{directory_of(blob.id)}/{DATA}"
    held_bytes = durable.count * blob.piece_size
    slack_bytes = blob.piece_size + held_bytes // 64  # the last disk block, and the file system's own map of the file
    with suppress(OSError):
        found = os.stat(data, dir_fd=blobs_fd, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or found.st_blocks * _SECTOR_BYTES <= held_bytes + slack_bytes:
            return
        fd = os.open(data, effects.WRITE, dir_fd=blobs_fd)
        try:
            for first, count in runs_of(piece for piece in blob.grid if piece not in durable):
                effects.punch_hole(fd, first * blob.piece_size, (first + count) * blob.piece_size)
        finally:
            os.close(fd)


def stamp_of(found: os.stat_result) -> Stamp:
    """What tells whether a data file was changed."""
    return Stamp(found.st_size, found.st_ctime_ns)


def _meaning_of(error: OSError, blob_id: BlobId) -> Corrupt | Unavailable:
    """Files that cannot be opened or read are damage, unless the process is short of something."""
    message = f"cannot open the files of blob {blob_id}: {error.strerror}"
    return Unavailable(message) if error.errno in _SHORTAGES else Corrupt(message)


def _durable_record(blob: Blob, durable: Bitmap) -> DurablePieces:
    return DurablePieces(blob_id=blob.id, piece_size=blob.piece_size, pieces=durable.to_bytes())


def _discard_unprovable(durable: Bitmap, manifest: Manifest) -> None:
    """Leaves the pieces whose digest is known; whole pages are told by their batches, because a blob may have 262,144 pieces."""
    for first in range(0, durable.length, PAGE_PIECES):
        stop = min(first + PAGE_PIECES, durable.length)
        proved = first
        for batch in manifest.batches(first // PAGE_PIECES):
            if batch.first <= proved < batch.pieces.stop:
                proved = batch.pieces.stop
        for piece in map(PieceIndex, range(proved, stop)):
            if piece in durable and manifest.digest_of(piece) is None:
                durable.discard(piece)
