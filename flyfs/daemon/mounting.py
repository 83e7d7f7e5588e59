"""A mount's daemon: everything in one trio run under one root nursery. Shell."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import structlog
import trio

from flyfs.config.mount import MountConfig
from flyfs.control.cache import answer_cache
from flyfs.control.messages import CacheRequest, Tell
from flyfs.control.seen_path import seen_path
from flyfs.control.server import ControlServer
from flyfs.core.errors import told_error
from flyfs.core.urls import RemoteUrl
from flyfs.daemon.figures import DaemonFigures
from flyfs.daemon.peer import Peer, PeerSettings, run_peer
from flyfs.daemon.warming import warm
from flyfs.fs.filesystem import FileSystem
from flyfs.fuse import mount as fuse_mount
from flyfs.fuse.stale_mount import hold_mountpoint
from flyfs.telemetry.heap import settle_heap
from flyfs.telemetry.loop_watch import LoopWatch

_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger(__name__)


def run_mount(config: MountConfig, ready: Callable[[], None]) -> None:
    """Mounts, calls ``ready`` once the mount answers, and serves until it is unmounted, SIGTERM or SIGINT.

    Raises:
        FlyfsError: it cannot be mounted, or the cache, an address or the embedded supernode cannot be used.
    """
    mountpoint = Path(config.mountpoint)
    with hold_mountpoint(mountpoint, config.lock_file):
        for number in _END_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # heard by the receiver below alone: the end itself must not be cut short
        try:
            trio.run(_run_until_told, config, mountpoint, ready)
        except BaseExceptionGroup as group:
            raise told_error(group) from group


async def _run_until_told(config: MountConfig, mountpoint: Path, ready: Callable[[], None]) -> None:
    """The signals are received until the very end, so that a second one does not kill what is being flushed."""
    async with trio.open_nursery() as whole:
        scope = trio.CancelScope()
        await whole.start(_end_on_signal, scope)
        with scope:
            await _run(config, mountpoint, ready)
        whole.cancel_scope.cancel()


async def _run(config: MountConfig, mountpoint: Path, ready: Callable[[], None]) -> None:
    watch = LoopWatch()
    async with run_peer(_peer_settings(config)) as peer, trio.open_nursery() as root:
        figures = DaemonFigures(mountpoint=config.mountpoint, peer=peer, watch=watch)
        filesystem = FileSystem(
            remotes=peer.swarm,
            figures=figures,
            max_age_s=config.consistency.max_age_s,
            deadline_s=config.deadline_s,
            made_s=int(time.time()),
        )
        figures.open_files = lambda: filesystem.statistics().open_files
        control = ControlServer(config.control_socket, _Control(config, figures, peer, root.cancel_scope))
        await root.start(watch.run)
        await root.start(control.run)
        settings = fuse_mount.MountSettings(
            mountpoint=mountpoint, umask=config.umask, allow_other=config.allow_other, uid=os.getuid(), gid=os.getgid()
        )
        mounted = await root.start(partial(_mount_until_unmounted, filesystem, settings, root.cancel_scope))
        log.info("daemon.mount.ready", mountpoint=config.mountpoint, read_ahead=mounted.read_ahead, background=mounted.background)
        settle_heap()
        ready()


async def _mount_until_unmounted(
    filesystem: FileSystem,
    settings: fuse_mount.MountSettings,
    root: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[fuse_mount.Mounted],
) -> None:
    """Somebody who unmounts by other means ends the daemon too."""
    try:
        await fuse_mount.run(filesystem, settings, task_status=task_status)
    finally:
        filesystem.close()
    log.info("daemon.mount.ended", mountpoint=str(settings.mountpoint))
    root.cancel()


async def _end_on_signal(scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(*_END_SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            log.info("daemon.signal.received", signal=signal.Signals(number).name)
            scope.cancel()


class _Control:
    """What the control socket asks."""

    def __init__(self, config: MountConfig, figures: DaemonFigures, peer: Peer, root: trio.CancelScope) -> None:
        self._config = config
        self._figures = figures
        self._peer = peer
        self._root = root

    def status(self) -> Mapping[str, object]:
        """The status document."""
        return self._figures.status()

    def path_of(self, url: RemoteUrl) -> str:
        """Where a URL is seen; raises NotFound for one that only its directory's listing can name."""
        return f"{self._config.mountpoint}/{seen_path(url)}"

    def stop(self) -> None:
        """Ends the mount and the daemon."""
        self._root.cancel()

    async def warm(self, url: RemoteUrl, tell: Tell, *, supernode_only: bool) -> None:
        """Fetches a file that nobody reads yet; raises FlyfsError."""

        async def told(held_bytes: int, size_bytes: int) -> None:
            await tell({"held_bytes": held_bytes, "size_bytes": size_bytes})

        await warm(self._peer, url, told, supernode_only=supernode_only)

    async def cache(self, request: CacheRequest, tell: Tell) -> object:
        """Does something with the cache; raises FlyfsError."""
        return await answer_cache(self._peer.store, request, tell)


def _peer_settings(config: MountConfig) -> PeerSettings:
    return PeerSettings(
        supernodes=config.supernodes,
        resolver=config.resolver,
        cache_directory=config.cache_directory,
        cache_limit_bytes=config.cache_limit_bytes,
        verify=config.verify,
        owner=f"flyfs mount {config.mountpoint}",
        listen=config.listen,
        listen_may_move=config.listen_may_move,
        advertise=config.advertise,
        location=config.location,
        no_origin=config.no_origin,
        deadline_s=config.deadline_s,
        allow_origin=config.allow_origin,
        origin_ca=config.origin_ca,
        piece_size=config.piece_size,
        rate_limit=config.rate_limit,
        limit_directories=config.limit_directories,
        log_level=config.log_level,
    )
