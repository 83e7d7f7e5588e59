"""A disk that forgets, for the crash tests of the store.

A ``Recorder`` lets all effects happen for real and writes them down, as a ``Disk`` would see them. From any beginning of what it
wrote down, ``Disk.cut`` makes what a machine would find after a power cut: what was synced, and of the rest any sectors in any
order, one of them torn, and any of the names that a directory had since it was synced. A sync may be made to fail: then some
sectors are on the disk and the others never will be, although the kernel goes on showing them.
"""

import os
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from flyfs.core.ids import BlobId
from flyfs.core.manifest import piece_digest
from flyfs.store import effects, faults

_EFFECTS = (
    "create_file", "make_directory", "write_at", "write_run", "punch_hole", "set_length", "sync_data", "sync_entries", "rename",
    "remove_file",
)  # fmt: skip

SECTOR_BYTES = 512
File = int
"""One file or directory for ever: inode numbers are used again, these are not."""


@dataclass(frozen=True, slots=True)
class Sector:
    """New bytes within one sector; without bytes: the file's new length."""

    offset: int
    data: bytes | None


def sectors_of(data: bytes, offset: int) -> list[Sector]:
    cuts = [0, *range(SECTOR_BYTES - offset % SECTOR_BYTES, len(data), SECTOR_BYTES), len(data)]
    return [Sector(offset + start, data[start:stop]) for start, stop in pairwise(cuts) if start < stop]


# What is written down. -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Changed:
    """A file got new bytes or another length; they may reach the disk from now on."""

    file: File
    sectors: tuple[Sector, ...]


@dataclass(frozen=True, slots=True)
class Synced:
    file: File


@dataclass(frozen=True, slots=True)
class SyncFailed:
    """Of the bytes only ``kept`` has reached the disk, the rest never will. A length is not lost: it is the journal's."""

    file: File
    kept: tuple[Sector, ...]


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Somebody reads past the page cache, so the kernel wrote what was dirty first."""

    file: File


@dataclass(frozen=True, slots=True)
class Named:
    """A name leads to a file, or to none any more."""

    directory: File
    name: str
    file: File | None


@dataclass(frozen=True, slots=True)
class NamesSynced:
    directory: File


@dataclass(frozen=True, slots=True)
class Told:
    """Somebody was told that a piece survives a crash."""

    blob_id: BlobId
    piece: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Pieces of a blob are about to go, or all of it: what was told of them does not hold any more."""

    blob_id: BlobId
    pieces: frozenset[int] | None = None


Entry = Changed | Synced | SyncFailed | ReadBack | Named | NamesSynced | Told | Withdrawn


# The disk. -----------------------------------------------------------------------------------------------------------


@dataclass
class Content:
    stable: bytearray = field(default_factory=bytearray)
    volatile: list[Sector] = field(default_factory=list)  # on the disk, until the power is cut
    dirty: list[Sector] = field(default_factory=list)  # in the page cache

    def sync(self) -> None:
        apply(self.stable, [*self.volatile, *self.dirty])
        self.volatile, self.dirty = [], []

    def on_disk(self) -> bytes:
        content = bytearray(self.stable)
        apply(content, self.volatile)
        return bytes(content)

    def cut(self, chance: random.Random) -> bytes:
        content = bytearray(self.stable)
        share = chance.choice([0.0, 0.3, 0.7, 1.0])
        survivors = [sector for sector in (*self.volatile, *self.dirty) if chance.random() < share]
        if chance.random() < 0.5:
            chance.shuffle(survivors)
        if survivors and (last := survivors[-1]).data is not None and chance.random() < 0.5:
            survivors[-1] = Sector(last.offset, last.data[: chance.randrange(len(last.data))])
        apply(content, survivors)
        return bytes(content)


def apply(content: bytearray, sectors: Sequence[Sector]) -> None:
    for sector in sectors:
        stop = sector.offset + len(sector.data or b"")
        if sector.data is None:
            del content[stop:]
        content.extend(bytes(max(0, stop - len(content))))
        if sector.data is not None:
            content[sector.offset : stop] = sector.data


class Disk:
    """What is on it, and what was promised of it."""

    def __init__(self, root: File = 0) -> None:
        self.root = root
        self.contents: dict[File, Content] = {}
        self.names: dict[File, dict[str, list[File | None]]] = {root: {}}  # → what each name was since the last sync
        self.told: dict[BlobId, set[int]] = {}

    def take(self, entry: Entry) -> None:
        match entry:
            case Changed(file, sectors):
                self.contents.setdefault(file, Content()).dirty.extend(sectors)
            case Synced(file):
                self.contents[file].sync()
            case SyncFailed(file, kept):
                content = self.contents[file]
                content.volatile.extend(kept)
                content.dirty = [change for change in content.dirty if change.data is None]
            case ReadBack(file):
                content = self.contents[file]
                content.volatile += content.dirty
                content.dirty = []
            case Named(directory, name, file):
                self.names.setdefault(directory, {}).setdefault(name, [None]).append(file)
            case NamesSynced(directory):
                self.names[directory] = {name: [states[-1]] for name, states in self.names.get(directory, {}).items()}
            case Told(blob_id, piece):
                self.told.setdefault(blob_id, set()).add(piece)
            case Withdrawn(blob_id, None):
                self.told.pop(blob_id, None)
            case Withdrawn(blob_id, pieces):
                self.told[blob_id] -= pieces

    def cut(self, target: Path, chance: random.Random) -> None:
        """Makes the directory that is found after a power cut now."""
        self._build(self.root, target, chance)

    def _build(self, directory: File, path: Path, chance: random.Random) -> None:
        path.mkdir(mode=0o700)
        late = chance.choice([0.0, 0.5, 1.0])
        for name, states in self.names.get(directory, {}).items():
            file = chance.choice(states) if chance.random() < 0.5 else states[-1 if chance.random() < late else 0]
            if file is None:
                continue
            if file in self.contents:
                (path / name).write_bytes(self.contents[file].cut(chance))
            else:
                self._build(file, path / name, chance)


