"""What the store is filled with under torture, what it promised to keep, and whether it did. Shell (``judge`` opens a store).

Content follows from the seed alone, so that whoever finds a piece knows its only right bytes: no two pieces are alike, and
none looks like a hole.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.grid import KIB, MIB
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.manifest import PAGE_PIECES, SignedDigests, piece_digest
from flyfs.core.signing import SigningKey
from flyfs.store.store import Store

KEY = SigningKey(bytes(32))
_PIECE_BYTES = (4 * KIB, 10_000, 16 * KIB, 64 * KIB, 256 * KIB)
"""Also one that shares pages, and sectors, with its neighbours."""
_MOST_PIECES = 150


def blob_of(seed: int, number: int) -> Blob:
    """A blob of random size and piece size; the same for the same arguments."""
    chance = random.Random(f"{seed}/{number}")
    piece_size = chance.choice(_PIECE_BYTES)
    size = chance.randint(1, min(_MOST_PIECES * piece_size, 4 * MIB))
    return Blob(
        url=f"http://origin.test/{seed}/{number}",
        principal="public",
        validator=Validator(ValidatorKind.ETAG, f'"{seed}"'),
        size=size,
        generation=0,
        piece_size=piece_size,
    )


@lru_cache(maxsize=256)
def content_of(blob: Blob) -> memoryview:
    """All right bytes of a blob."""
    return memoryview(random.Random(blob.id).randbytes(blob.size))


def piece_of(blob: Blob, piece: int) -> memoryview:
    """The right bytes of one piece."""
    place = blob.grid.range_of(PieceIndex(piece))
    return content_of(blob)[place.start : place.stop]


def digests_of(blob: Blob, first: int, stop: int) -> Iterator[SignedDigests]:
    """The signed digests of pieces ``[first, stop)``, a batch for each manifest page."""
    while first < stop:
        end = min(stop, (first // PAGE_PIECES + 1) * PAGE_PIECES)
        yield KEY.sign(blob.id, first, b"".join(piece_digest(piece_of(blob, piece)) for piece in range(first, end)))
        first = end


@dataclass(slots=True)
class Promises:
    """Which pieces the store has called durable of blobs that nobody may remove."""

    kept: dict[str, set[int]] = field(default_factory=dict)

    def hear(self, line: str) -> None:
        """One line of whoever fills the store: ``durable BLOB PIECE``, or ``loose BLOB`` before the blob may go."""
        what, blob_id, *rest = line.split()
        if what == "durable":
            self.kept.setdefault(blob_id, set()).add(int(rest[0]))
        else:
            assert what == "loose", line
            self.kept.pop(blob_id, None)

    @property
    def count(self) -> int:
        """Pieces that must be there."""
        return sum(map(len, self.kept.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a store.

    Attributes:
        compared: pieces that count as present, all compared with the truth.
        wrong: (blob, piece) that count as present, and are not what they should be.
        missing: (blob, piece) that were promised, and do not count as present.
    """

    compared: int
    promised: int
    wrong: tuple[tuple[str, int], ...]
    missing: tuple[tuple[str, int], ...]

    @property
    def good(self) -> bool:
        """Whether nothing is wrong or missing."""
        return not self.wrong and not self.missing


async def judge(directory: Path, promises: Promises) -> Verdict:
    """Opens the store and compares every piece that its marks on disk call present with the truth."""
    held: dict[BlobId, set[int]] = {}
    wrong: list[tuple[str, int]] = []
    async with Store.open(directory) as store:
        for blob in store.blobs():
            stored = store.find(blob.id)
            if stored is None:
                continue
            held[blob.id] = set(stored.have)
            with stored.pin():
                for piece in stored.have:
                    right = piece_of(blob, piece)
                    # Past the store's own reading, which might prove the piece: here its mark is put to the proof.
                    if os.pread(stored.fileno, len(right), blob.grid.range_of(piece).start) != right:
                        wrong.append((blob.id, piece))
    missing = [
        (blob_id, piece)
        for blob_id, pieces in promises.kept.items()
        for piece in sorted(pieces - held.get(BlobId(blob_id), set()))
    ]
    return Verdict(compared=sum(map(len, held.values())), promised=promises.count, wrong=tuple(wrong), missing=tuple(missing))
