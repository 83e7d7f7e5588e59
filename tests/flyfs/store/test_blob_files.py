"""The files of one blob: what damage costs."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flyfs.core.bitmap import Bitmap
from flyfs.core.errors import Corrupt, Unavailable
from flyfs.core.manifest import PAGE_PIECES
from flyfs.store import effects
from flyfs.store.blob_files import BlobFiles, DurablePieces, decode_head, directory_of
from flyfs.wire.records import encode_record, encode_records
from tests.flyfs.store.builders import KEY, PIECE_BYTES, a_blob, digests_of

BLOB = a_blob(3)


@pytest.fixture
def blobs_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def place(tmp_path: Path, blobs_fd: int) -> Path:
    """A blob with pieces 0 and 2 durable."""
    files = BlobFiles.create(blobs_fd, BLOB)
    files.append_digests([digests_of(BLOB)])
    files.replace_durable(Bitmap.of(3, [0, 2]))
    files.close()
    return tmp_path / directory_of(BLOB.id)


def durable_of(blobs_fd: int) -> list[int]:
    files = BlobFiles(blobs_fd, BLOB)
    durable, _ = files.load()
    files.close()
    return list(durable)


def test_what_was_saved_is_loaded(place: Path, blobs_fd: int) -> None:
    files = BlobFiles(blobs_fd, BLOB)
    durable, manifest = files.load()

    assert (list(durable), manifest.batches(0)) == ([0, 2], (digests_of(BLOB),))
    assert os.fstat(files.data_fd).st_size == BLOB.size
    assert {path.name: path.stat().st_mode & 0o777 for path in place.iterdir()} == dict.fromkeys(
        ("head", "data", "digests", "durable"), 0o600
    )
    assert place.stat().st_mode & 0o777 == 0o700
    files.close()
    files.close()


@pytest.mark.parametrize("torn", [b"FLY1", b"FLY1\xff\xff\xff\xff" + bytes(8), b"garbage" * 100])
def test_a_torn_tail_of_the_digests_is_cut_and_appended_over(place: Path, blobs_fd: int, torn: bytes) -> None:
    good = (place / "digests").read_bytes()
    (place / "digests").write_bytes(good + torn)
    assert durable_of(blobs_fd) == [0, 2]

    files = BlobFiles(blobs_fd, BLOB)
    files.load()
    files.append_digests([digests_of(BLOB, 1, 2)])
    files.close()
    assert (place / "digests").read_bytes() == good + encode_records([digests_of(BLOB, 1, 2)])


def test_pieces_whose_digests_are_lost_do_not_count(place: Path, blobs_fd: int) -> None:
    (place / "digests").write_bytes(encode_records([digests_of(BLOB, 0, 1)]))
    assert durable_of(blobs_fd) == [0]

    (place / "digests").write_bytes(encode_records([digests_of(BLOB, 2, 3)]))
    assert durable_of(blobs_fd) == [2]

    (place / "digests").unlink()
    assert durable_of(blobs_fd) == []


def test_digests_that_do_not_fit_the_blob_are_left_out(place: Path, blobs_fd: int) -> None:
    strange = a_blob(3, name="strange")
    fork = KEY.sign(BLOB.id, 0, b"x" * 32)
    (place / "digests").write_bytes(encode_records([digests_of(strange), digests_of(BLOB), fork]))

    assert durable_of(blobs_fd) == [0, 2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x07"),
        lambda path: path.write_bytes(encode_record(DurablePieces(blob_id=BLOB.id, piece_size=PIECE_BYTES * 2, pieces=b"\3"))),
        lambda path: path.write_bytes(encode_record(DurablePieces(blob_id=BLOB.id, piece_size=PIECE_BYTES, pieces=b"\xff"))),
    ],
    ids=["missing", "empty", "flipped", "other grid", "spare bits"],
)
def test_a_damaged_bitmap_costs_its_pieces_only(place: Path, blobs_fd: int, damage: Callable[[Path], None]) -> None:
    damage(place / "durable")

    assert durable_of(blobs_fd) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: os.truncate(path, BLOB.size - 1),
        lambda path: path.rename(path.with_name("other")) and path.symlink_to("other"),
        lambda path: path.unlink() or path.mkdir(),
    ],
    ids=["missing", "truncated", "link", "directory"],
)
def test_a_data_file_that_is_not_the_blobs_is_corrupt(place: Path, blobs_fd: int, damage: Callable[[Path], None]) -> None:
    damage(place / "data")

    with pytest.raises(Corrupt):
        durable_of(blobs_fd)


def test_digests_that_cannot_be_read_make_the_blob_corrupt(place: Path, blobs_fd: int) -> None:
    (place / "digests").unlink()
    (place / "digests").mkdir()

    with pytest.raises(Corrupt):
        durable_of(blobs_fd)


def test_want_of_descriptors_is_no_damage(place: Path, blobs_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(Unavailable, match="Too many open files"):
        BlobFiles(blobs_fd, BLOB).open()


def test_a_head_of_another_blob_is_corrupt(place: Path) -> None:
    head = (place / "head").read_bytes()
    assert decode_head(head, BLOB.id) == BLOB
    with pytest.raises(Corrupt, match="is of blob"):
        decode_head(head, a_blob(name="b").id)
    with pytest.raises(Corrupt, match="damaged"):
        decode_head(head[:-1], BLOB.id)


def test_a_creation_that_the_disk_refuses_leaves_no_descriptor(blobs_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    proc = os.open("/proc/self/fd", os.O_RDONLY)
    before = effects.names_in(proc)
    monkeypatch.setattr("os.ftruncate", refuse)
    with pytest.raises(OSError, match="No space left"):
        BlobFiles.create(blobs_fd, BLOB)
    assert effects.names_in(proc) == before
    os.close(proc)


def test_a_failed_replacement_leaves_the_old_file_and_no_other(
    place: Path, blobs_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = BlobFiles(blobs_fd, BLOB)
    files.load()
    names = sorted(path.name for path in place.iterdir())

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(effects, "write_at", refuse)
    with pytest.raises(OSError, match="Input/output"):
        files.replace_durable(Bitmap(3))
    files.close()
    assert sorted(path.name for path in place.iterdir()) == names
    assert durable_of(blobs_fd) == [0, 2]


def test_only_provable_pieces_count_across_many_pages(blobs_fd: int) -> None:
    blob = a_blob(PAGE_PIECES * 2 + 1, piece_size=1)
    files = BlobFiles.create(blobs_fd, blob)
    whole_page = KEY.sign(blob.id, PAGE_PIECES, b"d" * 32 * PAGE_PIECES)
    files.append_digests([KEY.sign(blob.id, 5, b"d" * 32), whole_page])
    files.replace_durable(Bitmap.of(len(blob.grid), [4, 5, PAGE_PIECES, 2 * PAGE_PIECES - 1, 2 * PAGE_PIECES]))
    files.close()
    durable, _ = files.load()
    files.close()

    assert list(durable) == [5, PAGE_PIECES, 2 * PAGE_PIECES - 1]