# The recorder. -------------------------------------------------------------------------------------------------------


class Recorder:
    """Writes the effects of one process down."""

    def __init__(self, root: Path, *, failing_syncs: frozenset[int] = frozenset(), seed: int = 0) -> None:
        """The syncs of data files with these numbers (from 0) fail."""
        self.entries: list[Entry] = []
        self.data_files: set[File] = set()
        self._data_syncs = 0
        self._failing_syncs = failing_syncs
        self._chance = random.Random(seed)
        self._disk = Disk()
        self._serials = count(1)
        self._files: dict[int, File] = {root.stat().st_ino: 0}  # inode → which file that is now
        self._one = threading.RLock()

    def write_down(self, entry: Entry) -> None:
        with self._one:
            self.entries.append(entry)
            self._disk.take(entry)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in _EFFECTS:
            patch.setattr(effects, name, getattr(self, f"_{name}"))
        patch.setattr(effects, "start_writeback", lambda *_: None)  # changes nothing that a cut could tell
        patch.setattr(faults, "fault_of", self._fault_of)

    def _file(self, fd: int) -> File:
        return self._files[os.fstat(fd).st_ino]

    def _place(self, directory_fd: int, name: str) -> tuple[File, str]:
        """Which directory a name lies in, and what it is called there."""
        above, _, last = name.rpartition("/")
        return (self._files[os.stat(above, dir_fd=directory_fd).st_ino] if above else self._file(directory_fd)), last

    def _new(self, inode: int) -> File:
        with self._one:
            self._files[inode] = next(self._serials)
            return self._files[inode]

    def _create_file(self, directory_fd: int, name: str, size: int = 0) -> int:
        fd = _CREATE_FILE(directory_fd, name, size)
        file = self._new(os.fstat(fd).st_ino)
        self.write_down(Changed(file, (Sector(size, None),)))
        self.write_down(Named(*self._place(directory_fd, name), file))
        return fd

    def _make_directory(self, directory_fd: int, name: str) -> None:
        _MAKE_DIRECTORY(directory_fd, name)
        file = self._new(os.stat(name, dir_fd=directory_fd).st_ino)
        self.write_down(Named(*self._place(directory_fd, name), file))

    def _write_at(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        self.write_down(Changed(self._file(fd), tuple(sectors_of(bytes(data), offset))))
        _WRITE_AT(fd, data, offset)

    def _write_run(self, fd: int, pieces: Sequence[memoryview], offset: int) -> None:
        self.write_down(Changed(self._file(fd), tuple(sectors_of(b"".join(pieces), offset))))
        _WRITE_RUN(fd, pieces, offset)

    def _punch_hole(self, fd: int, start: int, stop: int) -> None:
        within = min(stop, os.fstat(fd).st_size) - start  # a hole makes no file longer
        if within > 0:
            self.write_down(Changed(self._file(fd), tuple(sectors_of(bytes(within), start))))
        _PUNCH_HOLE(fd, start, stop)

    def _set_length(self, fd: int, size: int) -> None:
        self.write_down(Changed(self._file(fd), (Sector(size, None),)))
        _SET_LENGTH(fd, size)

    def _sync_data(self, fd: int) -> None:
        """The real disk need not be bothered: what a sync brings is what was written down before."""
        file = self._file(fd)
        if os.readlink(f"/proc/self/fd/{fd}").split(" ")[0].endswith("/data"):
            self.data_files.add(file)
            self._data_syncs += 1
            if self._data_syncs - 1 in self._failing_syncs:
                with self._one:
                    dirty = [sector for sector in self._disk.contents[file].dirty if sector.data is not None]
                    kept = tuple(sector for sector in dirty if self._chance.random() < 0.9)
                    self.write_down(SyncFailed(file, kept))
                raise OSError(5, "Input/output error")
        self.write_down(Synced(file))

    def _sync_entries(self, directory_fd: int) -> None:
        self.write_down(NamesSynced(self._file(directory_fd)))

    def _rename(self, name: str, new_name: str, *, directory_fd: int, new_directory_fd: int) -> None:
        inode = os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_ino
        _RENAME(name, new_name, directory_fd=directory_fd, new_directory_fd=new_directory_fd)
        with self._one:
            self.write_down(Named(*self._place(new_directory_fd, new_name), self._files[inode]))
            self.write_down(Named(*self._place(directory_fd, name), None))

    def _remove_file(self, directory_fd: int, name: str) -> None:
        if name in effects.names_in(directory_fd):  # else it is no effect
            self.write_down(Named(*self._place(directory_fd, name), None))
            _REMOVE_FILE(directory_fd, name)

    def _fault_of(self, direct: int, start: int, stop: int, digest: bytes) -> str | None:
        with self._one:
            self.write_down(ReadBack(self._file(direct)))
            data = self._disk.contents[self._file(direct)].on_disk()[start:stop]
        return None if piece_digest(data) == digest else faults.WRONG_BYTES


_CREATE_FILE: Any = effects.create_file
_MAKE_DIRECTORY: Any = effects.make_directory
_WRITE_AT: Any = effects.write_at
_WRITE_RUN: Any = effects.write_run
_PUNCH_HOLE: Any = effects.punch_hole
_SET_LENGTH: Any = effects.set_length
_RENAME: Any = effects.rename
_REMOVE_FILE: Any = effects.remove_file
