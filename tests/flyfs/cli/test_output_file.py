import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from flyfs.cli.output_file import OutputFile
from flyfs.core.errors import ConfigError, Corrupt, StoreFull

CONTENT = b"some content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_a_file_appears_when_it_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with OutputFile(path, SHA256) as file:
        file.write(CONTENT[:4])
        file.write(memoryview(CONTENT)[4:])
        assert not path.exists()
        file.commit()
        assert path.read_bytes() == CONTENT

    assert os.listdir(tmp_path) == ["file"]
    assert file.written_bytes == len(CONTENT)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_what_is_not_committed_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), OutputFile(path, None) as file:  # noqa: PT012 - the whole context is under test
        file.write(CONTENT)
        raise ZeroDivisionError

    assert os.listdir(tmp_path) == ["file"]
    assert path.read_text() == "before"


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    path.chmod(0o640)
    with OutputFile(path, None) as file:
        file.write(CONTENT)
        file.commit()

    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_content_with_another_digest_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(Corrupt) as caught, OutputFile(path, "0" * 64) as file:  # noqa: PT012 - the whole context is under test
        file.write(CONTENT)
        file.commit()

    assert caught.value.message == f"{path}: not written: the content has SHA-256 {SHA256}, not {'0' * 64}"
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_text() == "before"


def test_a_device_is_written_and_stays_a_device() -> None:
    with OutputFile(Path("/dev/null"), SHA256) as file:
        file.write(CONTENT)
        file.commit()

    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_full_disk_is_told() -> None:
    with pytest.raises(StoreFull) as caught, OutputFile(Path("/dev/full"), None) as file:
        file.write(CONTENT)
    assert caught.value.message == f"/dev/full: cannot be written: {os.strerror(errno.ENOSPC)}"


def test_a_reader_of_a_pipe_that_has_seen_enough_is_no_full_disk(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BrokenPipeError), OutputFile(tmp_path / "pipe", None) as file:  # noqa: PT012 - the whole context is under test
        os.close(reader)
        file.write(CONTENT)


@pytest.mark.parametrize(("place", "why"), [("no/such/file", "No such file or directory"), ("", "Is a directory")])
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, place: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught, OutputFile(tmp_path / place, None):
        pass  # pragma: no cover - it never gets here
    assert caught.value.message == f"{tmp_path / place}: cannot be written: {why}; choose another file with -o"
