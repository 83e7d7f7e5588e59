"""What a cache directory holds on disk, after whoever owned it has ended. Shell."""

from dataclasses import dataclass
from pathlib import Path

import trio

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.ids import PieceIndex
from flyfs.store.blob_files import DurablePieces
from flyfs.store.store import Store
from flyfs.wire.records import decode_record


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One blob of a cache.

    Attributes:
        pieces: bytes by where they begin, of the pieces that a restart may use.
    """

    url: str
    size: int
    pieces: dict[int, bytes]

    @property
    def held_bytes(self) -> int:
        """Bytes that need not be fetched again."""
        return sum(map(len, self.pieces.values()))

    def is_part_of(self, content: bytes) -> bool:
        """Whether it is a version of the file that had ``content``, as far as it is held."""
        fits = all(content[offset : offset + len(piece)] == piece for offset, piece in self.pieces.items())
        return fits and self.size == len(content)


def stored_files(cache: Path) -> list[StoredFile]:
    """All blobs of a cache directory that nobody uses now, read as their next owner will."""
    return trio.run(_read, cache)


async def _read(cache: Path) -> list[StoredFile]:
    found: list[StoredFile] = []
    async with Store.open(cache) as store:
        for blob in store.blobs():
            stored = store.find(blob.id)
            if stored is None:
                continue
            pieces: dict[int, bytes] = {}
            with stored.use():
                for index in range(len(blob.grid)):
                    if index in stored.have:
                        place = blob.grid.range_of(PieceIndex(index))
                        pieces[place.start] = bytes(await stored.read(place.start, len(place)))
            found.append(StoredFile(url=blob.url, size=blob.size, pieces=pieces))
    return found


def durable_bytes(cache: Path) -> int:
    """What a cache directory has for certain, from its marks alone; its owner may be running."""
    found = 0
    for place in cache.glob("blobs/*/*/durable"):
        mark = decode_record(DurablePieces, place.read_bytes())
        grid = decode_record(Blob, place.with_name("head").read_bytes()).grid
        found += sum(map(grid.length_of, Bitmap.from_bytes(mark.pieces, len(grid))))
    return found
