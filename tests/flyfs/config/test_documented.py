"""What the code knows stands in the reference, and the other way round."""

import re
from pathlib import Path
from typing import Any

import pytest

from flyfs.cli.main import COMMANDS, PLANNED
from flyfs.config.cache import ACTIONS
from flyfs.config.options import (
    CACHE_GC_OPTIONS,
    CACHE_OPTIONS,
    FILE_OPTIONS,
    GET_OPTIONS,
    LIMIT_OPTIONS,
    MOUNT_OPTIONS,
    PATH_OPTIONS,
    STATUS_OPTIONS,
    UMOUNT_OPTIONS,
    WARM_OPTIONS,
)
from flyfs.core.command_line import Option
from flyfs.core.settings import ENVIRONMENT
from supernode.config import SUPERNODE_OPTIONS

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
OF_COMMAND = {
    "flyfs mount": MOUNT_OPTIONS,
    "flyfs umount": UMOUNT_OPTIONS,
    "flyfs get": GET_OPTIONS,
    "flyfs warm": WARM_OPTIONS,
    "flyfs limit": LIMIT_OPTIONS,
    "flyfs path": PATH_OPTIONS,
    "flyfs status": STATUS_OPTIONS,
    **{f"flyfs cache {action}": CACHE_GC_OPTIONS if action == "gc" else CACHE_OPTIONS for action in ACTIONS},
    "flyfs-supernode": SUPERNODE_OPTIONS,
}
OF_PROGRAM = {"flyfs": FILE_OPTIONS, "flyfs-supernode": SUPERNODE_OPTIONS}


def sections(file: str) -> dict[str, str]:
    """The text below each heading of the second level, by the heading's words in lower case."""
    found = re.split(r"^## (.+)$", (REFERENCE / file).read_text(), flags=re.MULTILINE)
    return {re.sub(r" [\[A-Z].*", "", name): text for name, text in zip(found[1::2], found[2::2], strict=True)}


def visible(options: tuple[Option[Any], ...]) -> set[Option[Any]]:
    return {option for option in options if not option.hidden and not option.planned}


def planned(options: tuple[Option[Any], ...]) -> set[str]:
    return {option.name for option in options if option.planned}


@pytest.mark.parametrize("command", OF_COMMAND)
def test_every_option_of_a_command_is_documented_as_it_is_written(command: str) -> None:
    written = {f"--{each.name} {each.kind.metavar}".strip().replace("|", "\\|") for each in visible(OF_COMMAND[command])}

    assert set(re.findall(r"^\| `(--[^`]+)`", sections("commands.md")[command], re.MULTILINE)) == written


def test_every_command_is_documented() -> None:
    assert {f"flyfs {name}" for name in COMMANDS} | {"flyfs-supernode"} == {" ".join(name.split()[:2]) for name in OF_COMMAND}
    assert set(OF_COMMAND) <= set(sections("commands.md"))


def test_what_comes_later_is_documented() -> None:
    later = sections("commands.md")["Not in this version"]
    by_owner = dict(re.findall(r"^- (.+?): ((?:.|\n  )+)", later, re.MULTILINE))

    assert set(re.findall(r"`([a-z]+)`", by_owner["commands"])) == set(PLANNED)
    for owner, options in (
        ("options of `mount`", MOUNT_OPTIONS),
        ("options of `get`", GET_OPTIONS),
        ("options of `flyfs-supernode`", SUPERNODE_OPTIONS),
    ):
        assert set(re.findall(r"`--([a-z0-9-]+)`", by_owner[owner])) == planned(options)


@pytest.mark.parametrize("program", OF_PROGRAM)
def test_every_key_and_variable_is_documented_with_its_kind_and_default(program: str) -> None:
    rows = re.findall(
        r"^\| (`\w+`|\(not in a file\)) \| `(\w+)` \| (.+?) \| (.+) \|$", sections("configuration.md")[program], re.MULTILINE
    )
    documented = {variable: (key.strip("`"), kind) for key, variable, kind, _ in rows}
    known = {
        option.environment: (
            "(not in a file)" if option.name == "config" else option.key,
            (option.kind.metavar.replace("|", "\\|") or "switch") + (", repeatable" if option.repeatable else ""),
        )
        for option in visible(OF_PROGRAM[program])
    }

    assert documented == known
    for option in visible(OF_PROGRAM[program]):
        if option.default is not None:
            assert any(variable == option.environment and f"`{option.default}`" in default for _, variable, _, default in rows), (
                option.name
            )


def test_every_key_that_comes_later_is_documented() -> None:
    later = sections("configuration.md")["Not in this version"]
    options = (*FILE_OPTIONS, *SUPERNODE_OPTIONS)

    assert set(re.findall(r"`(\w+)`", later)) == {option.key for option in options if option.planned}


def test_the_list_of_variables_is_that_of_both_programs() -> None:
    options = (*FILE_OPTIONS, *PATH_OPTIONS, *UMOUNT_OPTIONS, *WARM_OPTIONS, *LIMIT_OPTIONS, *SUPERNODE_OPTIONS)

    assert {option.environment for option in options if not option.hidden and not option.flag_only} == ENVIRONMENT


def test_what_stands_on_the_command_line_only_is_documented() -> None:
    text = (REFERENCE / "configuration.md").read_text()
    only = {option.name for options in OF_COMMAND.values() for option in options if option.flag_only}

    assert only == {"local", "supernode-only", "receive", "send"}
    assert [name for name in only if f"`--{name}`" not in text] == []


def test_every_kind_of_value_is_documented() -> None:
    documented = set(re.findall(r"^\| ([^ ]+) \|", sections("configuration.md")["Values"], re.MULTILINE)) - {"kind", "---"}
    used = {option.kind.metavar or "switch" for option in visible((*FILE_OPTIONS, *SUPERNODE_OPTIONS))}

    assert {kind.replace("\\|", "|") for kind in documented} == used


def test_the_keys_of_the_status_document_are_documented() -> None:
    text = (REFERENCE / "status.md").read_text()

    assert "[status.md](status.md)" in (REFERENCE / "commands.md").read_text()
    for key in (
        "bytes.origin",
        "pieces.verified",
        "peers.isolated",
        "store.read_through",
        "demand_latency_ms",
        "loop_lag_ms",
        "open_files",
    ):
        assert f"`{key}`" in text
