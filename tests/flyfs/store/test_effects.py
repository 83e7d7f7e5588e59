"""Effects whose details matter: whole writes, and write-back that is only a hint."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from flyfs.store import effects


def test_a_run_is_written_whole_however_little_the_kernel_takes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwritev = os.pwritev
    calls: list[int] = []

    def lazy(fd: int, vectors: Sequence[memoryview], offset: int) -> int:
        calls.append(len(vectors))
        joined = b"".join(vectors)
        return pwritev(fd, [joined[:7]], offset)

    monkeypatch.setattr(os, "pwritev", lazy)
    monkeypatch.setattr(effects, "_MAX_VECTORS", 2)
    fd = effects.create_file(os.open(tmp_path, os.O_RDONLY), "data")
    effects.write_run(fd, [memoryview(b"0123456789"), memoryview(b""), memoryview(b"abcd"), memoryview(b"xyz")], 5)

    assert (tmp_path / "data").read_bytes() == bytes(5) + b"0123456789abcdxyz"
    assert max(calls) == 2


def test_write_back_is_a_hint_that_a_kernel_may_not_know(tmp_path: Path) -> None:
    with (tmp_path / "data").open("wb") as file:
        file.write(b"x" * 9000)
        file.flush()
        effects.start_writeback(file.fileno(), 0, 9000)
    reading, writing = os.pipe()
    effects.start_writeback(writing, 0, 9000)
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        effects.start_writeback(writing, 0, 9000)


def test_a_hole_is_punched_or_the_reason_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3 * 4096)
    with path.open("rb+") as file:
        effects.punch_hole(file.fileno(), 4096, 2 * 4096)
        assert path.read_bytes() == b"x" * 4096 + bytes(4096) + b"x" * 4096
        effects.punch_hole(file.fileno(), 2 * 4096, 99 * 4096)
        assert path.stat().st_size == 3 * 4096
    with path.open("rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        effects.punch_hole(file.fileno(), 0, 4096)
