"""An ext4 of its own on a loop device over a file, and how its power is cut. Shell; needs root.

The loop device ends with its last mount, whoever ends that (``mount -o loop`` sets autoclear).
"""

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flyfs.core.grid import MIB
from flyfs.core.mountinfo import MOUNTINFO, parse_mountinfo

_EXT4_IOC_SHUTDOWN = 0x8004587D
"""``_IOR('X', 125, __u32)``, fs/ext4/ext4.h."""
_EXT4_GOING_FLAGS_NOLOGFLUSH = 2
"""Neither the journal nor any data is written from here on: what a power cut leaves."""
_COMMAND_S = 60.0
_BUSY_S = 10.0
_LOOK_S = 0.02


def run(*words: str | Path) -> None:
    """A command that must succeed.

    Raises:
        RuntimeError: it did not; the message has its complaint.
    """
    done = subprocess.run(list(map(str, words)), stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.decode(errors='replace').strip()}")


@contextmanager
def memory_directory(parent: Path, size_bytes: int = 2048 * MIB) -> Iterator[Path]:
    """A directory in memory, so that a thousand disks cost no disk; gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="memory-", dir=parent))
    try:
        run("mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", place)
        yield place
    finally:
        unmount(place)
        shutil.rmtree(place)


def make_ext4(image: Path, size_bytes: int) -> None:
    """A fresh file system in a sparse file, with nothing left to do in the background."""
    with image.open("wb") as file:
        file.truncate(size_bytes)
    run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", image)


@contextmanager
def mounted(image: Path, mountpoint: Path, options: str = "") -> Iterator[Path]:
    """The file system of ``image``, recovered if it has to be; whoever used it must have ended by the end of the block."""
    mountpoint.mkdir(exist_ok=True)
    try:
        run("mount", "-t", "ext4", "-o", f"loop,{options}" if options else "loop", image, mountpoint)
        yield mountpoint
    finally:
        unmount(mountpoint)


def cut_power(mountpoint: Path) -> None:
    """From here on the disk stays as it is; unmount it, and mount it again."""
    fd = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _EXT4_GOING_FLAGS_NOLOGFLUSH))
    finally:
        os.close(fd)


def is_mounted(place: Path) -> bool:
    """Whether something is mounted there; asks the kernel's table alone."""
    return any(mount.mountpoint == str(place) for mount in parse_mountinfo(Path(MOUNTINFO).read_bytes()))


def unmount(place: Path) -> None:
    """Takes a mount away, if there is one; lazily where it stays busy.

    Raises:
        RuntimeError: it was busy for long: somebody of ours has not ended.
    """
    until = time.monotonic() + _BUSY_S
    while is_mounted(place):
        try:
            run("umount", place)
        except RuntimeError:
            if time.monotonic() > until:
                run("umount", "--lazy", place)
                raise
            time.sleep(_LOOK_S)
