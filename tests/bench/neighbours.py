"""The other filesystems: rclone's mount of an HTTP tree as Debian ships it, and the toy. Shell."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.ground import BIG, Ground, mounts, wait_until
from tests.bench.processes import ChildFailed, running


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherMount:
    """A served mount; ``big`` is where the big file is seen, ``cache`` where bytes are kept, if any are."""

    pid: int
    mountpoint: Path
    big: str
    stored: tuple[Path, ...]

    def stored_files(self) -> list[str]:
        """Where the bytes lie."""
        return [
            str(path)
            for place in self.stored
            for path in ([place] if place.is_file() else sorted(place.rglob("*")))
            if path.is_file()
        ]


@contextmanager
def an_rclone_mount(ground: Ground, mode: str) -> Iterator[OtherMount]:
    """``rclone mount`` with ``--vfs-cache-mode`` of ``mode``, a fresh cache, and its defaults otherwise."""
    with ground.directory("rclone-cache") as cache, ground.mountpoint("rclone") as mountpoint:
        words = ["rclone", "mount", ":http:", str(mountpoint), "--http-url", ground.origin.url(), "--vfs-cache-mode", mode]
        words += ["--cache-dir", str(cache), "--config", str(cache / "none.conf"), "--read-only"]
        with _served(ground, words, mountpoint) as pid:
            yield OtherMount(pid=pid, mountpoint=mountpoint, big=f"{mountpoint}/{BIG}", stored=(cache / "vfs",))


@contextmanager
def a_toy_mount(ground: Ground) -> Iterator[OtherMount]:
    """The toy in front of the big file."""
    with ground.mountpoint("toy") as mountpoint:
        words = [sys.executable, "-m", "tests.bench.toy", str(ground.root / BIG), str(mountpoint)]
        with _served(ground, words, mountpoint) as pid:
            yield OtherMount(pid=pid, mountpoint=mountpoint, big=f"{mountpoint}/file", stored=(ground.root / BIG,))


@contextmanager
def _served(ground: Ground, words: list[str], mountpoint: Path) -> Iterator[int]:
    log = ground.scratch / f"{mountpoint.name}.log"
    with running(words, log=log) as child:
        wait_until(lambda: child.poll() is not None or str(mountpoint) in mounts(), what=f"a mount by {words[0]}")
        if child.poll() is not None:
            raise ChildFailed(f"{words[0]} ended: {log.read_text()[-500:]}")
        yield child.pid


def missing() -> frozenset[str]:
    """Programs of neighbours that are not installed: their contenders are left out."""
    return frozenset(name for name in ("rclone", "curl") if shutil.which(name) is None)
