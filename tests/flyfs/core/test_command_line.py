from typing import Any

import pytest

from flyfs.core import option_kinds as kinds
from flyfs.core.command_line import CommandLine, Option
from flyfs.core.errors import ConfigError

CACHE_LIMIT = Option(name="cache-limit", kind=kinds.SIZE, default="1GiB", help="bytes")
OPTIONS: tuple[Option[Any], ...] = (
    Option(name="cache", kind=kinds.PATH, help="100 % of it"),
    CACHE_LIMIT,
    Option(name="header", kind=kinds.TEXT, repeatable=True, planned=True, help="later"),
    Option(name="embedded", kind=kinds.SWITCH, hidden=True, help="inner"),
    Option(name="output", short="o", kind=kinds.PATH, help="file"),
)


def test_an_option_has_a_variable_and_a_key_of_its_name() -> None:
    assert (CACHE_LIMIT.environment, CACHE_LIMIT.key) == ("FLYFS_CACHE_LIMIT", "cache_limit")


def test_words_are_split_from_flags() -> None:
    command = CommandLine("flyfs test", "about", OPTIONS, {"URL": "what", "[PLACE]": "where"})

    assert command.split(["-o", "x", "u", "p"]) == ({"output": ["x"]}, {"url": "u", "place": "p"})
    assert command.split(["u"]) == ({}, {"url": "u"})
    with pytest.raises(ConfigError, match="the following arguments are required: URL"):
        command.split([])


def test_a_word_may_be_repeated() -> None:
    command = CommandLine("flyfs test", "about", OPTIONS, {"URL|ID...": "what"})

    assert command.split_all(["a", "b", "-o", "x"]) == ({"output": ["x"]}, {"url|id": ["a", "b"]})
    assert "URL|ID [URL|ID ...]" in command.format_help()
    with pytest.raises(ConfigError, match=r"the following arguments are required: URL\|ID"):
        command.split_all([])


def test_help_leaves_out_what_is_hidden_or_comes_later() -> None:
    text = CommandLine("flyfs test", "about", OPTIONS, {}).format_help()

    assert "--cache-limit SIZE" in text
    assert "(default: 1GiB)" in text
    assert "100 % of it" in text
    assert "--header" not in text
    assert "--embedded" not in text
