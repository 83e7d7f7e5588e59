"""A directory tree with names that need care, seen by the programs that people use on directories."""

import hashlib
import os
import random
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Mount, run_bounded
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(100)]

PIECE_BYTES = 256 * 1024
"""Of files below 100 MiB."""
NEEDLE = "needle in the hay"
CAREFUL = [
    "a b", " leading", "trailing ", "two  blanks", "a#b", "#", "100%", "%", "%%", "%41", "%2F", "%zz", "%e9", "%25", "a%20b",
    "a+b",
    "a&b;c=d", "a?b", "?", "a?b=c&d", "what?.txt", "<b>", "a>b", '"quoted"', "it's", "`tick`", "$HOME", "back\\slash", "a:b", ":",
    "~", "~tilde", "a~0123456789abcdef", "[1]", "{a,b}", "(c)", "*", "!", "@", "|", "^", "a,b", "-rf", "--", "é",
    "e\u0301", "日本語", "Ünïcödé ß", "🦋", "a\u00a0b", "\u202eright", "new\nline", "tab\there", "&amp;", "&lt;", "x.html",
    "index.html", "a" * 255, "é" * 127, "日" * 85, "x" * 251 + ".bin", "UPPER", "upper", "a\udcff.latin",
]  # fmt: skip
NESTED = ["sub dir", "sub dir/100%", "sub dir/100%/a#b?c", "dé", "d%2F", "deep/a/b/c/d/e"]
NO_INDEX = "index no-index;"
"""nginx would show index.html in place of the listing."""
WHOLE_MINUTE_S = 1_700_000_040
"""Listings of nginx tell times to the minute."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The origin's directory, and the same as the name rule shows it."""

    root: Path
    shown: Path

    @property
    def files(self) -> list[Path]:
        """Below ``shown``, relative."""
        return sorted(place.relative_to(self.shown) for place in self.shown.rglob("*") if place.is_file())


def shown_name(name: str) -> str:
    """The contract's name rule, for names that stay below 256 bytes."""
    return re.sub(r"\?|%(?=[0-9A-Fa-f]{2})", lambda found: f"%{ord(found[0]):02X}", name)


def a_tree(place: Path) -> Tree:
    """500 files."""
    chance = random.Random(1)
    tree = Tree(place / "root", place / "shown")
    contents: dict[str, bytes] = {"empty": b"", "sub dir/empty too": b"", "one byte": b"x"}
    for difference in (-1, 0, 1):
        contents[f"piece{difference:+}"] = chance.randbytes(PIECE_BYTES + difference)
    contents["several pieces"] = chance.randbytes(5 * PIECE_BYTES + 1)
    for index, name in enumerate(CAREFUL):
        directory = f"{NESTED[index % len(NESTED)]}/" if index % 2 and len(os.fsencode(name)) < 200 else ""
        contents[directory + name] = f"{index}\n{NEEDLE if index % 5 == 0 else 'hay'}\n".encode() + chance.randbytes(index)
    while len(contents) < 500:
        contents[f"{chance.choice(NESTED)}/file {len(contents)}"] = chance.randbytes(chance.randrange(5000))
    for name, content in contents.items():
        for top, path in ((tree.root, name), (tree.shown, "/".join(map(shown_name, name.split("/"))))):
            file = top / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o555)
            os.utime(file, (WHOLE_MINUTE_S, WHOLE_MINUTE_S))
    shutil.copy("/bin/ls", tree.root / "program")
    shutil.copy("/bin/ls", tree.shown / "program")
    for top in (tree.root, tree.shown):
        (top / "script").write_text('#!/bin/sh\necho "run as $0 with $1"\n')
        for file in (top / "program", top / "script"):
            file.chmod(0o555)
            os.utime(file, (WHOLE_MINUTE_S, WHOLE_MINUTE_S))
    return tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return a_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def origin(tree: Tree) -> Iterator[NginxOrigin]:
    with NginxOrigin.serving(tree.root, directives=NO_INDEX) as running:
        yield running


