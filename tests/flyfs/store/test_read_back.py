"""What the disk has is told from the disk, never from memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import piece_digest
from flyfs.store.read_back import Expected, pieces_on_disk, read_past_cache

CONTENT = os.urandom(40_000)


@contextmanager
def direct(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(CONTENT)
    return path


def expected(start: int, stop: int, data: bytes | None = None) -> Expected:
    return Expected(
        piece=PieceIndex(start), start=start, stop=stop, digest=piece_digest(CONTENT[start:stop] if data is None else data)
    )


@pytest.mark.parametrize(("start", "stop"), [(0, 4096), (4096, 40_000), (1, 2), (4095, 4097), (5000, 13_000), (39_999, 40_000)])
def test_any_range_is_read_and_the_file_may_end_anywhere(path: Path, start: int, stop: int) -> None:
    with direct(path) as fd:
        assert read_past_cache(fd, start, stop) == CONTENT[start:stop]


def test_a_file_that_ends_earlier_gives_what_there_is(path: Path) -> None:
    with direct(path) as fd:
        assert read_past_cache(fd, 36_864, 45_000) == CONTENT[36_864:]
        assert read_past_cache(fd, 45_000, 46_000) == b""


def test_pieces_are_on_the_disk_where_every_byte_is(path: Path) -> None:
    with direct(path) as fd:
        found = pieces_on_disk(
            fd,
            [
                expected(0, 9000),
                expected(9000, 18_000, b"other"),
                expected(36_000, 40_001, CONTENT[36_000:] + bytes(1)),
                expected(39_000, 40_000),
            ],
        )

    assert found == [0, 39_000]


def test_what_cannot_be_read_is_not_there(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert pieces_on_disk(fd, [expected(0, 4096)]) == []
    finally:
        os.close(fd)
