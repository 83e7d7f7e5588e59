import os
import subprocess
import sys
from pathlib import Path

import pytest

from flyfs.core.errors import ConfigError
from flyfs.fuse.stale_mount import hold_mountpoint


def test_a_held_mountpoint_names_its_holder(tmp_path: Path) -> None:
    with hold_mountpoint(tmp_path, tmp_path / "run" / "m.lock"):
        with pytest.raises(ConfigError, match=f"pid {os.getpid()}"), hold_mountpoint(tmp_path, tmp_path / "run" / "m.lock"):
            pass
        assert len(list((tmp_path / "run").iterdir())) == 1
    assert list((tmp_path / "run").iterdir()) == []
    with hold_mountpoint(tmp_path, tmp_path / "run" / "m.lock"):
        pass


def test_a_dead_holders_lock_is_free(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from flyfs.fuse.stale_mount import hold_mountpoint\n"
        f"with hold_mountpoint(Path({str(tmp_path)!r}), Path({str(tmp_path / 'run' / 'm.lock')!r})): os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20, cwd=Path(__file__).parents[3])

    assert len(list((tmp_path / "run").iterdir())) == 1
    with hold_mountpoint(tmp_path, tmp_path / "run" / "m.lock"):
        pass


def test_a_mountpoint_is_a_directory_and_need_not_be_empty(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for place in (file, tmp_path / "absent", file / "below"):
        with pytest.raises(ConfigError, match="no directory"), hold_mountpoint(place, tmp_path / "run" / "m.lock"):
            pass
    with hold_mountpoint(tmp_path, tmp_path / "run" / "m.lock"):
        assert file.exists()


def test_a_lock_that_cannot_be_made_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "run").touch()

    with (
        pytest.raises(ConfigError, match="choose another place with --runtime-dir"),
        hold_mountpoint(tmp_path, tmp_path / "run" / "m.lock"),
    ):
        pass
