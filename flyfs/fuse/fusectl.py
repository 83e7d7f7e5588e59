"""The kernel's limits of one FUSE connection, where the host has not mounted fusectl: set from a short-lived child. Shell.

Containers and small systems have no ``/sys/fs/fuse/connections``. The child mounts it in a mount namespace of its own, writes
the two limits and ends, and the mount with it: nothing of the host is changed but the connection.
"""

import subprocess
import sys

import structlog

DEADLINE_S = 5.0

_SET = """
import ctypes, os, sys
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
libc = ctypes.CDLL(None, use_errno=True)
def call(function, *arguments):
    if function(*arguments):
        sys.exit(ctypes.get_errno())
call(libc.unshare, CLONE_NEWNS)
call(libc.mount, b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
call(libc.mount, b"fusectl", b"/sys/fs/fuse/connections", b"fusectl", ctypes.c_ulong(0), None)
connection = "/sys/fs/fuse/connections/" + sys.argv[1]
for name, value in zip(("max_background", "congestion_threshold"), sys.argv[2:]):
    with open(connection + "/" + name, "w") as file:
        file.write(value)
"""

log = structlog.get_logger()


def set_limits(minor: int, *, max_background: int, congestion_threshold: int) -> bool:
    """Sets both limits of the connection; False where that is not permitted (it needs root). Blocks for some 30 ms."""
    words = [sys.executable, "-I", "-S", "-c", _SET, str(minor), str(max_background), str(congestion_threshold)]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        log.debug("fuse.fusectl.timeout", minor=minor)
        return False
    if done.returncode:
        log.debug("fuse.fusectl.refused", minor=minor, status=done.returncode, why=done.stderr.decode("utf-8", "replace")[-200:])
    return done.returncode == 0
