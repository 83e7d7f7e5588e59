"""The settings of a command from all their sources, and the places they name. Shell: reads one file and looks for links.

What is wrong with them is a ConfigError before anything has started.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flyfs.config.options import CONFIG, FILE_OPTIONS, RUNTIME_DIR
from flyfs.config.places import real_path, runtime_home
from flyfs.core.command_line import Option
from flyfs.core.errors import ConfigError
from flyfs.core.settings import Settings, load


def read_settings(options: Sequence[Option[Any]], flags: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Settings:
    """The settings of a command that takes ``options``; ``flags`` as from ``CommandLine.split``. Raises ConfigError."""
    return load(
        options,
        flags=flags,
        environment=environment,
        config=CONFIG,
        read_text=lambda path: Path(path).read_text("utf-8"),
        file_options=FILE_OPTIONS,
    )


def path_in(settings: Settings, option: Option[str], mounts: Sequence[str]) -> Path | None:
    """The path that an option names, absolute and without symbolic links; ``mounts`` are not looked into."""
    text = settings.get(option)
    return None if text is None else Path(real_path(text, mounts))


def readable_file(settings: Settings, option: Option[str], mounts: Sequence[str]) -> Path | None:
    """The file that an option names, None without it; raises ConfigError for one that cannot be read."""
    path = path_in(settings, option, mounts)
    if path is None:
        return None
    if any(path.is_relative_to(mount) for mount in mounts):
        raise ConfigError(f"{settings.source(option)}: {path} lies in a mount of flyfs; choose a place outside")
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ConfigError(f"{settings.source(option)}: {path} is not a file that can be read")
    return path


def runtime_directories(settings: Settings, environment: Mapping[str, str], mounts: Sequence[str]) -> tuple[Path, ...]:
    """Where to look for running daemons: the user's own and root's, or the one that was chosen."""
    chosen = path_in(settings, RUNTIME_DIR, mounts)
    return (chosen,) if chosen else tuple(dict.fromkeys((runtime_home(environment), Path("/run/flyfs"))))
