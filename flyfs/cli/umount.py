"""``flyfs umount MOUNTPOINT``: ends a mount and its daemon, and returns once both are gone. Shell.

The mountpoint itself is never asked for anything: what is mounted, and when it is gone, the kernel tells in mountinfo. The
mount of a dead daemon is detached; a daemon that does not answer is told by signal.
"""

import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

from flyfs.config.host import HostConfig, read_umount_config
from flyfs.config.places import mount_name
from flyfs.control.client import ControlClient, find_daemon
from flyfs.control.mounts import flyfs_mountpoints, mount_at, read_mounts
from flyfs.core.errors import Denied, NotFound, RemoteProtocolError, Unavailable
from flyfs.core.mountinfo import MOUNTINFO, Mount

_GONE_S = 30.0
"""As long as a read may wait by default: an unmounting daemon lets its readers finish."""
_DETACH_S = 10.0
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8


def prepare(arguments: Sequence[str]) -> Callable[[], int]:
    """Reads the configuration; raises ConfigError."""
    config = read_umount_config(arguments, os.environ, flyfs_mountpoints())

    def run() -> int:
        assert config.mountpoint is not None  # the command line requires it
        _umount(config, config.mountpoint)
        return 0

    return run


def _umount(config: HostConfig, mountpoint: str) -> None:
    mount = mount_at(mountpoint)
    daemon = find_daemon(config.runtime_directories, mount_name(mountpoint))
    if mount is not None and not mount.is_flyfs:
        raise Denied(f"{mountpoint} is a {mount.filesystem} mount, not one of flyfs; end it with umount")
    if mount is None and daemon is None:
        raise NotFound(f"{mountpoint} is not mounted; flyfs status lists the mounts of this host")
    if daemon is not None:
        _end(daemon, mount)
    if mount is not None and _is_mounted(mount):  # its daemon is dead, or died without unmounting
        _detach(mount)


def _end(daemon: ControlClient, mount: Mount | None) -> None:
    """Ends a daemon and waits for it: it unmounts before it ends, and its cache is free only then."""
    try:
        descriptor = os.pidfd_open(daemon.pid)  # first: a process id may be another's a moment later
    except ProcessLookupError:
        return
    try:
        _stop(daemon, descriptor)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(_GONE_S * 1000):
            state = "still mounted" if mount is not None and _is_mounted(mount) else "unmounted"
            raise Unavailable(
                f"the daemon {daemon.pid} did not end within {_GONE_S:.0f} s ({state}); end it with: kill -9 {daemon.pid}"
            )
    finally:
        os.close(descriptor)


def _stop(daemon: ControlClient, descriptor: int) -> None:
    try:
        daemon.stop()
    except (RemoteProtocolError, Unavailable):  # too busy, or about to end: a signal does no harm to either
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise Denied(f"the daemon {daemon.pid} is another user's; end the mount as that user, or as root") from error


def _is_mounted(mount: Mount) -> bool:
    return any(each.mount_id == mount.mount_id and each.mountpoint == mount.mountpoint for each in read_mounts())


def _detach(mount: Mount) -> None:
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(mount.mountpoint), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
            raise Unavailable(f"{mount.mountpoint} cannot be unmounted: {os.strerror(ctypes.get_errno())}")
    else:
        _run_fusermount(mount.mountpoint)
    ends_at = time.monotonic() + _DETACH_S
    with open(MOUNTINFO, "rb") as mountinfo:  # noqa: PTH123 - a descriptor that tells changes (proc(5))
        poll = select.poll()
        poll.register(mountinfo, select.POLLPRI | select.POLLERR)
        while _is_mounted(mount):
            if not poll.poll(max(0.0, ends_at - time.monotonic()) * 1000):
                raise Unavailable(f"{mount.mountpoint} is still mounted; close what is open below it and try again")


def _run_fusermount(mountpoint: str) -> None:
    try:
        done = subprocess.run(
            ["fusermount3", "-u", "-z", "--", mountpoint], capture_output=True, text=True, timeout=_DETACH_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{mountpoint} cannot be unmounted: fusermount3: {error}") from error
    if done.returncode != 0:
        raise Unavailable(f"{mountpoint} cannot be unmounted: {done.stderr.strip()}")
