"""A store keeps its word on a disk that loses, reorders and tears what was not flushed. ``just torture`` does it 1,000 times."""

import os
from pathlib import Path

import pytest

from flyfs.core.grid import MIB
from tests.support.apart import apart
from tests.torture.device_log import Entry, Flush, Mark, Write, decode_log
from tests.torture.lost_writes import a_recorder, lose_writes
from tests.torture.recorder import IMAGE_NAME, MARKS_NAME
from tests.torture.volumes import make_ext4, memory_directory, mounted

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(100)]


def test_on_a_disk_that_loses_what_was_not_flushed_the_store_keeps_its_word(tmp_path: Path) -> None:
    tally = apart(lose_writes, tmp_path, 40, seed=1, seconds=2.0)

    assert tally.bad == []
    assert tally.judged == 40
    assert tally.compared > 1000
    assert tally.promised > 100


def test_a_store_that_syncs_just_after_it_marked_is_found_out(tmp_path: Path) -> None:
    tally = apart(lose_writes, tmp_path, 100, seed=1, seconds=2.0, fill=("--sync", "late"))

    assert tally.wrong


def test_the_recorder_hears_of_a_sync_after_the_bytes_and_before_the_program_goes_on(tmp_path: Path) -> None:
    entries = apart(told_of_a_sync, tmp_path)

    between = entries[entries.index(Mark("begun")) : entries.index(Mark("synced"))]
    written = [index for index, entry in enumerate(between) if isinstance(entry, Write) and b"wantedwanted" in entry.data]
    assert written
    assert Flush() in between[written[-1] :]
    assert isinstance(between[-1], Flush), "the journal's commit is flushed, too"


def told_of_a_sync(directory: Path) -> list[Entry]:
    with memory_directory(directory) as memory:
        image, log = memory / "disk", memory / "log"
        make_ext4(image, 16 * MIB)
        with (
            a_recorder(image, log, memory / "recorder") as recorder,
            mounted(recorder / IMAGE_NAME, memory / "mnt") as mountpoint,
        ):
            marks = os.open(recorder / MARKS_NAME, os.O_WRONLY)
            fd = os.open(mountpoint / "file", os.O_CREAT | os.O_WRONLY)
            os.write(marks, b"begun\n")
            os.write(fd, b"wanted" * 1000)
            os.fdatasync(fd)
            os.write(marks, b"synced\n")
            os.close(fd)
            os.close(marks)
        return list(decode_log(log.read_bytes()))
