"""A FUSE mount as a trio service: mounts, serves until it is cancelled or unmounted, and leaves nothing behind. Shell.

One mount per process: pyfuse3 keeps its session in globals. The mountpoint itself is never touched by this process.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pyfuse3
import structlog
import trio

from flyfs.core.errors import ConfigError
from flyfs.core.ids import Ino
from flyfs.fs.filesystem import FileSystem
from flyfs.fuse.detaching import detach, mount_at
from flyfs.fuse.kernel_settings import MAX_BACKGROUND, tune
from flyfs.fuse.mount_options import lets_users_allow_others, mount_options
from flyfs.fuse.operations import Operations
from flyfs.fuse.wakening import interrupted_reads

log = structlog.get_logger()

MAX_TASKS = MAX_BACKGROUND + 64
"""Handlers at once: as many slow reads as the kernel sends, and room for lookups and stats beside them."""
START_DEADLINE_S = 10.0
DRAIN_S = 2.0
"""How long requests may still be answered once the mount is to end."""
FUSE_CONF = Path("/etc/fuse.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSettings:
    """How to mount.

    Attributes:
        mountpoint: an existing directory, absolute, without symbolic links; held by ``stale_mount.hold_mountpoint``.
        umask: taken from mode 0555.
        allow_other: let other users in; root always does.
        uid: owner of everything.
        gid: group of everything.
    """

    mountpoint: Path
    umask: int = 0
    allow_other: bool = False
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """A mount that answers: its device number, and what the kernel took beyond the defaults."""

    minor: int
    read_ahead: bool
    background: bool


class KernelCaches:
    """Tells the kernel what to forget. Implements ``fs.knowledge.Listener``."""

    def entry_changed(self, parent: Ino, name: bytes) -> None:
        """The name stands for another number: in a thread of pyfuse3, because the kernel may wait for requests first."""
        pyfuse3.invalidate_entry_async(parent, name, ignore_enoent=True)

    def attributes_changed(self, ino: Ino) -> None:
        """Size and time are asked for again; touches no pages and takes no lock that a request could hold."""
        try:
            pyfuse3.invalidate_inode(ino, attr_only=True)
        except OSError as error:
            log.debug("fuse.invalidation.refused", ino=ino, why=str(error))  # the kernel does not hold it: all is well


async def run(
    filesystem: FileSystem, settings: MountSettings, *, task_status: "trio.TaskStatus[Mounted]" = trio.TASK_STATUS_IGNORED
) -> None:
    """Mounts, tells ``Mounted`` once the kernel is served, and returns when somebody unmounted it.

    Cancelling takes the mount away, lets requests under way be answered for ``DRAIN_S`` and ends the session; calls that are
    still blocked then get ECONNABORTED.

    Raises:
        ConfigError: it cannot be mounted.
    """
    started = trio.Event()
    operations = Operations(filesystem, umask=settings.umask, uid=settings.uid, gid=settings.gid, on_start=started.set)
    mountpoint = settings.mountpoint
    _mount(operations, mountpoint, allow_other=settings.allow_other)
    ended = trio.Event()
    try:
        with interrupted_reads():
            async with trio.open_nursery() as nursery:
                serving = await nursery.start(_serve, ended)
                try:
                    with trio.move_on_after(START_DEADLINE_S):
                        await started.wait()
                    mounted = _tuned(mountpoint)
                    if mounted is None:
                        return  # somebody unmounted it already
                    task_status.started(mounted)
                    stop_listening = filesystem.listen(KernelCaches())
                    try:
                        await ended.wait()
                    finally:
                        stop_listening()
                finally:
                    await _stop(mountpoint, ended, serving)
    finally:
        _close(mountpoint)
        log.debug("fuse.mount.ended", mountpoint=str(mountpoint))


def _mount(operations: Operations, mountpoint: Path, *, allow_other: bool) -> None:
    try:
        user_allow_other = lets_users_allow_others(FUSE_CONF.read_text("utf-8", "replace"))
    except OSError:  # no such file: the system's default, which is no
        user_allow_other = False
    options = mount_options(root=os.geteuid() == 0, allow_other=allow_other, user_allow_other=user_allow_other)
    try:
        pyfuse3.init(operations, str(mountpoint), options)
    except RuntimeError as error:  # libfuse wrote the reason to stderr
        raise ConfigError(f"cannot mount {mountpoint}: {error} (is /dev/fuse there, and may you use it?)") from error


def _tuned(mountpoint: Path) -> Mounted | None:
    mount = mount_at(mountpoint)
    if mount is None or not mount.is_flyfs:
        return None
    tuned = tune(mount.major, mount.minor)
    log.debug("fuse.mount.started", mountpoint=str(mountpoint), minor=mount.minor)
    return Mounted(minor=mount.minor, read_ahead=tuned.read_ahead, background=tuned.background)


async def _serve(ended: trio.Event, *, task_status: "trio.TaskStatus[trio.CancelScope]") -> None:
    """Serves under a shield, so that the end can be an orderly one."""
    with trio.CancelScope(shield=True) as serving:
        task_status.started(serving)
        try:
            await pyfuse3.main(max_tasks=MAX_TASKS)
        finally:
            ended.set()


async def _stop(mountpoint: Path, ended: trio.Event, serving: trio.CancelScope) -> None:
    """Short, bounded and shielded: takes the mount away while it is still served, then waits for the last replies."""
    if ended.is_set():
        return
    with trio.CancelScope(shield=True, deadline=trio.current_time() + DRAIN_S):
        await trio.to_thread.run_sync(detach, mountpoint, abandon_on_cancel=True)
        pyfuse3.terminate()
        await ended.wait()
    serving.cancel()


def _close(mountpoint: Path) -> None:
    """Ends the session: closing the device answers whoever still waits."""
    mount = mount_at(mountpoint)
    ours = mount is not None and mount.is_flyfs
    pyfuse3.close(unmount=ours)
    if ours and mount_at(mountpoint) == mount:
        detach(mountpoint)
