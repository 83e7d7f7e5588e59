"""The documents say what is so: links resolve, records have their parts, and the references name what the code has."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flyfs.cli.main import COMMANDS
from flyfs.core.errors import WIRE_ERRORS
from flyfs.fs.control import CONTROL_NAMES
from flyfs.fs.extended import OF_FILES
from flyfs.fuse.errno_map import ERRNO_OF, NO_ATTRIBUTE, READ_ONLY, UNFORESEEN
from flyfs.telemetry.counters import CounterStatistics
from flyfs.telemetry.latency import Quantiles
from flyfs.telemetry.status import Advertised, LimitFigures, ProcessFigures, SupernodeFigures, assemble_status
from flyfs.wire.codec import MAX_FRAME_BYTES
from flyfs.wire.messages import MAJOR, MESSAGES, MINOR, Message
from supernode.config import read_supernode_config
from tests.test_architecture import VAGUE

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
RECORDS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
WIRE = DOCS / "reference/wire-protocol.md"
GLOSSARY = DOCS / "reference/glossary.md"
TUTORIAL = DOCS / "tutorials/first-mount.md"


def prose_of(page: Path) -> str:
    """The text without fenced blocks: a ``#`` in a shell snippet is no heading, a bracket in JSON no link."""
    return re.sub(r"^(```+).*?^\1$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def blocks_of(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links_of(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose_of(page)))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_has_one_title_and_its_data_parses(page: Path) -> None:
    assert len(re.findall(r"^# ", prose_of(page), flags=re.MULTILINE)) == 1
    for block in blocks_of(page, "json"):
        json.loads(block)
    for block in blocks_of(page, "toml"):
        tomllib.loads(block)


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in links_of(index)}

    assert [page for page in DOCS.rglob("*.md") if page != index and page not in linked] == []


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_decision_has_context_decision_and_consequences(record: Path) -> None:
    headings = re.findall(r"^## (.+)$", prose_of(record), flags=re.MULTILINE)

    assert [heading for heading in headings if heading in ("Context", "Decision", "Consequences")] == [
        "Context",
        "Decision",
        "Consequences",
    ]


@pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: message.__name__)
def test_the_wire_reference_has_each_message_with_its_fields_in_order(message: type[Message]) -> None:
    names = ", ".join(f"`{field.name}`" for field in fields(message)) or "none"

    assert f"| {message.code} | `{message.__name__}` | {names} |" in WIRE.read_text()


def test_the_wire_reference_names_no_message_that_does_not_exist() -> None:
    named = re.findall(r"^\| (\d+) \| `(\w+)` \|", WIRE.read_text(), flags=re.MULTILINE)

    assert named == [(str(code), message.__name__) for code, message in sorted(MESSAGES.items())]


def test_the_wire_reference_has_the_version_the_limit_and_every_error() -> None:
    text = WIRE.read_text()

    assert f"protocol {MAJOR}.{MINOR}" in text
    assert f"{MAX_FRAME_BYTES:,} bytes" in text
    assert [kind for kind in WIRE_ERRORS if f"`{kind}`" not in text] == []


def keys_of(value: object) -> object:
    """The shape of a document: its keys, at every depth."""
    return {key: keys_of(inner) for key, inner in value.items()} if isinstance(value, dict) else None


def test_the_status_reference_shows_exactly_the_keys_that_are_told() -> None:
    zero = SimpleNamespace(
        origin_bytes=0,
        supernode_bytes=0,
        peer_bytes=0,
        store_bytes=0,
        passed_bytes=0,
        served_bytes=0,
        pieces_verified=0,
        pieces_rejected=0,
    )
    process = ProcessFigures(version="0", role="peer", peer_id="", mountpoint="/", cache_directory="/c", started_at_s=0, pid=1)
    store = SimpleNamespace(used_bytes=0, limit_bytes=None, free_bytes=0, blobs=0, read_through=False, damaged=0)
    latency = SimpleNamespace(p50_ms=0.0, p99_ms=0.0)
    told: dict[str, Any] = assemble_status(
        process=process,
        counters=cast("CounterStatistics", zero),
        known_peers=0,
        isolated_peers=[],
        unreachable_peers=[],
        advertised=Advertised(address=""),
        supernodes=[SupernodeFigures(address="", state="up")],
        store=store,
        limit=LimitFigures(),
        demand_latency=cast("Quantiles", latency),
        loop_lag=cast("Quantiles", latency),
        open_files=0,
    )
    page = DOCS / "reference/status.md"
    shown: dict[str, Any] = json.loads(blocks_of(page, "json")[0])

    assert keys_of(shown) == keys_of(told)
    assert shown["supernodes"][0].keys() == told["supernodes"][0].keys()
    assert [key for key in told if f"`{key}" not in page.read_text()] == []


