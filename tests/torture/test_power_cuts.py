"""A store whose power is cut at any instant keeps its word, on a real file system. ``just torture`` does it 200 times."""

import os
from pathlib import Path

import pytest

from flyfs.core.grid import MIB
from tests.support.apart import apart
from tests.torture.power_cuts import cut_power_often
from tests.torture.volumes import cut_power, make_ext4, memory_directory, mounted

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(100)]


def test_after_a_power_cut_only_right_pieces_count_and_promised_ones_are_there(tmp_path: Path) -> None:
    tally = apart(cut_power_often, tmp_path, 5, seed=1)

    assert tally.bad == []
    assert tally.judged == 5
    assert tally.compared > 500
    assert tally.promised > 50


def test_a_store_that_marks_without_syncing_is_found_out(tmp_path: Path) -> None:
    tally = apart(cut_power_often, tmp_path, 5, seed=1, fill=("--sync", "left-out"))

    assert tally.wrong


def test_what_was_not_synced_is_lost_in_a_power_cut_and_what_was_is_not(tmp_path: Path) -> None:
    assert apart(names_after_a_cut, tmp_path) == ["synced"]


def names_after_a_cut(directory: Path) -> list[str]:
    with memory_directory(directory) as memory:
        image = memory / "disk"
        make_ext4(image, 16 * MIB)
        with mounted(image, memory / "mnt") as mountpoint:
            for name in ("synced", "not synced"):
                fd = os.open(mountpoint / name, os.O_CREAT | os.O_WRONLY)
                os.write(fd, name.encode())
                if name == "synced":
                    os.fsync(fd)
                os.close(fd)
            cut_power(mountpoint)
        with mounted(image, memory / "mnt") as mountpoint:
            return [path.name for path in mountpoint.iterdir() if path.is_file() and path.read_text() == path.name]
