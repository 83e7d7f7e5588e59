from pathlib import Path

import pytest

from flyfs.config.places import cache_home, mount_name, real_path, runtime_home
from flyfs.core.errors import ConfigError


def test_a_path_is_resolved_by_its_links_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").symlink_to("b/../c")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path.resolve())

    assert real_path("a/./d//e") == f"{here}/c/d/e"
    assert real_path("../x") == str(Path(here).parent / "x")
    assert real_path(f"{here}/a") == f"{here}/c"
    assert real_path("/nowhere/at/all") == "/nowhere/at/all"
    with pytest.raises(ConfigError, match="too many symbolic links"):
        real_path("loop")


def test_the_name_of_a_mount_is_readable_and_its_own() -> None:
    names = {mount_name(path) for path in ("/mnt/fly", "/mnt-fly", "/mnt/fly2", "/" + "x" * 300, "/…")}

    assert len(names) == 5
    assert mount_name("/mnt/fly").startswith("mnt-fly-")
    assert mount_name("/…").startswith("mount-")
    assert all(len(name) <= 41 and "/" not in name for name in names)
    assert not mount_name("/.hidden").startswith(".")


def test_places_of_a_user_follow_the_xdg_variables(as_user: None) -> None:
    assert cache_home({"HOME": "/home/ann"}) == Path("/home/ann/.cache/flyfs")
    assert cache_home({"XDG_CACHE_HOME": "/c"}) == Path("/c/flyfs")
    assert cache_home({"XDG_CACHE_HOME": "relative", "HOME": "/home/ann"}) == Path("/home/ann/.cache/flyfs")
    assert runtime_home({"XDG_RUNTIME_DIR": "/run/user/1000"}) == Path("/run/user/1000/flyfs")
    assert runtime_home({"HOME": "/home/ann"}) == Path("/home/ann/.cache/flyfs/run")
