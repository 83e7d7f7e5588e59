"""How much memory this process may fill. Shell: asks the kernel.

A control group's limit counts like the machine's: its page cache is charged to it, and its writers are stalled by it.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_MEMBERSHIP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def memory_bytes(membership: Path = _MEMBERSHIP, groups: Path = _GROUPS) -> int:
    """The machine's memory, or what the narrowest control group around this process allows.

    Args:
        membership: lines ``ID:CONTROLLERS:PATH`` (cgroups(7)); version 2 has the one with the ID 0.
        groups: where control groups are mounted.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _limit_files(membership, groups):
        with suppress(OSError, ValueError):  # not mounted, without this controller, or the word "max"
            limits.append(int(path.read_text()))
    return min(limits)


def _limit_files(membership: Path, groups: Path) -> Iterator[Path]:
    """The limits of the groups around this process; in a namespace of its own its group is the mount's root."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # a kernel without control groups
        return
    for line in lines:
        number, controllers, name = line.split(":", 2)
        group = PurePosixPath(name.lstrip("/"))
        for path in (group, *group.parents):
            if number == "0":
                yield groups / path / "memory.max"
            elif "memory" in controllers.split(","):
                yield groups / "memory" / path / "memory.limit_in_bytes"
