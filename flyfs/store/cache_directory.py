"""The cache directory of one process: its lock, its version, its peer id, and which blobs lie in it. Shell.

A blob that goes is first renamed into ``dropped`` and then removed there, so that no crash leaves half a blob.
"""

import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from flyfs.core import ids
from flyfs.core.errors import ConfigError
from flyfs.core.grid import MIB
from flyfs.core.ids import BlobId, PeerId
from flyfs.store import effects
from flyfs.store.blob_files import DATA, HEAD, directory_of, free_unmarked, stamp_of
from flyfs.store.blob_scan import BLOBS_NAME, FoundBlob, NoBlob, scan_blobs
from flyfs.store.directory_lock import DirectoryLock
from flyfs.store.eviction import Disk
from flyfs.store.trust import CleanBlob, Stamp
from flyfs.wire.records import decode_records, encode_records

_log = structlog.get_logger()

FORMAT = "flyfs store 1\n"
VERSION_NAME, PEER_ID_NAME, DROPPED_NAME, CLEAN_NAME = "version", "peer-id", "dropped", "clean"


class CacheDirectory:
    """An open, locked cache directory."""

    def __init__(self, directory: Path, owner: str = "") -> None:
        """Makes the directory where there is none, and locks it; ``owner`` tells others who has it.

        Raises:
            ConfigError: it cannot be made or written, another process has it, or another version of flyfs made it.
        """
        self.path = directory
        try:
            directory.mkdir(mode=effects.DIRECTORY_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the cache directory {directory}: {error.strerror}") from error
        self._lock = DirectoryLock(directory, owner)
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

    def scan(self) -> list[FoundBlob]:
        """All blobs, the least recently used first. What is no blob, or has a damaged head, is set aside, if it can be now.

        Raises:
            ConfigError: the directory cannot be read.
        """
        found: list[FoundBlob] = []
        try:
            for one in scan_blobs(self.blobs_fd, free_unmarked):
                match one:
                    case FoundBlob():
                        found.append(one)
                    case NoBlob(blob_id):
                        with suppress(OSError):
                            self.set_aside(blob_id)
        except OSError as error:
            raise ConfigError(f"cannot read the cache directory {self.path}: {error.strerror}") from error
        return sorted(found, key=lambda one: one.used_at_s)

    def take_clean_record(self) -> list[CleanBlob]:
        """What the last clean stop recorded, nothing after a crash. It is gone for good when this returns."""
        try:
            content = effects.read_file(self._fd, CLEAN_NAME)
            effects.remove_file(self._fd, CLEAN_NAME)
            effects.sync_entries(self._fd)
        except FileNotFoundError:
            return []
        except OSError as error:  # the next crash would leave it where it is
            _log.warning("store.record.stuck", reason=error.strerror)
            return []
        return decode_records(CleanBlob, content)[0]

    def leave_clean_record(self, blobs: Iterable[CleanBlob]) -> None:
        """Records how a clean stop leaves the blobs; nothing may be written after it."""
        try:
            effects.replace_file(self._fd, CLEAN_NAME, encode_records(blobs), sync=True)
        except OSError as error:  # then the next start proves again what it serves
            _log.warning("store.record.failed", reason=error.strerror)

    def stamp_of(self, blob_id: BlobId) -> Stamp | None:
        """How a blob's data file looks now, None where that cannot be seen."""
        try:
            return stamp_of(os.stat(f"{directory_of(blob_id)}/{DATA}", dir_fd=self.blobs_fd, follow_symlinks=False))
        except OSError:
            return None

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

    def tell_used(self, uses: Iterable[tuple[BlobId, float]]) -> None:
        """Remembers when blobs were used (the least recently used first) in the times of their heads."""
        last_ns = 0
        for blob_id, used_at_s in uses:
            last_ns = max(last_ns + 1, int(used_at_s * 1e9))  # their order, whatever the clock did meanwhile
            try:
                os.utime(f"{directory_of(blob_id)}/{HEAD}", ns=(last_ns, last_ns), dir_fd=self.blobs_fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                _log.warning("store.times.failed", reason=error.strerror)
                return

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