@pytest.fixture(scope="module")
def mount(origin: NginxOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    with Fleet.below(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet.mount("m")


@pytest.fixture(scope="module")
def top(origin: NginxOrigin, mount: Mount) -> Path:
    """Where the origin's root is seen."""
    return mount.path(origin.authority)


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """The output of a command that must succeed without a word on stderr."""
    finished = run_bounded(words, cwd=cwd, timeout_s=60)
    assert (finished.status, finished.stderr) == (0, ""), finished
    return finished.stdout


def listed(place: Path, what: str) -> list[str]:
    """What ``find`` tells of everything below ``place``."""
    return sorted(run("find", place, "-mindepth", "1", "-printf", what).split("\0"))


def test_find_sees_every_file_with_its_kind_and_size(tree: Tree, top: Path) -> None:
    what = r"%y %P\0"
    assert listed(top, what) == listed(tree.shown, what)
    sizes = sorted(run("find", top, "-type", "f", "-printf", r"%P %s %m %Ts\0").split("\0"))
    assert sizes == sorted(run("find", tree.shown, "-type", "f", "-printf", r"%P %s %m %Ts\0").split("\0"))


def test_ls_lists_the_whole_tree_and_long_listings_twice_are_the_same(tree: Tree, top: Path) -> None:
    told = run("ls", "-lR", "--quoting-style=escape", "--time-style=+%s", top)
    assert told == run("ls", "-lR", "--quoting-style=escape", "--time-style=+%s", top)
    assert sum(line.startswith("-r-xr-xr-x ") for line in told.splitlines()) == len(tree.files)
    assert not any("?" in line.split(" ", 1)[0] for line in told.splitlines())


def test_diff_finds_no_difference(tree: Tree, top: Path) -> None:
    assert run("diff", "-r", "--no-dereference", tree.shown, top) == ""


def test_a_copy_is_the_same_tree(tree: Tree, top: Path, tmp_path: Path) -> None:
    run("cp", "-r", top, tmp_path / "copy")
    assert run("diff", "-r", tree.shown, tmp_path / "copy") == ""


def test_grep_finds_the_same_lines(tree: Tree, top: Path) -> None:
    words = ("grep", "-r", "-c", "--null", "--binary-files=text", NEEDLE, ".")
    here = run(*words, cwd=tree.shown)
    assert sorted(run(*words, cwd=top).splitlines()) == sorted(here.splitlines())


def test_an_archive_of_the_mount_holds_the_same_bytes(tree: Tree, top: Path, tmp_path: Path) -> None:
    run("tar", "-cf", tmp_path / "all.tar", "-C", top, ".")
    (tmp_path / "out").mkdir()
    run("tar", "-xf", tmp_path / "all.tar", "-C", tmp_path / "out")
    assert run("diff", "-r", tree.shown, tmp_path / "out") == ""


def test_rsync_copies_and_then_finds_nothing_to_do(tree: Tree, top: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    run("rsync", "-a", "--checksum", f"{top}/", copy)
    assert run("diff", "-r", tree.shown, copy) == ""
    changes = run("rsync", "-a", "--checksum", "--itemize-changes", f"{top}/", copy)
    assert [line for line in changes.splitlines() if line.startswith(">f")] == []
    assert (copy / "one byte").stat().st_mtime == WHOLE_MINUTE_S


def test_a_listing_in_json_shows_the_same_tree(tree: Tree, tmp_path: Path) -> None:
    with NginxOrigin.serving(tree.root, listings="json", directives=NO_INDEX) as origin, Fleet.below(tmp_path) as fleet:
        top = fleet.mount("m").path(origin.authority)
        assert listed(top, r"%y %P\0") == listed(tree.shown, r"%y %P\0")
        sizes = r"%P %s %Ts\0"
        here, there = (run("find", place, "-type", "f", "-printf", sizes).split("\0") for place in (top, tree.shown))
        assert sorted(here) == sorted(there)


def test_names_are_found_without_a_listing(tree: Tree, origin: NginxOrigin, reader: Reader, tmp_path: Path) -> None:
    with Fleet.below(tmp_path) as fleet:
        top = fleet.mount("fresh").path(origin.authority)
        careful = [name for name in tree.files if not name.name.startswith("file ")]
        for name in careful:
            content = (tree.shown / name).read_bytes()
            found = reader.get("read", path=top / name, offset=0, size=len(content) + 1)
            assert found == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}, name
        assert len(careful) >= len(CAREFUL)


def test_sizes_around_a_piece_are_read_to_their_last_byte(tree: Tree, top: Path, reader: Reader) -> None:
    for name, size in (("empty", 0), ("one byte", 1), *((f"piece{d:+}", PIECE_BYTES + d) for d in (-1, 0, 1))):
        content = (tree.shown / name).read_bytes()
        assert reader.get("stat", path=top / name)["st_size"] == size
        assert reader.digest(top / name) == hashlib.sha256(content).hexdigest()
        for offset in (max(0, size - 1), size, size + 1):
            part = content[offset : offset + 10]
            told = reader.get("read", path=top / name, offset=offset, size=10)
            assert told == {"size": len(part), "sha256": hashlib.sha256(part).hexdigest()}
        pieces = reader.get("xattr", path=top / name, name="user.flyfs.pieces")
        assert pieces == "{0}/{0}".format(-(-size // PIECE_BYTES))


def test_a_mapped_file_is_the_file(tree: Tree, top: Path, reader: Reader) -> None:
    content = (tree.shown / "several pieces").read_bytes()
    chance = random.Random(2)
    parts = [
        (offset, min(chance.randrange(1, 3 * PIECE_BYTES), len(content) - offset)) for offset in range(0, len(content), 100_003)
    ]
    chance.shuffle(parts)

    mapped = reader.get("mapped", path=top / "several pieces", parts=parts)

    assert mapped == [hashlib.sha256(content[offset : offset + size]).hexdigest() for offset, size in parts]


def test_programs_run_from_the_mount(tree: Tree, top: Path) -> None:
    assert run(top / "program", "-1", tree.shown / "deep") == "a\n"
    assert run(top / "script", "a word") == f"run as {top / 'script'} with a word\n"


def test_everything_is_read_only(top: Path, reader: Reader) -> None:
    assert reader.ask("write", path=top / "one byte").error == "EROFS"
    assert reader.ask("write", path=top / "new").error in ("ENOENT", "EROFS")  # without O_CREAT the name is looked up first
    for words in (
        ("touch", top / "new"),
        ("mkdir", top / "new"),
        ("rm", "-f", top / "one byte"),
        ("mv", top / "empty", top / "new"),
    ):
        finished = run_bounded(words)
        assert finished.status != 0
        assert "Read-only file system" in finished.stderr
    found = reader.get("stat", path=top / "one byte")
    assert stat.S_IMODE(found["st_mode"]) == 0o555
    assert found["st_uid"] == os.getuid()
