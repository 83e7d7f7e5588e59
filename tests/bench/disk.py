"""A disk of its own, whose traffic nobody else adds to, as slow as wanted: ext4 on a loop device. Shell; needs root.

The device passes the page cache of its file by, so that bytes are cached once. Slowness is the kernel's: the block throttle of
the root control group (version 1), which counts what is written back for whomever; and the device may have one per cent of the
dirty pages that others may, so that writers meet a slow disk after seconds, not minutes.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.ground import MIB, Ground, detach
from tests.bench.processes import finish

_COMMAND_S = 60.0
_SECTOR_BYTES = 512
_THROTTLE = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")


def can_throttle() -> bool:
    """Whether this kernel and its control groups let a disk be slow."""
    return _THROTTLE.exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A mounted one."""

    device: str
    place: Path

    @property
    def _sys(self) -> Path:
        return Path("/sys/block", self.device.removeprefix("/dev/"))

    def settle(self) -> None:
        """What is dirty now is written."""
        finish(["sync", "--file-system", str(self.place)], limit_s=_COMMAND_S)

    def written_bytes(self) -> int:
        """What it has written so far, journal and all."""
        return int((self._sys / "stat").read_text().split()[6]) * _SECTOR_BYTES

    def mount_again(self) -> None:
        """Nothing of it is in memory any more."""
        finish(["umount", str(self.place)], limit_s=_COMMAND_S)
        finish(["mount", self.device, str(self.place)], limit_s=_COMMAND_S)

    @contextmanager
    def slowed(self, write_bytes_per_s: int) -> Iterator[None]:
        """It takes no more than so much."""
        number = (self._sys / "dev").read_text().strip()
        settings = Path("/sys/class/bdi", number)
        (settings / "max_ratio").write_text("1")
        (settings / "strict_limit").write_text("1")
        _THROTTLE.write_text(f"{number} {write_bytes_per_s}\n")
        try:
            yield
        finally:
            _THROTTLE.write_text(f"{number} 0\n")  # the rule would outlast the device
            (settings / "strict_limit").write_text("0")
            (settings / "max_ratio").write_text("100")


@contextmanager
def a_disk(ground: Ground, size_bytes: int, *, bytes_per_inode: int = 16384) -> Iterator[Disk]:
    """A fresh one; gone afterwards."""
    with ground.directory("disk") as directory, ExitStack() as stack:
        image, place = directory / "image", directory / "mnt"
        place.mkdir()
        # Written once, because a file whose room is only promised takes it page by page.
        words = ["dd", "if=/dev/zero", f"of={image}", "bs=1M", f"count={size_bytes // MIB}", "conv=fsync", "status=none"]
        finish(words, limit_s=_COMMAND_S)
        options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
        finish(["mkfs.ext4", "-q", "-F", "-i", str(bytes_per_inode), "-E", options, str(image)], limit_s=_COMMAND_S)
        device = finish(["losetup", "--find", "--show", "--direct-io=on", str(image)], limit_s=_COMMAND_S).strip()
        stack.callback(finish, ["losetup", "--detach", device], limit_s=_COMMAND_S)
        stack.callback(detach, place)
        finish(["mount", device, str(place)], limit_s=_COMMAND_S)
        yield Disk(device=device, place=place)
