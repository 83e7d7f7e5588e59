"""The cache directory: version, peer id, refusals."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from flyfs.core.errors import ConfigError
from flyfs.store import effects
from flyfs.store.cache_directory import CacheDirectory
from flyfs.store.eviction import Disk
from tests.flyfs.store.builders import a_blob


def test_a_new_directory_has_a_version_and_a_peer_id_for_ever(tmp_path: Path) -> None:
    first = CacheDirectory(tmp_path)
    first.close()
    second = CacheDirectory(tmp_path)
    second.close()

    assert first.peer_id == second.peer_id
    assert (tmp_path / "version").read_text() == "flyfs store 1\n"
    assert (tmp_path / "peer-id").read_text() == f"{first.peer_id}\n"


@pytest.mark.parametrize("damage", [b"", b"xyz\n", b"\xff" * 32])
def test_a_damaged_peer_id_is_replaced(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "peer-id").write_bytes(damage)
    directory = CacheDirectory(tmp_path)
    directory.close()

    assert (tmp_path / "peer-id").read_text() == f"{directory.peer_id}\n"


def test_a_directory_of_another_version_is_refused_and_unlocked(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("flyfs store 2\n")
    with pytest.raises(ConfigError, match="has the format 'flyfs store 2'"):
        CacheDirectory(tmp_path)

    (tmp_path / "version").write_text("flyfs store 1\n")
    CacheDirectory(tmp_path).close()


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make the cache directory"):
        CacheDirectory(tmp_path / "file")

    (tmp_path / "blobs").write_text("")
    with pytest.raises(ConfigError, match="cannot use the cache directory"):
        CacheDirectory(tmp_path)


def test_a_cache_directory_may_be_a_link_but_nothing_in_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    CacheDirectory(tmp_path / "link").close()
    (tmp_path / "real" / "blobs").rmdir()
    (tmp_path / "real" / "blobs").symlink_to(tmp_path)

    with pytest.raises(ConfigError):
        CacheDirectory(tmp_path / "link")


def test_a_blob_that_cannot_be_looked_at_now_is_left_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = CacheDirectory(tmp_path)
    blob_id = a_blob().id
    place = tmp_path / "blobs" / blob_id[:2] / blob_id
    place.mkdir(parents=True)
    (place / "head").mkdir()  # EISDIR, as good as any error that is neither absence nor damage

    assert list(directory.scan()) == []
    assert place.exists()
    directory.close()


def test_a_sweep_removes_whatever_was_set_aside(tmp_path: Path) -> None:
    directory = CacheDirectory(tmp_path)
    (tmp_path / "dropped" / "file").write_text("")
    (tmp_path / "dropped" / "directory").mkdir()
    (tmp_path / "dropped" / "directory" / "data").write_text("")
    directory.sweep()
    directory.close()

    assert list((tmp_path / "dropped").iterdir()) == []


def test_what_the_disk_has_is_told_and_remembered_where_it_cannot_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = CacheDirectory(tmp_path)
    told = os.statvfs(tmp_path)
    found = directory.disk()
    assert found.whole_bytes == told.f_blocks * told.f_frsize
    assert 0 < found.free_bytes <= found.whole_bytes
    assert found.free_inodes is not None

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fstatvfs", fail)
    assert directory.disk() == found
    directory.close()


def test_a_disk_that_counts_no_inodes_has_no_bound_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = CacheDirectory(tmp_path)
    told = SimpleNamespace(f_bavail=5, f_frsize=4096, f_blocks=10, f_files=0, f_favail=0)
    monkeypatch.setattr("os.fstatvfs", lambda _: told)

    assert directory.disk() == Disk(free_bytes=5 * 4096, whole_bytes=10 * 4096, free_inodes=None)
    directory.close()


def test_whether_files_can_lose_pieces_is_found_out_by_trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = CacheDirectory(tmp_path)
    assert directory.can_punch()
    assert (tmp_path / "version").read_text() == "flyfs store 1\n"

    def refuse(*_: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(effects, "punch_hole", refuse)
    assert not directory.can_punch()
    (tmp_path / "version").unlink()
    assert not directory.can_punch()
    directory.close()
