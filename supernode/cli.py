"""``flyfs-supernode``: reads its configuration, sets up its log and runs. Shell.

Exit status: 0 ended when told to, 1 failed, 2 a mistake in the arguments or the configuration, 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version

from flyfs.core.errors import ConfigError, FlyfsError, told_error
from flyfs.telemetry.log import logging_to_file, logging_to_stderr
from supernode.config import SupernodeConfig, read_supernode_config

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a supernode until it is told to end; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"flyfs-supernode {version('flyfs')}")  # noqa: T201 - the answer to the question
        return 0
    try:
        config = read_supernode_config(given, os.environ)
    except ConfigError as error:
        return _fail(error, 2)
    try:
        _make_cache_directory(config)
        with _logging(config):
            from supernode.daemon import run  # noqa: PLC0415 - --help and mistakes need no event loop

            run(config)
    except BaseException as error:
        match _told(error):
            case KeyboardInterrupt():
                return _INTERRUPTED
            case FlyfsError() as known:
                return _fail(known, 1)
            case _:
                raise
    return 0


def _make_cache_directory(config: SupernodeConfig) -> None:
    try:
        config.cache_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if config.log_file is not None:
            config.log_file.open("ab").close()
    except OSError as error:
        reason = f"{config.cache_directory}: cannot be written: {error.strerror}"
        raise ConfigError(f"{reason}; choose another place with --cache") from error


def _logging(config: SupernodeConfig) -> AbstractContextManager[None]:
    """An embedded one logs to a file of its own: its daemon's log rotates without it."""
    if config.log_file is None:
        return logging_to_stderr(config.log_level)
    return logging_to_file(config.log_file, config.log_level)


def _told(error: BaseException) -> BaseException:
    """What to tell of ``error``, out of the groups in which nurseries raise it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    return KeyboardInterrupt() if error.subgroup(KeyboardInterrupt) else told_error(error)


def _fail(error: FlyfsError, status: int) -> int:
    sys.stderr.write("flyfs-supernode: " + " ".join(error.message.split()) + "\n")
    return status
