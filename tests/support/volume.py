"""A small file system of its own, for a cache that has to live within it; needs root. Shell."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SAMPLE_S = 0.005


class Volume:
    """A mounted volume at ``place``."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @classmethod
    @contextmanager
    def tmpfs(cls, place: Path, size: int) -> Iterator["Volume"]:
        """In memory; nothing of it is left afterwards."""
        place.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", place], check=True, timeout=10)
        try:
            yield cls(place)
        finally:
            subprocess.run(["umount", place], check=True, timeout=10)

    @classmethod
    @contextmanager
    def ext4(cls, place: Path, size: int) -> Iterator["Volume"]:
        """On a loop device over a sparse file beside ``place``."""
        place.mkdir(parents=True)
        image = place.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True, timeout=30)
        subprocess.run(["mount", "-o", "loop", image, place], check=True, timeout=10)
        try:
            yield cls(place)
        finally:
            subprocess.run(["umount", place], check=True, timeout=30)
            image.unlink()

    @property
    def size_bytes(self) -> int:
        """All of it."""
        found = os.statvfs(self.place)
        return found.f_blocks * found.f_frsize

    @property
    def free_bytes(self) -> int:
        """What is left for everybody."""
        found = os.statvfs(self.place)
        return found.f_bavail * found.f_frsize

    def fill(self, name: str = "filler", *, but: int = 0) -> Path:
        """Takes all room but so many bytes, in a file of somebody else."""
        filler = self.place / name
        with filler.open("ab") as file:
            while (left := self.free_bytes - but) > 0:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), left)
                except OSError:  # somebody was faster: what is left now
                    continue
        return filler


@contextmanager
def watched(volume: Volume) -> Iterator[list[int]]:
    """Samples how many bytes are free, for as long as the block runs: the least of them is the last of the list."""
    least = [volume.free_bytes]
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_S):
            free_bytes = volume.free_bytes
            if free_bytes < least[-1]:
                least.append(free_bytes)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield least
    finally:
        ended.set()
        thread.join()
