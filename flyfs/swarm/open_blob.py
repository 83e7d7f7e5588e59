"""An open file's bytes: from the store where it has them, else through a download; what ``fs`` reads from. Shell.

While the store has no room, pieces only pass by: they are taken from where they pass, and as right as any other.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from flyfs.core.blob import Blob
from flyfs.core.errors import Corrupt
from flyfs.core.ids import PieceIndex
from flyfs.store.reader import PiecesLost
from flyfs.store.stored_blob import StoredBlob
from flyfs.swarm.download import Download
from flyfs.swarm.passing import Passing
from flyfs.swarm.reading import Reading
from flyfs.swarm.window import ReadAhead, fitted
from flyfs.swarm.wishes import Whole
from flyfs.telemetry.counters import Counters

_TRIES = 3
"""How often bytes are fetched that the disk takes and then does not give back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobFigures:
    """What became of a blob on this peer; bytes since the file was opened."""

    have_pieces: int
    came_pieces: int
    origin_bytes: int
    peer_bytes: int
    supernode_bytes: int
    digest: str | None


class OpenBlob:
    """One blob, open. Several handles may share it; ``close`` once."""

    def __init__(
        self,
        stored: StoredBlob,
        download: Download,
        counters: Counters,
        passing: Passing,
        *,
        ahead_bytes: Callable[[], int],
        closed: Callable[[], None],
    ) -> None:
        """``ahead_bytes`` is how far this blob's readers may read ahead, together; ``closed`` is called once, at the end."""
        self._stored = stored
        self._download = download
        self._counters = counters
        self._passing = passing
        self._ahead_bytes = ahead_bytes
        self._closed = closed
        self._read_ahead = ReadAhead(stored.blob.size)
        self._windows: list[range] = []
        self._use = stored.use(ahead=self._ahead)

    @property
    def blob(self) -> Blob:
        """The version that is read."""
        return self._stored.blob

    def read_nowait(self, offset: int, size: int) -> memoryview | None:
        """The bytes, if they are at hand without waiting: a view that is valid until the next await; else None."""
        if not self._stored.have.complete and self._read_ahead.read_happened(offset, size):
            self._move_windows()
        view = self._stored.read_nowait(offset, size)
        if view is not None:
            self._counters.store_bytes += len(view)
            return view
        view = self._passing.read(self.blob, offset, size)
        if view is not None:
            self._counters.passed_bytes += len(view)
        return view

    async def read(self, offset: int, size: int) -> memoryview | bytes:
        """The bytes, waiting for their pieces; the caller sets the deadline. Follows a ``read_nowait`` that gave None.

        Raises:
            FlyfsError: they cannot be had.
        """
        reading = Reading(self.blob.grid, offset, size)
        losses = 0
        with self._stored.use(reading.pieces):  # what is here stays until it was read
            while reading.left:
                if missing := self._missing(reading):
                    await self._download.wait(missing, reading)
                    continue
                pieces, place = reading.next_run()
                data: memoryview | bytes | None = self._stored.read_nowait(place.start, len(place))
                if data is None:
                    try:
                        data = await self._stored.read(place.start, len(place))
                    except PiecesLost:  # this disk lost them: they come from elsewhere
                        losses += 1
                        if losses == _TRIES:
                            raise Corrupt(f"{self.blob.url}: the disk does not give back what was just written to it") from None
                        continue
                self._counters.store_bytes += len(place)
                if not reading.begun and place == reading.wanted:  # as nearly always
                    return data
                reading.run_read(pieces, place, data)
        self._counters.passed_bytes += reading.passed_bytes
        return reading.data

    def _missing(self, reading: Reading) -> list[PieceIndex]:
        """The pieces to wait for: neither held, nor passing by just now; of those the read takes its share."""
        have, missing = self._stored.have, list[PieceIndex]()
        for piece in [piece for piece in reading.left if piece not in have]:
            data = self._passing.find(self.blob.id, piece)
            if data is None:
                missing.append(piece)
            else:
                reading.piece_passed(piece, data)
        return missing

    def _move_windows(self) -> None:
        grid = self.blob.grid
        self._windows = [grid.covering(ahead.start, ahead.stop) for ahead in self._read_ahead.windows()]
        if len(grid) <= 4:  # small files are taken whole
            self._windows.append(range(len(grid)))
        self._download.wishes.windows_moved(self._ahead())

    def _ahead(self) -> list[range]:
        """The pieces wanted soon, as many as there is room for now."""
        return fitted(self._windows, self._ahead_bytes() // self.blob.piece_size)

    def bringing_all(self) -> AbstractContextManager[Whole]:
        """While inside, every piece comes into the store, behind all that readers want, and stays; it can be waited for."""
        return self._download.wishes.bringing_all()

    @property
    def held_bytes(self) -> int:
        """How much of it the store has."""
        have = self._stored.have
        return self.blob.size if have.complete else have.count * self.blob.piece_size

    def figures(self) -> BlobFigures:
        """For extended attributes."""
        return BlobFigures(
            have_pieces=self._stored.have.count,
            came_pieces=self._stored.arrivals.proved_pieces,
            origin_bytes=self._download.bytes_from["origin"],
            peer_bytes=self._download.bytes_from["peers"],
            supernode_bytes=self._download.bytes_from["supernode"],
            digest=None,
        )

    def why(self) -> str:
        """What went wrong last, for the message of a reader whose deadline passed; empty for nothing."""
        return self._download.last_error.message if self._download.last_error else ""

    def close(self) -> None:
        """Nobody reads any more."""
        self._use.end()
        self._closed()
