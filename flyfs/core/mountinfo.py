"""The kernel's table of mounts (proc(5), ``/proc/PID/mountinfo``), so that nobody touches a mountpoint to learn of it. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

MOUNTINFO = "/proc/self/mountinfo"
"""The table of this process's namespace."""
SUBTYPE = "flyfs"
"""What our mounts call themselves."""

_FILESYSTEM = f"fuse.{SUBTYPE}"
_LINE = re.compile(  # identifier, parent, device, root, mountpoint, options, optional fields - type, source, options
    rb"(\d{1,10}) \d+ (\d{1,10}):(\d{1,10}) [^ ]+ ([^ ]+) [^ ]+(?: [^ ]+)*? - ([^ ]+) ([^ ]*)(?: .*)?", re.DOTALL
)
_ESCAPED = re.compile(rb"\\([0-3][0-7]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of the table.

    Attributes:
        mount_id: of this mount, until it is unmounted.
        major: of the device number.
        minor: of the device number; names a FUSE connection.
        mountpoint: absolute, without symbolic links; bytes that are no UTF-8 are surrogates, as ``os.fsdecode`` has them.
        filesystem: its type, as in ``ext4`` or ``fuse.flyfs``.
        source: what its mounter called it.
    """

    mount_id: int
    major: int
    minor: int
    mountpoint: str
    filesystem: str
    source: str

    @property
    def is_flyfs(self) -> bool:
        """Whether a flyfs daemon mounted it."""
        return self.filesystem == _FILESYSTEM


def parse_mountinfo(table: bytes) -> list[Mount]:
    """The mounts in a table, oldest first: of two at one place the later is seen. Lines that are none are passed over."""
    found = (_LINE.fullmatch(line) for line in table.split(b"\n"))  # a name may hold any other sign
    return [
        Mount(
            mount_id=int(line[1]),
            major=int(line[2]),
            minor=int(line[3]),
            mountpoint=_text(line[4]),
            filesystem=_text(line[5]),
            source=_text(line[6]),
        )
        for line in found
        if line is not None
    ]


def top_mount(mounts: Sequence[Mount], mountpoint: str) -> Mount | None:
    """What is seen at ``mountpoint`` (absolute, normal), None where nothing is mounted exactly there."""
    return next((mount for mount in reversed(mounts) if mount.mountpoint == mountpoint), None)


def innermost_mount(mounts: Sequence[Mount], path: str) -> Mount | None:
    """The mount in which ``path`` (absolute, without symbolic links) lies; None only without a root."""
    over = [mount for mount in mounts if PurePath(path).is_relative_to(mount.mountpoint)]
    return max(reversed(over), key=lambda mount: len(mount.mountpoint), default=None)


def _text(field: bytes) -> str:
    """The kernel writes blanks and backslashes as octal bytes; other bytes come as they are."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), field).decode("utf-8", "surrogateescape")
