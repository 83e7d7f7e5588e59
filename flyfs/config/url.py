"""The URL that a command is about. Shell: reads the configuration file."""

from collections.abc import Mapping, Sequence

from flyfs.config.options import PATH_OPTIONS
from flyfs.config.settings import read_settings
from flyfs.core.command_line import CommandLine
from flyfs.core.errors import ConfigError
from flyfs.core.urls import RemoteUrl, parse_url


def read_path_config(arguments: Sequence[str], environment: Mapping[str, str]) -> RemoteUrl:
    """The URL that ``flyfs path`` was asked about; raises ConfigError."""
    about = "Prints the path below a mountpoint at which a URL is seen."
    flags, words = CommandLine("flyfs path", about, PATH_OPTIONS, {"URL": "an http or https URL"}).split(arguments)
    read_settings(PATH_OPTIONS, flags, environment)
    return read_url(words["url"])


def read_url(text: str) -> RemoteUrl:
    """A URL that a person typed; raises ConfigError."""
    try:
        return parse_url(text)
    except ValueError as error:
        raise ConfigError(str(error)) from error
