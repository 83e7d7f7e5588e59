"""What a command takes: its options, and its arguments split into options and words. Pure.

From an option's description follow its flag, its ``FLYFS_…`` variable and its TOML key.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Generic, NoReturn, TypeVar

from flyfs.core.errors import ConfigError
from flyfs.core.option_kinds import Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option(Generic[T]):
    """One thing that can be configured.

    Attributes:
        name: as on the command line, without the dashes.
        default: as a person would write it; None where it depends on other options or nothing is the default.
        help: one clause for ``--help``.
        repeatable: may be given several times; a list in a file, separated by commas in the environment.
        planned: refused by name: it comes with a later version.
        hidden: flag only, between our own processes.
        flag_only: says what one call does: neither a file nor the environment may hold it.
        short: one letter, without the dash.
    """

    name: str
    kind: Kind[T]
    help: str
    default: str | None = None
    repeatable: bool = False
    planned: bool = False
    hidden: bool = False
    flag_only: bool = False
    short: str = ""
    environment: str = field(init=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.name.replace("-", "_"))
        object.__setattr__(self, "environment", "FLYFS_" + self.name.replace("-", "_").upper())


class CommandLine(argparse.ArgumentParser):
    """A command's arguments; mistakes are ConfigError, and nothing is parsed but the split into options and words."""

    def __init__(self, program: str, about: str, options: Sequence[Option[Any]], words: Mapping[str, str]) -> None:
        """``words`` are the positional arguments with their help: ``[NAME]`` may be left out, ``NAME...`` repeated."""
        super().__init__(prog=program, description=about, allow_abbrev=False, argument_default=argparse.SUPPRESS)
        self._options = options
        for word, about_word in words.items():
            count = "?" if word.startswith("[") else "+" if word.endswith("...") else None
            name = word.strip("[].")
            self.add_argument(name.lower(), metavar=name, help=about_word, nargs=count)
        for option in options:
            names = [*([f"-{option.short}"] if option.short else []), f"--{option.name}"]
            about_option = argparse.SUPPRESS if option.hidden or option.planned else _described(option)
            if option.kind.metavar:
                self.add_argument(
                    *names, dest=f"--{option.name}", action="append", metavar=option.kind.metavar, help=about_option
                )
            else:
                self.add_argument(*names, dest=f"--{option.name}", action="append_const", const="true", help=about_option)

    def split(self, arguments: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
        """The texts given per option name, and the words by lower-case name, none of them repeated. Raises as ``split_all``."""
        flags, words = self.split_all(arguments)
        return flags, {name: texts[0] for name, texts in words.items()}

    def split_all(self, arguments: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """The texts given per option name, and per word by lower-case name.

        Raises:
            ConfigError: an unknown option, a missing or surplus argument.
        """
        known, unknown = self.parse_known_intermixed_args(arguments)
        for argument in unknown:
            if argument.startswith("-"):
                name = argument.partition("=")[0]
                raise ConfigError(f"there is no option {name}" + nearest(name, [f"--{option.name}" for option in self._options]))
            raise ConfigError(f"unexpected argument {argument!r}; see {self.prog} --help")
        given: dict[str, Any] = vars(known)
        flags = {name[2:]: texts for name, texts in given.items() if name.startswith("--")}
        words = {name: text for name, text in given.items() if not name.startswith("--")}
        return flags, {name: text if isinstance(text, list) else [text] for name, text in words.items()}

    def error(self, message: str) -> NoReturn:
        """Instead of printing and exiting."""
        raise ConfigError(f"{message}; see {self.prog} --help")


def _described(option: Option[Any]) -> str:
    about = option.help + (f" (default: {option.default})" if option.default is not None else "")
    return about.replace("%", "%%")


def nearest(name: str, names: Sequence[str]) -> str:
    """The end of a message that does not know ``name``: which of ``names`` may have been meant."""
    near = get_close_matches(name, names, n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""
