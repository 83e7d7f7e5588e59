"""``flyfs warm URL...``: fetches files before anybody reads them, through running daemons or by itself. Shell."""

import os
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager

from flyfs.cli.progress import shown_progress
from flyfs.cli.terminable import TERMINATED, terminable
from flyfs.config.warm import WarmConfig, read_warm_config
from flyfs.control.client import ControlClient, find_daemons
from flyfs.control.mounts import flyfs_mountpoints
from flyfs.core.errors import ConfigError, FlyfsError, Unavailable
from flyfs.core.urls import RemoteUrl
from flyfs.limit.host_limit import HostLimit
from flyfs.telemetry.log import logging_to_stderr


def prepare(arguments: Sequence[str]) -> Callable[[], int]:
    """Reads the configuration; raises ConfigError."""
    config = read_warm_config(arguments, os.environ, flyfs_mountpoints())
    daemons = [] if config.alone else find_daemons(config.runtime_directories)
    if config.supernode_only and not config.supernodes and not daemons:
        raise ConfigError("--supernode-only: there is no supernode and no mount to ask; name one with --supernode HOST:PORT")
    return lambda: _warm(config, daemons)


def _warm(config: WarmConfig, daemons: Sequence[ControlClient]) -> int:
    report = Report()
    with terminable() as terminated, logging_to_stderr(config.log_level):
        if config.rate_limit is not None:
            HostLimit.open(config.runtime_directories, config.rate_limit).close()
        try:
            if daemons:
                _through(daemons, config, report)
            else:
                _alone(config, report)
        except (KeyboardInterrupt, BaseExceptionGroup):  # nurseries wrap it
            if terminated:
                return TERMINATED
            raise
    report.raise_failures()
    return 0


def _through(daemons: Sequence[ControlClient], config: WarmConfig, report: "Report") -> None:
    """Each daemon has a store of its own, and perhaps a supernode of its own."""
    for url in config.urls:
        for daemon in daemons:
            with report.of(url) as tell:
                daemon.warm(url, tell, supernode_only=config.supernode_only)


def _alone(config: WarmConfig, report: "Report") -> None:
    from flyfs.daemon.warming import warm_alone  # noqa: PLC0415 - the swarm is not needed where a daemon runs

    @contextmanager
    def reported(url: RemoteUrl) -> Generator[Callable[[int, int], Awaitable[None]]]:
        with report.of(url) as tell:

            async def told(held_bytes: int, size_bytes: int) -> None:
                tell(held_bytes, size_bytes)

            yield told

    warm_alone(config, reported)


class Report:
    """Shows how far each URL is, and keeps what went wrong for the end, so that the others are warmed all the same."""

    def __init__(self) -> None:
        self._failures: list[str] = []

    @contextmanager
    def of(self, url: RemoteUrl) -> Generator[Callable[[int, int], None]]:
        """One URL; what it gives is told bytes held and in all. The bar is about what was missing, so that its rate is one."""
        shown: int | None = None
        with shown_progress(url.segments[-1]) as progress:

            def tell(held_bytes: int, size_bytes: int) -> None:
                nonlocal shown
                if shown is None:
                    progress.begin(size_bytes - held_bytes)
                else:
                    progress.advance(held_bytes - shown)
                shown = held_bytes

            try:
                yield tell
            except FlyfsError as error:
                self._failures.append(error.message)

    def raise_failures(self) -> None:
        """Raises Unavailable where anything failed: one line for all."""
        if self._failures:
            raise Unavailable("; ".join(dict.fromkeys(self._failures)))
