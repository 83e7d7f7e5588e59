"""``flyfs get URL``: fetches one file, through a running daemon or by itself. Shell."""

import os
from collections.abc import Callable, Sequence
from typing import Protocol

from flyfs.cli.output_file import OutputFile
from flyfs.cli.progress import Progress, shown_progress
from flyfs.cli.terminable import TERMINATED, terminable
from flyfs.cli.through_daemon import Sink, read_through_daemon
from flyfs.config.get import GetConfig, read_get_config
from flyfs.control.mounts import flyfs_mountpoints, mount_over
from flyfs.core.errors import ConfigError
from flyfs.core.urls import RemoteUrl
from flyfs.limit.host_limit import HostLimit
from flyfs.telemetry.log import logging_to_stderr


class Fetch(Protocol):
    """Fetches without a daemon; ``flyfs.daemon.fetching.fetch`` is one."""

    def __call__(self, config: GetConfig, url: RemoteUrl, sink: Sink) -> None:
        """Gives the whole content of ``url`` to ``sink`` within ``config.timeout_s``; raises FlyfsError, KeyboardInterrupt."""


class Delivery:
    """Takes bytes for a file and tells how far it is."""

    def __init__(self, file: OutputFile, progress: Progress) -> None:
        self._file = file
        self._progress = progress

    def begin(self, size: int | None) -> None:
        """The content has ``size`` bytes; None where nobody knows yet."""
        self._progress.begin(size)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes; raises StoreFull."""
        self._file.write(data)
        self._progress.advance(len(data))


def prepare(arguments: Sequence[str]) -> Callable[[], int]:
    """Reads the configuration; raises ConfigError."""
    config = read_get_config(arguments, os.environ, flyfs_mountpoints())
    over = mount_over(str(config.output))
    if over is not None and over.is_flyfs:
        raise ConfigError(
            f"{config.output} lies in the mount {over.mountpoint}, which is read-only; choose a place outside with -o"
        )
    if config.output.is_dir():
        raise ConfigError(f"{config.output} is a directory; name a file in it with -o")

    def run() -> int:
        return get(config, _fetch_alone)

    return run


def get(config: GetConfig, fetch: Fetch) -> int:
    """Fetches as ``config`` says; returns the exit status, raises FlyfsError."""
    with terminable() as terminated, logging_to_stderr(config.log_level):
        if config.rate_limit is not None:  # a daemon that fetches for us is bound by it too
            HostLimit.open(config.runtime_directories, config.rate_limit).close()
        try:
            with OutputFile(config.output, config.sha256) as file, shown_progress(config.output.name) as progress:
                sink = Delivery(file, progress)
                if config.alone or not read_through_daemon(
                    config.runtime_directories, config.url, sink, timeout_s=config.timeout_s
                ):
                    fetch(config, config.url, sink)
                file.commit()
        except (KeyboardInterrupt, BaseExceptionGroup):  # nurseries wrap it
            if terminated:
                return TERMINATED
            raise
    return 0


def _fetch_alone(config: GetConfig, url: RemoteUrl, sink: Sink) -> None:
    from flyfs.daemon.fetching import fetch  # noqa: PLC0415 - the swarm is not needed where a daemon runs

    fetch(config, url, sink)
