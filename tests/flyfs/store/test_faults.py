"""Pieces proved from a file, wherever they lie in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyfs.core.grid import KIB
from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import piece_digest
from flyfs.store import faults
from flyfs.store.faults import ENDS_EARLY, WRONG_BYTES, Expected, fault_of, pieces_on_disk, unreadable

CONTENT = os.urandom(700 * KIB + 123)


@pytest.fixture(params=["cached", "direct"])
def fd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """A file that is read through the page cache, or past it."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    opened = os.open(path, os.O_RDONLY | (os.O_DIRECT if request.param == "direct" else 0))
    yield opened
    os.close(opened)


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (0, 4096), (1, 4095), (4095, 4097), (5000, 600 * KIB), (256 * KIB, 512 * KIB), (700 * KIB, len(CONTENT)), (7, 7)],
)
def test_a_piece_is_proved_wherever_it_lies(fd: int, start: int, stop: int) -> None:
    assert fault_of(fd, start, stop, piece_digest(CONTENT[start:stop])) is None
    assert fault_of(fd, start, stop, piece_digest(CONTENT[start:stop] + b"x")) == WRONG_BYTES


@pytest.mark.parametrize("start", [0, 699 * KIB, len(CONTENT) - 1, len(CONTENT), 4 << 20])
def test_a_file_that_ends_before_its_piece_is_told(fd: int, start: int) -> None:
    assert fault_of(fd, start, max(start, len(CONTENT)) + 1, b"") == ENDS_EARLY


def expected(start: int, stop: int, data: bytes | None = None) -> Expected:
    digest = piece_digest(CONTENT[start:stop] if data is None else data)
    return Expected(piece=PieceIndex(start), start=start, stop=stop, digest=digest)


def test_pieces_are_on_the_disk_where_every_byte_is(fd: int) -> None:
    end = len(CONTENT)
    found = pieces_on_disk(
        fd,
        [
            expected(0, 9000),
            expected(9000, 18_000, b"other"),
            expected(end - 5000, end + 1, CONTENT[-5000:] + bytes(1)),
            expected(end - 1000, end),
        ],
    )

    assert found == [0, end - 1000]


def test_what_cannot_be_read_is_not_there(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert pieces_on_disk(fd, [expected(0, 4096)]) == []
    finally:
        os.close(fd)


def test_a_disk_that_fails_is_told(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(faults.os, "preadv", refuse)
    with pytest.raises(OSError, match="Input/output") as caught:
        fault_of(fd, 0, 1, b"")
    assert unreadable(caught.value) == "the disk cannot read it: Input/output error"
