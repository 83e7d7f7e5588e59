"""``flyfs mount MOUNTPOINT``: starts a daemon and returns once its mount answers, or is the daemon. Shell.

In the background the daemon logs to ``flyfs.log`` in its cache, and stands in ``/``, so that it holds no other directory.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from flyfs.cli.background import ReadyPipe, start_in_background
from flyfs.config.mount import MountConfig, read_mount_config
from flyfs.control.mounts import flyfs_mountpoints, mount_at
from flyfs.core.errors import ConfigError, FlyfsError, told_error
from flyfs.telemetry.log import logging_to_file, logging_to_stderr

_log = structlog.get_logger("flyfs.cli")


def prepare(arguments: Sequence[str]) -> Callable[[], int]:
    """Reads the configuration; raises ConfigError."""
    config = read_mount_config(arguments, os.environ, flyfs_mountpoints())

    def run() -> int:
        if config.ready_pipe is not None:
            return _serve_in_background(config, ReadyPipe(config.ready_pipe))
        _check_mountpoint(config)
        if config.foreground:
            return _serve_in_foreground(config)
        _make_cache_directory(config)
        start_in_background("mount", arguments, config.log_file)
        return 0

    return run


def _check_mountpoint(config: MountConfig) -> None:
    if mount_at(config.mountpoint) is not None:
        return  # a live or a dead one: the daemon knows; asking for attributes here could hang
    if not Path(config.mountpoint).is_dir():
        raise ConfigError(f"{config.mountpoint} is not a directory; make it with: mkdir -p {config.mountpoint}")


def _make_cache_directory(config: MountConfig) -> None:
    try:
        config.cache_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        config.log_file.open("ab").close()
    except OSError as error:
        reason = f"{config.cache_directory}: cannot be written: {error.strerror}"
        raise ConfigError(f"{reason}; choose another place with --cache") from error


def _serve_in_foreground(config: MountConfig) -> int:
    from flyfs.daemon.mounting import run_mount  # noqa: PLC0415 - pyfuse3 and the swarm are for daemons only

    with logging_to_stderr(config.log_level):
        run_mount(config, _nobody_waits)
    return 0


def _nobody_waits() -> None:
    """In the foreground the log tells that the mount answers."""


def _serve_in_background(config: MountConfig, pipe: ReadyPipe) -> int:
    os.chdir("/")
    try:
        with logging_to_file(config.log_file, config.log_level, take_stderr=True):
            try:
                from flyfs.daemon.mounting import run_mount  # noqa: PLC0415 - as above; and its absence is an error to tell

                run_mount(config, pipe.ready)
            except BaseException as error:
                failure = told_error(error) if isinstance(error, BaseExceptionGroup) else error
                pipe.failed(_logged(failure, config))
                return 1
    except OSError as error:  # the log itself
        pipe.failed(f"{config.log_file}: cannot be written: {error.strerror}")
        return 1
    return 0


def _logged(error: BaseException, config: MountConfig) -> str:
    """Logs a failure; gives what the starting command prints: its own words where it was expected."""
    if isinstance(error, FlyfsError):
        _log.error("daemon.run.refused", reason=error.message)
        return error.message
    _log.error("daemon.run.failed", exc_info=error)
    return f"the daemon failed: {type(error).__name__}: {error}; see {config.log_file}"
