"""What lies in a cache directory, seen from outside."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.store.blob_files import BlobFiles, directory_of
from flyfs.store.blob_scan import FoundBlob, NoBlob, held_from_outside, scan_blobs
from flyfs.store.holdings import Holding
from tests.flyfs.store.builders import PIECE_BYTES, a_blob, digests_of


@pytest.fixture
def blobs_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def put(blobs_fd: int, blob: Blob, *pieces: int) -> None:
    files = BlobFiles.create(blobs_fd, blob)
    if pieces:
        files.append_digests([digests_of(blob)])
        files.replace_durable(Bitmap.of(len(blob.grid), pieces))
    files.close()


def used_at(path: Path, seconds: int) -> None:
    os.utime(path, (seconds, seconds))


def test_a_blob_is_told_with_what_its_durable_pieces_take_and_its_last_use(tmp_path: Path, blobs_fd: int) -> None:
    blob, empty = a_blob(2.5), a_blob(name="empty")
    put(blobs_fd, blob, 0, 2)
    put(blobs_fd, empty)
    for name, seconds in (("head", 50), ("durable", 70), ("digests", 900), ("data", 900)):
        used_at(tmp_path / directory_of(blob.id) / name, seconds)
    used_at(tmp_path / directory_of(empty.id) / "head", 60)

    found = {one.blob.id: one for one in scan_blobs(blobs_fd) if isinstance(one, FoundBlob)}

    assert found == {
        blob.id: FoundBlob(blob, PIECE_BYTES * 3 // 2, 70.0),
        empty.id: FoundBlob(empty, 0, 60.0),
    }
    (tmp_path / directory_of(blob.id) / "durable").write_bytes(b"damage")
    assert FoundBlob(blob, 0, 50.0) in list(scan_blobs(blobs_fd))


def test_names_of_blobs_without_one_are_told_and_nothing_else_is(tmp_path: Path, blobs_fd: int) -> None:
    damaged, headless, file, link, foreign = (a_blob(name=name) for name in ("damaged", "headless", "file", "link", "foreign"))
    for blob in (damaged, headless, foreign):
        put(blobs_fd, blob, 0)
    (tmp_path / directory_of(damaged.id) / "head").write_bytes(b"damage")
    (tmp_path / directory_of(headless.id) / "head").unlink()
    (tmp_path / directory_of(foreign.id) / "head").unlink()
    (tmp_path / directory_of(foreign.id) / "head").mkdir()
    for blob in (file, link):
        (tmp_path / directory_of(blob.id)).parent.mkdir(exist_ok=True)
    (tmp_path / directory_of(file.id)).write_text("")
    (tmp_path / directory_of(link.id)).symlink_to(tmp_path / directory_of(damaged.id))
    (tmp_path / "zz").mkdir()
    (tmp_path / "zz" / damaged.id).mkdir()
    (tmp_path / "README").write_text("")

    assert set(scan_blobs(blobs_fd)) == {NoBlob(blob.id) for blob in (damaged, headless, file, link)}


def test_a_directory_that_cannot_be_listed_costs_nothing_but_its_own_blobs(
    blobs_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sorted((a_blob(name="first"), a_blob(name="second")), key=lambda blob: blob.id)
    for blob in (first, second):
        put(blobs_fd, blob, 0)
    scandir = os.scandir

    def scandir_of_a_bad_disk(fd: int) -> Any:
        if Path(os.readlink(f"/proc/self/fd/{fd}")).name == first.id[:2]:
            raise OSError(errno.EIO, "Input/output error")
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", scandir_of_a_bad_disk)

    assert [one.blob for one in scan_blobs(blobs_fd) if isinstance(one, FoundBlob)] == [second]


def test_what_a_directory_holds_is_told_to_who_has_not_opened_it(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    fd = os.open(tmp_path / "blobs", os.O_RDONLY)
    for name, seconds in (("new", 20), ("old", 10)):
        put(fd, a_blob(2.5, name=name), 1, 2)
        for file in ("head", "durable"):
            used_at(tmp_path / "blobs" / directory_of(a_blob(2.5, name=name).id) / file, seconds)
    (tmp_path / "blobs" / directory_of(a_blob(name="half").id)).mkdir(parents=True)
    os.close(fd)

    assert held_from_outside(tmp_path) == [
        Holding(a_blob(2.5, name="old"), PIECE_BYTES * 3 // 2, 10.0, None),
        Holding(a_blob(2.5, name="new"), PIECE_BYTES * 3 // 2, 20.0, None),
    ]
    with pytest.raises(FileNotFoundError):
        held_from_outside(tmp_path / "blobs")


def test_more_blobs_than_one_reader_takes_at_once_are_all_found(blobs_fd: int) -> None:
    blobs = {a_blob(1, name=str(number)) for number in range(200)}
    for blob in blobs:
        put(blobs_fd, blob)

    assert {one.blob for one in scan_blobs(blobs_fd) if isinstance(one, FoundBlob)} == blobs
