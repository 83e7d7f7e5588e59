"""What is mounted on this host, as the kernel tells. Shell: reads one file of /proc, never a mountpoint."""

from pathlib import Path

from flyfs.core.mountinfo import MOUNTINFO, Mount, innermost_mount, parse_mountinfo, top_mount


def read_mounts() -> list[Mount]:
    """All mounts of this process's namespace, in the order in which they were made."""
    return parse_mountinfo(Path(MOUNTINFO).read_bytes())


def flyfs_mountpoints() -> list[str]:
    """Where flyfs is mounted: nothing below is to be looked up by who must not wait for its daemon."""
    return [mount.mountpoint for mount in read_mounts() if mount.is_flyfs]


def mount_at(mountpoint: str) -> Mount | None:
    """What is seen at ``mountpoint``, None where nothing is mounted exactly there."""
    return top_mount(read_mounts(), mountpoint)


def mount_over(path: str) -> Mount | None:
    """The mount in which ``path`` (absolute, without symbolic links) lies; None only without a root."""
    return innermost_mount(read_mounts(), path)
