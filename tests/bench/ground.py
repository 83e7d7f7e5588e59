"""What all contenders stand on: a scratch directory, the origin with its files, and how to wait for a mount. Shell."""

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from flyfs.core.mountinfo import MOUNTINFO, parse_mountinfo
from tests.bench.processes import ChildFailed, descendants, finish, name_of
from tests.bench.reading import ask
from tests.support.nginx import NginxOrigin

MIB = 1 << 20
MB = 10**6
BIG = "big.bin"
OTHER = "other.bin"
"""The same bytes under another name: another blob, but one copy in the origin's page cache."""
SMALL = "small.bin"
MANY = "many"
_DIRECTIVES = "absolute_redirect off;"
"""Else a redirect of NAME to NAME/ names nginx's own port, and misses the slow line in front of it."""
_COMMAND_S = 40.0
_LOOK_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The surroundings of one run.

    Attributes:
        scratch: on a real disk; everything that is made lies below it.
        origin: nginx on loopback, which serves ``scratch/root``.
        big_bytes: size of the big file and its twin.
        small_bytes: size of the file for latencies.
        quick: less of everything.
        peaks_mib: the most memory of each daemon and supernode that has ended, by role.
    """

    scratch: Path
    origin: NginxOrigin
    big_bytes: int
    small_bytes: int
    entries: int
    quick: bool
    peaks_mib: dict[str, list[float]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def root(self) -> Path:
        """What the origin serves."""
        return self.scratch / "root"

    @contextmanager
    def directory(self, name: str, parent: Path | None = None) -> Iterator[Path]:
        """A fresh empty directory, removed afterwards; below ``scratch`` where no other place is given."""
        place = (parent or self.scratch) / f"{name}-{next(self._numbers)}"
        place.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    @contextmanager
    def mountpoint(self, name: str) -> Iterator[Path]:
        """A fresh place to mount at; detached if it still is one in the end, and never looked into."""
        place = self.scratch / f"{name}-{next(self._numbers)}"
        place.mkdir()
        try:
            yield place
        finally:
            detach(place)
            with suppress(OSError):  # an unmount that is under way
                place.rmdir()

    def settle(self) -> None:
        """Lets the disk take what earlier rounds have written, so that this one does not pay for it."""
        finish(["sync", "--file-system", str(self.scratch)], limit_s=120)

    def origin_pids(self) -> list[int]:
        """The origin's processes."""
        return [pid for pid in descendants(os.getpid()) if name_of(pid) == "nginx"]

    def note_peak(self, role: str, mib: float) -> None:
        """Remembers how much memory one had."""
        self.peaks_mib.setdefault(role, []).append(mib)


@contextmanager
def prepared_ground(scratch_parent: Path, *, big_bytes: int, quick: bool) -> Iterator[Ground]:
    """Makes the files, starts the origin, and brings the big file into the page cache; all gone afterwards."""
    with TemporaryDirectory(prefix="flyfs-bench-", dir=scratch_parent) as name:
        scratch = Path(name)
        root = scratch / "root"
        (root / MANY).mkdir(parents=True)
        with (root / BIG).open("wb") as file:
            for _ in range(big_bytes // MIB):
                file.write(os.urandom(MIB))
        (root / OTHER).hardlink_to(root / BIG)
        small_bytes = big_bytes // 8
        with (root / SMALL).open("wb") as file:
            file.write(os.urandom(small_bytes))
        entries = 10_000
        _make_many(root / MANY, entries)
        ask("sequential", path=str(root / BIG))
        with NginxOrigin.serving(root, directives=_DIRECTIVES) as origin:
            yield Ground(
                scratch=scratch, origin=origin, big_bytes=big_bytes, small_bytes=small_bytes, entries=entries, quick=quick
            )


def _make_many(directory: Path, entries: int) -> None:
    """Names of a hundred small files: as many inodes as names would take seconds to write and to remove."""
    for number in range(entries):
        place = directory / f"file-{number:05}.dat"
        if number < 100:
            place.write_bytes(b"x" * number)
        else:
            place.hardlink_to(directory / f"file-{number % 100:05}.dat")


def mounts() -> list[str]:
    """Every mountpoint of this host, from the kernel's table."""
    return [mount.mountpoint for mount in parse_mountinfo(Path(MOUNTINFO).read_bytes())]


def detach(mountpoint: Path) -> None:
    """Takes a mount away whoever serves it, lazily; nothing where there is none."""
    while str(mountpoint) in mounts():
        try:
            finish(["umount", "--lazy", str(mountpoint)], limit_s=10)
        except ChildFailed:
            return


def wait_until(done: Callable[[], bool], *, what: str, limit_s: float = _COMMAND_S) -> None:
    """Looks again and again.

    Raises:
        ChildFailed: it did not come about in time.
    """
    end_s = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > end_s:
            raise ChildFailed(f"not within {limit_s:g} s: {what}")
        time.sleep(_LOOK_S)
