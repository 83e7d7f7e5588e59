"""Reads that never wait, on whatever the kernel and the file system offer."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyfs.core.grid import MIB
from flyfs.store.page_cache import BUFFER_BYTES, PageCache, drop_pages, read_into_cache, read_whole

CONTENT = bytes(range(256)) * 4096 * 5  # 5 MiB


@pytest.fixture(params=["disk", "tmpfs"])
def fd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file" if request.param == "disk" else Path(f"/dev/shm/flyfs-test-{os.getpid()}")
    path.write_bytes(CONTENT)
    opened = os.open(path, os.O_RDWR)
    path.unlink()
    yield opened
    os.close(opened)


@pytest.fixture
def cold(tmp_path: Path) -> Iterator[int]:
    """A file on a real disk that is not in the page cache."""
    path = tmp_path / "cold"
    path.write_bytes(CONTENT)
    opened = os.open(path, os.O_RDWR)
    os.fsync(opened)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    yield opened
    os.close(opened)


def test_cached_bytes_come_as_a_view_of_one_buffer(fd: int) -> None:
    pages = PageCache()
    first = pages.read_nowait(fd, 5, 1000)
    second = pages.read_nowait(fd, 4 * MIB + 1, 10)

    assert first is not None
    assert second is not None
    assert second == CONTENT[4 * MIB + 1 :][:10]
    assert first.obj is second.obj


def test_a_read_that_is_too_large_or_leaves_the_file_is_not_answered(fd: int) -> None:
    pages = PageCache()

    assert pages.read_nowait(fd, 0, BUFFER_BYTES + 1) is None
    assert pages.read_nowait(fd, len(CONTENT) - 1, 2) is None
    assert pages.read_nowait(fd, 0, 0) == b""


def test_a_disk_that_fails_is_not_answered() -> None:
    closed = os.open("/", os.O_RDONLY)  # a directory: EISDIR

    assert PageCache().read_nowait(closed, 0, 1) is None
    os.close(closed)


def test_dropped_pages_are_read_again_and_dirty_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        assert PageCache().holds_nowait(file.fileno(), 0, 3 * MIB)
        drop_pages(file.fileno(), [(0, 2 * MIB), (2 * MIB, 5 * MIB)])
        assert not PageCache(nowait=False).holds_nowait(file.fileno(), 0, 4096)
        os.pwrite(file.fileno(), b"new", 4 * MIB)
        drop_pages(file.fileno(), [(4 * MIB, 5 * MIB)])
        assert os.pread(file.fileno(), 9, 0) == CONTENT[:9]
        assert os.pread(file.fileno(), 9, 4 * MIB) == b"new" + CONTENT[3:9]


def misses(pages: PageCache, fd: int) -> bool:
    """Whether a cold page is not answered. A probe starts a read-ahead, which a fast disk may finish before the probe ends."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return pages.read_nowait(fd, 3 * MIB, 4096) is None


@pytest.mark.parametrize("nowait", [True, False])
def test_what_is_not_cached_is_not_answered(cold: int, nowait: bool) -> None:
    pages = PageCache(nowait=nowait)

    assert not pages.holds_nowait(cold, 0, len(CONTENT))
    assert any(misses(pages, cold) for _ in range(50))
    read_into_cache(cold, 1, len(CONTENT))
    assert pages.holds_nowait(cold, 0, len(CONTENT))
    assert pages.read_nowait(cold, 3 * MIB, 4096) == CONTENT[3 * MIB :][:4096]


def test_without_cachestat_the_bytes_themselves_are_probed(cold: int) -> None:
    pages = PageCache(cachestat=False)

    assert not pages.holds_nowait(cold, 0, len(CONTENT))
    read_into_cache(cold, 0, len(CONTENT))
    assert pages.holds_nowait(cold, 0, len(CONTENT))
    assert pages.holds_nowait(cold, 7, 7)


def test_what_is_only_counted_as_cached_is_probed_at_its_ends(cold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PageCache, "_counted_cached", lambda *_: True)  # as while the pages are being read
    pages = PageCache()

    assert any(not pages.holds_nowait(cold, at, at + MIB) for at in range(0, 4 * MIB, MIB))
    read_into_cache(cold, 0, len(CONTENT))
    assert pages.holds_nowait(cold, 0, len(CONTENT))
    assert pages.holds_nowait(cold, 7, 7)


def test_a_kernel_with_neither_counts_nothing_as_cached(fd: int) -> None:
    pages = PageCache(nowait=False, cachestat=False)

    assert not pages.holds_nowait(fd, 0, 1)
    assert pages.read_nowait(fd, 0, 1) is None


def test_a_kernel_without_cachestat_is_asked_once(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyfs.store.page_cache._SYS_CACHESTAT", 100_000)  # ENOSYS
    pages = PageCache(nowait=False)

    assert pages.read_nowait(fd, 0, 1) is None
    monkeypatch.undo()
    assert pages.read_nowait(fd, 0, 1) is None


def test_reads_in_a_thread_are_whole_or_an_error(fd: int) -> None:
    assert read_whole(fd, len(CONTENT) - 3, 3) == CONTENT[-3:]
    assert read_whole(fd, 1, MIB) == CONTENT[1 : MIB + 1]
    with pytest.raises(OSError, match="the file ends early"):
        read_whole(fd, len(CONTENT) - 3, 4)
    read_into_cache(fd, 0, len(CONTENT))
    with pytest.raises(OSError, match="the file ends early"):
        read_into_cache(fd, 0, len(CONTENT) + 1)


def test_a_read_that_the_kernel_splits_is_put_together(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pread = os.pread
    monkeypatch.setattr("os.pread", lambda fd, size, offset: pread(fd, min(size, 1000), offset))

    assert read_whole(fd, 7, 5000) == CONTENT[7:5007]
