"""The cache directory of one process: its lock, its version, its peer id, and which blobs lie in it. Shell.

A blob that goes is first renamed into ``dropped`` and then removed there, so that no crash leaves half a blob.
"""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flyfs.core import ids
from flyfs.core.blob import Blob
from flyfs.core.errors import ConfigError, Corrupt
from flyfs.core.grid import MIB
from flyfs.core.ids import BlobId, PeerId
from flyfs.store import effects
from flyfs.store.blob_files import DURABLE, HEAD, directory_of, free_unmarked, read_durable, read_head
from flyfs.store.directory_lock import DirectoryLock
from flyfs.store.eviction import Disk

FORMAT = "flyfs store 1\n"
VERSION_NAME, PEER_ID_NAME, BLOBS_NAME, DROPPED_NAME = "version", "peer-id", "blobs", "dropped"


class CacheDirectory:
    """An open, locked cache directory."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory where there is none, and locks it.

        Raises:
            ConfigError: it cannot be made or written, another process has it, or another version of flyfs made it.
        """
        self.path = directory
        try:
            directory.mkdir(mode=effects.DIRECTORY_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the cache directory {directory}: {error.strerror}") from error
        self._lock = DirectoryLock(directory)
        self._disk = Disk(free_bytes=0, whole_bytes=0)
        self._descriptors: list[int] = []
        try:
            self._fd = self._open_directory(directory, None)
            self._check_version()
            self.peer_id = self._read_peer_id()
            for name in (BLOBS_NAME, DROPPED_NAME):
                effects.ensure_directory(self._fd, name)
            self.blobs_fd = self._open_directory(BLOBS_NAME, self._fd)
            self._dropped_fd = self._open_directory(DROPPED_NAME, self._fd)
            effects.sync_entries(self._fd)
        except OSError as error:
            self.close()
            raise ConfigError(f"cannot use the cache directory {directory}: {error.strerror}") from error
        except ConfigError:
            self.close()
            raise

    def close(self) -> None:
        """Gives the directory back."""
        for fd in self._descriptors:
            os.close(fd)
        self._lock.close()

    def scan(self) -> Iterator[tuple[Blob, int, float]]:
        """All blobs with the bytes of their durable pieces and when they were last used (seconds since 1970).

        Reads two small files per blob. What is no blob, or has a damaged head, is set aside; unknown names are left alone.
        """
        for above in effects.names_in(self.blobs_fd):
            try:
                fd = os.open(above, effects.DIRECTORY, dir_fd=self.blobs_fd)
            except OSError:  # no directory of ours
                continue
            try:
                names = effects.names_in(fd)
            finally:
                os.close(fd)
            yield from self._scan(above, names)

    def set_aside(self, blob_id: BlobId) -> bool:
        """Moves a blob's directory, if there is one, to where ``sweep`` removes it; True where there was one. Raises OSError."""
        name = f"{blob_id}.{secrets.token_hex(8)}"
        try:
            effects.rename(directory_of(blob_id), name, directory_fd=self.blobs_fd, new_directory_fd=self._dropped_fd)
        except FileNotFoundError:
            return False
        return True

    def sync_set_aside(self, blob_id: BlobId) -> None:
        """After it, a crash does not bring a blob back that was set aside. Raises OSError."""
        above = os.open(blob_id[:2], effects.DIRECTORY, dir_fd=self.blobs_fd)
        try:
            effects.sync_entries(above)
            effects.sync_entries(self._dropped_fd)
        finally:
            os.close(above)

    def sweep(self) -> None:
        """Removes what was set aside; what cannot be removed now is left for the next time."""
        for name in effects.names_in(self._dropped_fd):
            shutil.rmtree(self.path / DROPPED_NAME / name, ignore_errors=True)
            with suppress(OSError):  # it was a directory, as it should be, and is gone
                effects.remove_file(self._dropped_fd, name)

    def tell_used(self, blob_ids: Iterator[BlobId]) -> None:
        """Remembers the order of use (the least recently used first) in the times of the heads. Raises OSError."""
        now_ns = time.time_ns()
        for after_ns, blob_id in enumerate(blob_ids):
            used_ns = now_ns + after_ns
            try:
                os.utime(f"{directory_of(blob_id)}/{HEAD}", ns=(used_ns, used_ns), dir_fd=self.blobs_fd, follow_symlinks=False)
            except FileNotFoundError:
                continue

    def disk(self) -> Disk:
        """What the file system has, from memory; a disk that cannot tell has what it had."""
        try:
            found = os.fstatvfs(self._fd)
        except OSError:
            return self._disk
        self._disk = Disk(
            free_bytes=found.f_bavail * found.f_frsize,
            whole_bytes=found.f_blocks * found.f_frsize,
            free_inodes=found.f_favail if found.f_files else None,  # 0 of 0: it makes them as they are needed (btrfs)
        )
        return self._disk

    def can_punch(self) -> bool:
        """Whether files here can lose pieces; found out behind the end of one that has nothing there to lose."""
        try:
            fd = os.open(VERSION_NAME, effects.WRITE, dir_fd=self._fd)
        except OSError:
            return False
        try:
            effects.punch_hole(fd, MIB, 2 * MIB)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def _scan(self, above: str, names: list[str]) -> Iterator[tuple[Blob, int, float]]:
        for name in names:
            try:
                blob_id = ids.blob_id(name)
            except ValueError:
                continue
            if blob_id[:2] == above and (found := self._look_at_or_set_aside(blob_id)) is not None:
                yield found

    def _look_at_or_set_aside(self, blob_id: BlobId) -> tuple[Blob, int, float] | None:
        try:
            return self._look_at(blob_id)
        except (FileNotFoundError, NotADirectoryError, Corrupt):
            self.set_aside(blob_id)
        except OSError:  # a passing fault, or the disk's: the start goes on without this blob
            pass
        return None

    def _look_at(self, blob_id: BlobId) -> tuple[Blob, int, float]:
        fd = os.open(directory_of(blob_id), effects.DIRECTORY, dir_fd=self.blobs_fd)
        try:
            blob = read_head(fd, blob_id)
            durable = read_durable(fd, blob)
            free_unmarked(fd, blob, durable)
            used_at = max(_modified_s(fd, HEAD), _modified_s(fd, DURABLE) if durable.count else 0.0)
        finally:
            os.close(fd)
        return blob, bytes_of(blob, durable.count, last=durable.length > 0 and durable.length - 1 in durable), used_at

    def _open_directory(self, name: str | Path, directory_fd: int | None) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC  # the directory itself may be a link of the operator's
        fd = os.open(name, flags if directory_fd is None else effects.DIRECTORY, dir_fd=directory_fd)
        self._descriptors.append(fd)
        return fd

    def _check_version(self) -> None:
        try:
            found = effects.read_file(self._fd, VERSION_NAME)
        except FileNotFoundError:
            effects.replace_file(self._fd, VERSION_NAME, FORMAT.encode(), sync=True)
            return
        if found != FORMAT.encode():
            raise ConfigError(
                f"the cache directory {self.path} has the format {found[:40].decode('utf-8', 'replace').strip()!r}, "
                f"and this version reads {FORMAT.strip()!r}; give another one (--cache), or remove it"
            )

    def _read_peer_id(self) -> PeerId:
        try:
            return ids.peer_id(effects.read_file(self._fd, PEER_ID_NAME).decode("ascii").strip())
        except (FileNotFoundError, ValueError):  # also what is no ASCII: a damaged id is as good as none
            fresh = PeerId(secrets.token_hex(16))
            effects.replace_file(self._fd, PEER_ID_NAME, f"{fresh}\n".encode(), sync=True)
            return fresh


def bytes_of(blob: Blob, pieces: int, *, last: bool) -> int:
    """What ``pieces`` pieces of a blob take, the shorter last one among them or not."""
    return pieces * blob.piece_size - (len(blob.grid) * blob.piece_size - blob.size if last else 0)


def _modified_s(directory_fd: int, name: str) -> float:
    return os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mtime
