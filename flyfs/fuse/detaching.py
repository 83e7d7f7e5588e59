"""Asking about, and taking away, a mount without ever waiting for it: in a short-lived child, under a deadline. Shell.

Whoever names a path on a mount may wait for the daemon that serves it, and that wait cannot always be killed; so a child does
it, and a child that does not come back is left behind.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from flyfs.core.mountinfo import MOUNTINFO, Mount, parse_mountinfo, top_mount
from flyfs.fuse.errno_map import is_connection_gone

DEADLINE_S = 5.0
_POLL_S = 0.01

_ASK = """
import os, sys
try:
    os.statvfs(sys.argv[1])
except OSError as error:
    sys.exit(error.errno)
"""
_DETACH = """
import ctypes, os, sys
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
libc = ctypes.CDLL(None, use_errno=True)
if libc.umount2(os.fsencode(sys.argv[1]), MNT_DETACH | UMOUNT_NOFOLLOW):
    sys.exit(ctypes.get_errno())
"""


def mount_at(mountpoint: Path) -> Mount | None:
    """What is mounted at ``mountpoint``, read from the kernel's table."""
    return top_mount(parse_mountinfo(Path(MOUNTINFO).read_bytes()), str(mountpoint))


def is_dead(mountpoint: Path) -> bool:
    """Whether nobody serves the FUSE mount at ``mountpoint`` any more; one that does not answer in time is alive."""
    # statvfs is never answered from the kernel's cache, unlike stat.
    status = _status_of([sys.executable, "-I", "-S", "-c", _ASK, str(mountpoint)])
    return status is not None and status > 0 and is_connection_gone(OSError(status, ""))


def detach(mountpoint: Path) -> bool:
    """Takes the uppermost mount away from ``mountpoint``, even if it is in use; True where that was done."""
    if os.geteuid() == 0:
        command = [sys.executable, "-I", "-S", "-c", _DETACH, str(mountpoint)]
    else:
        command = ["fusermount3", "-u", "-z", "-q", "--", str(mountpoint)]
    return _status_of(command) == 0


def _status_of(command: list[str]) -> int | None:
    """A child's exit status, None where it did not end in time."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + DEADLINE_S
    while child.poll() is None:
        if time.monotonic() >= until:
            child.kill()  # not waited for: it may be in a wait that only the mount's end ends
            return None
        time.sleep(_POLL_S)
    return child.returncode
