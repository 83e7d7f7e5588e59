"""A disk that forgets: what would be there after a power cut, for the crash tests of the store.

It lets all effects happen for real and remembers what was synced. After a chosen number of effects it stops the process'
further effects; then ``rebuild`` makes the directory that a machine would find, in four ways, because a file system may, but
need not, have written names and contents that nobody synced.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flyfs.store import effects

_EFFECTS = (
    "create_file", "write_at", "write_run", "punch_hole", "set_length", "sync_data", "sync_entries", "rename", "make_directory",
)  # fmt: skip


class PowerCutError(BaseException):
    """No handler of the store may treat this as an error of the disk."""


class Platter:
    def __init__(self, root: Path, cut_after: int) -> None:
        self.root = root
        self.cut_after = cut_after
        self.effects = 0
        self._contents: dict[int, bytes] = {}  # inode → synced content
        self._names: dict[int, dict[str, int]] = {}  # directory's inode → synced names
        self._kinds: dict[int, bool] = {}  # inode → is a directory

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in _EFFECTS:
            patch.setattr(effects, name, self._watched(name, getattr(effects, name)))
        remove_file = effects.remove_file

        def remove_existing(directory_fd: int, name: str) -> None:
            if name in effects.names_in(directory_fd):  # else it is no effect
                self._before()
                remove_file(directory_fd, name)

        patch.setattr(effects, "remove_file", remove_existing)

    def _watched(self, name: str, effect: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            self._before()
            # What a sync brings is remembered here; the real disk need not be bothered.
            result = None if name.startswith("sync_") else effect(*arguments, **named)
            match name:
                case "create_file":
                    self._contents.pop(os.fstat(result).st_ino, None)
                case "sync_data":
                    self._contents[os.fstat(arguments[0]).st_ino] = content_of(arguments[0])
                case "sync_entries":
                    self._sync_entries(arguments[0])
            return result

        return run

    def _before(self) -> None:
        if self.effects >= self.cut_after:
            raise PowerCutError
        self.effects += 1

    def _sync_entries(self, directory_fd: int) -> None:
        with os.scandir(directory_fd) as entries:
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
        self._names[os.fstat(directory_fd).st_ino] = {name: one.st_ino for name, one in found.items()}
        self._kinds.update((one.st_ino, stat.S_ISDIR(one.st_mode)) for one in found.values())

    def rebuild(self, target: Path, *, late_names: bool, late_contents: bool) -> None:
        """What is there after the cut, with or without the names and contents that were not synced."""
        live: dict[int, bytes] = {}
        live_names: dict[int, dict[str, int]] = {}
        kinds = dict(self._kinds)
        for at, _, files in os.walk(self.root):
            children = {path.name: path.lstat() for path in Path(at).iterdir()}
            live_names[Path(at).stat().st_ino] = {name: one.st_ino for name, one in children.items()}
            kinds.update((one.st_ino, stat.S_ISDIR(one.st_mode)) for one in children.values())
            live.update((children[name].st_ino, (Path(at) / name).read_bytes()) for name in files)
        names = live_names if late_names else self._names
        contents = {**self._contents, **live} if late_contents else self._contents

        def build(inode: int, path: Path) -> None:
            path.mkdir(mode=0o700)
            for name, child in names.get(inode, {}).items():
                if kinds[child]:
                    build(child, path / name)
                else:
                    (path / name).write_bytes(contents.get(child, b""))

        build(self.root.stat().st_ino, target)


def content_of(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)
