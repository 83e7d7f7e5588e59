"""Names whose rules are easier seen one by one than in a tree."""

import os
import re
from pathlib import Path

import pytest

from tests.support.fleet import Fleet
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(60)]


def test_a_name_that_gets_too_long_is_listed_shortened_and_can_be_read(
    fleet: Fleet, reader: Reader, root: Path, origin: NginxOrigin
) -> None:
    names = ["?" * 100 + "a" * 155, "?" * 100 + "a" * 154 + "b", "日" * 84 + "??"]
    for index, name in enumerate(names):
        (root / name).write_text(f"content {index}")
    top = fleet.mount("m").path(origin.authority)
    shown = reader.get("names", path=top)

    assert len(shown) == len(names)
    assert all(len(os.fsencode(one)) <= 255 and re.search("~[0-9a-f]{16}$", one) for one in shown)
    urls = {reader.get("xattr", path=top / one, name="user.flyfs.url"): reader.get("text", path=top / one) for one in shown}
    assert urls == {origin.url(name): f"content {index}" for index, name in enumerate(names)}


def test_dot_files_are_there_for_who_knows_them(fleet: Fleet, origin: NginxOrigin, root: Path, reader: Reader) -> None:
    names = (".hidden", ".fly", "...", "..a")
    for name in names:
        (root / name).write_text(f"content of {name}")  # nginx lists none of them
    top = fleet.mount("m").path(origin.authority)

    assert reader.get("names", path=top) == []
    assert [reader.get("text", path=top / name) for name in names] == [f"content of {name}" for name in names]


def test_the_root_lists_only_what_was_used_and_its_own_tree(
    fleet: Fleet, origin: NginxOrigin, root: Path, reader: Reader
) -> None:
    (root / "file").write_text("content")
    mount = fleet.mount("m")

    assert reader.get("names", path=mount.mountpoint) == [".fly", "http", "https"]
    assert reader.get("names", path=mount.mountpoint / "http") == []
    assert reader.get("text", path=mount.path(origin.authority, "file")) == "content"
    assert reader.get("names", path=mount.mountpoint / "http") == [origin.authority]
    assert reader.get("names", path=mount.mountpoint / ".fly") == ["layers", "peers", "status.json", "supernodes"]
    assert reader.get("statvfs", path=mount.mountpoint) == 255