def test_the_page_about_the_tree_has_every_attribute_and_control_file() -> None:
    text = (DOCS / "reference/mounted-tree.md").read_text()
    names = [name.decode() for name in OF_FILES] + [f".fly/{name}" for name in CONTROL_NAMES]

    assert [name for name in names if f"`{name}" not in text] == []


def test_the_page_about_failures_has_every_errno() -> None:
    text = (DOCS / "how-to/when-a-read-fails.md").read_text()
    numbers = {*ERRNO_OF.values(), READ_ONLY, NO_ATTRIBUTE, UNFORESEEN}

    assert [errno.errorcode[number] for number in sorted(numbers) if f"| {errno.errorcode[number]} |" not in text] == []


def test_every_command_has_a_word_in_the_reference() -> None:
    text = (DOCS / "reference/commands.md").read_text()

    assert [name for name in COMMANDS if f"flyfs {name}" not in text] == []


def test_the_glossary_is_sorted_and_names_the_words_to_avoid() -> None:
    words = re.findall(r"^\*\*([^*]+)\*\*", GLOSSARY.read_text(), flags=re.MULTILINE)

    assert words == sorted(words, key=str.lower)
    assert len(words) == len(set(words))
    assert [word for word in VAGUE if f"`{word}`" not in GLOSSARY.read_text()] == []


def test_the_readme_shows_the_two_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text()

    assert "./mount-helpers/bootstrap demo" in text
    assert "./mount-helpers/bootstrap test" in text
    assert os.access(ROOT / "mount-helpers/bootstrap", os.X_OK)
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_each_dependency_has_its_line_in_the_decision_about_libraries() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["fuse"],
        *project["dependency-groups"]["dev"],
    ]
    named = {found[0] for line in wanted if (found := re.match(r"[\w-]+", line))}
    text = (DOCS / "decisions/0004-libraries.md").read_text()

    assert sorted(name for name in named if f"**{name}**" not in text) == []


def test_documents_that_the_code_names_exist() -> None:
    sources = [path for package in ("flyfs", "supernode") for path in (ROOT / package).rglob("*.py")]
    named = {(name, str(path)) for path in sources for name in re.findall(r"docs/[\w/.-]+\.md", path.read_text())}

    assert sorted(pair for pair in named if not (ROOT / pair[0]).exists()) == []


def test_the_settings_that_the_fleet_page_shows_are_settings(tmp_path: Path) -> None:
    (shown,) = blocks_of(DOCS / "how-to/run-a-supernode.md", "toml")
    (tmp_path / "supernode.toml").write_text(shown)

    config = read_supernode_config(["--config", str(tmp_path / "supernode.toml")], {})

    assert config.allow_origin == ("files.example.org", "10.2.0.0/16")
    assert config.cache_limit_bytes == 500 * 10**9


@pytest.mark.fuse
def test_the_tutorial_runs_as_it_is_written(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = "\n".join(blocks_of(TUTORIAL, "sh"))
    for words, instead in (
        ("./mount-helpers/bootstrap\n", ""),
        ("/tmp/first", str(tmp_path)),
        ("8099", str(port)),
        ("events {}", "user root; events {}"),  # pytest's directory is for its owner alone
    ):
        assert words in script
        script = script.replace(words, instead)

    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        if (tmp_path / "nginx.pid").exists():
            os.kill(int((tmp_path / "nginx.pid").read_text()), signal.SIGTERM)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("big.bin: OK") == 2
    assert not tmp_path.exists()
