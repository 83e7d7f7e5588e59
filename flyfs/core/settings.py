"""The values of a command's options, and which source wins: flag > environment > file > default. Pure.

An error names the source, the key and what is accepted.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from flyfs.core.command_line import Option, nearest
from flyfs.core.errors import ConfigError

T = TypeVar("T")

#: Kubernetes gives each pod such variables for a Service that is called flyfs or flyfs-…: they are none of ours.
_SERVICE_LINK = re.compile(r"FLYFS_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
#: Every variable of both programs, because one environment serves them all: each checks against the whole list.
_VARIABLES = """ADVERTISE ALLOW_ORIGIN ALLOW_OTHER CACHE CACHE_LIMIT CONFIG CONSISTENCY DEADLINE EXPORT FILTER_QUERY FOREGROUND
    HEADER HTTP INSECURE JSON KEY_FILE LISTEN LOCATION LOG_LEVEL METRICS MIRROR_LISTEN MIRROR_REGISTRY NO_ORIGIN ORIGIN_CA OUTPUT
    PIECE_SIZE RATE_LIMIT RESOLVER RUNTIME_DIR SHA256 SUPERNODE TIMEOUT TLS_CA TLS_CERT TLS_KEY TO TOKEN_FILE
    UMASK VERIFY"""
ENVIRONMENT = frozenset(f"FLYFS_{name}" for name in _VARIABLES.split())


class Settings:
    """The merged values of some options, each with the source it came from."""

    def __init__(self, values: Mapping[str, tuple[tuple[Any, ...], str]]) -> None:
        self._values = values

    def get(self, option: Option[T]) -> T | None:
        """The value of ``option``, None where nobody gave one and it has no default."""
        values = self.all(option)
        return values[0] if values else None

    def need(self, option: Option[T]) -> T:
        """The value of an option that has a default."""
        return self.all(option)[0]

    def all(self, option: Option[T]) -> tuple[T, ...]:
        """All values of a repeatable option."""
        if option.name in self._values:
            return self._values[option.name][0]
        return () if option.default is None else (option.kind.parse(option.default),)

    def on(self, option: Option[bool]) -> bool:
        """Whether a switch is set."""
        return bool(self.all(option) and self.all(option)[0])

    def source(self, option: Option[Any]) -> str:
        """Who gave the value, for errors: ``--cache``, ``FLYFS_CACHE``, ``cache in /etc/…``; ``the default of --cache``."""
        found = self._values.get(option.name)
        return found[1] if found else f"the default of --{option.name}"

    def by_flag(self, option: Option[Any]) -> bool:
        """Whether the value came from the command line."""
        return option.name in self._values and self._values[option.name][1] == f"--{option.name}"


def load(
    options: Sequence[Option[Any]],
    *,
    flags: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    config: Option[str],
    read_text: Callable[[str], str],
    file_options: Iterable[Option[Any]],
) -> Settings:
    """The settings of a command from all sources.

    Args:
        options: what the command takes.
        flags: texts per option name, from ``CommandLine.split``.
        environment: all variables of the process.
        config: the option that names the file; its default may be missing on disk.
        read_text: gives the text of a file, raises OSError.
        file_options: what the file may hold: options of other commands may stand in it too.

    Raises:
        ConfigError: an unknown key or variable, a value that is not accepted, an option of a later version.
    """
    given: dict[str, tuple[tuple[Any, ...], str]] = {}
    variables = _from_environment(environment, options)
    chosen = flags.get(config.name) or ([variables[config.name][0]] if config.name in variables else None)
    path = chosen[-1] if chosen else str(config.default)
    from_file = _from_file(path, read_text, options, file_options, must_exist=chosen is not None)
    from_flags = {name: (list(texts), f"--{name}") for name, texts in flags.items()}
    layers: tuple[Mapping[str, tuple[Any, str]], ...] = (from_file, variables, from_flags)
    by_name = {option.name: option for option in options}
    for layer in layers:
        for name, (value, source) in layer.items():
            given[name] = _parsed(by_name[name], value, source), source
    return Settings(given)


def _from_environment(environment: Mapping[str, str], options: Sequence[Option[Any]]) -> dict[str, tuple[str, str]]:
    mine = {option.environment: option for option in options if not option.hidden and not option.flag_only}
    found: dict[str, tuple[str, str]] = {}
    for variable, text in sorted(environment.items()):
        if variable in mine and text:  # an empty variable is an unset one
            found[mine[variable].name] = text, variable
        elif variable.startswith("FLYFS_") and variable not in ENVIRONMENT and not _SERVICE_LINK.fullmatch(variable):
            raise ConfigError(f"environment: there is no setting {variable}" + nearest(variable, sorted(ENVIRONMENT)))
    return found


def _from_file(
    path: str, read_text: Callable[[str], str], options: Sequence[Option[Any]], known: Iterable[Option[Any]], *, must_exist: bool
) -> dict[str, tuple[Any, str]]:
    try:
        document = tomllib.loads(read_text(path))
    except FileNotFoundError:
        if not must_exist:
            return {}
        raise ConfigError(f"{path}: there is no such configuration file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    keys = [option.key for option in known if not option.hidden and not option.flag_only and option.name != "config"]
    mine = {option.key: option for option in options if option.key in keys}
    found: dict[str, tuple[Any, str]] = {}
    for key, value in document.items():
        if key not in keys:
            raise ConfigError(f"{path}: there is no setting {key!r}" + nearest(key, keys))
        if key in mine:
            found[mine[key].name] = value, f"{key} in {path}"
    return found


def _parsed(option: Option[T], value: Any, source: str) -> tuple[T, ...]:
    """The values in ``value``: a list of texts from a flag, a text from the environment, anything TOML has from a file.

    Where several are given for an option that takes one, the last wins, as on any command line.
    """
    if option.planned:
        raise ConfigError(f"{source}: not in this version; leave it out")
    if isinstance(value, list):
        texts: list[Any] = list(value) if option.repeatable or source.startswith("--") else [value]
    elif option.repeatable and isinstance(value, str):
        texts = [text.strip() for text in value.split(",") if text.strip()]
    else:
        texts = [value]
    values = [_value(option, text, source) for text in texts]
    return tuple(dict.fromkeys(values)) if option.repeatable else (values[-1],)


def _value(option: Option[T], value: Any, source: str) -> T:
    refusal = ConfigError(f"{source}: {value!r} is not {option.kind.accepts}")
    if not isinstance(value, str) and type(value) not in option.kind.toml:  # exactly: true is no number
        raise refusal
    try:
        return option.kind.parse(str(value))
    except (ValueError, KeyError):
        raise refusal from None
