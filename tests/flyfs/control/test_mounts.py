import pytest

from flyfs.control import mounts
from flyfs.control.mounts import flyfs_mountpoints, mount_at, mount_over, read_mounts
from flyfs.core.mountinfo import parse_mountinfo

TEXT = rb"""22 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw
70 22 0:55 / /mnt/a\040b ro,nosuid - fuse.flyfs flyfs:x rw,user_id=0
71 22 0:56 / /mnt/fly ro - fuse.sshfs host:/ rw
"""


def test_this_host_has_proc_mounted() -> None:
    proc = mount_at("/proc")

    assert proc is not None
    assert proc.filesystem == "proc"
    assert proc in read_mounts()
    assert mount_at("/proc/self") is None
    assert mount_over("/proc/self/status") in [mount for mount in read_mounts() if mount.mountpoint.startswith("/proc")]


def test_the_mounts_of_flyfs_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "read_mounts", lambda: parse_mountinfo(TEXT))

    assert flyfs_mountpoints() == ["/mnt/a b"]
