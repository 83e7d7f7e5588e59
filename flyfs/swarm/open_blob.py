"""An open file's bytes: from the store where it has them, else through a download; what ``fs`` reads from. Shell."""

from collections.abc import Callable
from dataclasses import dataclass

from flyfs.core.blob import Blob
from flyfs.store.stored_blob import StoredBlob
from flyfs.swarm.download import Download
from flyfs.swarm.window import ReadAhead
from flyfs.telemetry.counters import Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobFigures:
    """What became of a blob on this peer; bytes since the file was opened."""

    have_pieces: int
    origin_bytes: int
    peer_bytes: int
    supernode_bytes: int
    digest: str | None


class OpenBlob:
    """One blob, open. Several handles may share it; ``close`` once."""

    def __init__(self, stored: StoredBlob, download: Download, counters: Counters, closed: Callable[[], None]) -> None:
        """``closed`` is called once, when nobody reads any more."""
        self._stored = stored
        self._download = download
        self._counters = counters
        self._closed = closed
        self._read_ahead = ReadAhead(stored.blob.size)
        stored.pin()

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

    async def read(self, offset: int, size: int) -> memoryview | bytes:
        """The bytes, waiting for their pieces; the caller sets the deadline. Follows a ``read_nowait`` that gave None.

        Raises:
            FlyfsError: they cannot be had.
        """
        pieces = self.blob.grid.covering(offset, offset + size)
        if not self._stored.have.has_all(pieces):
            await self._download.wait(pieces)
        data: memoryview | bytes | None = self._stored.read_nowait(offset, size)
        if data is None:
            data = await self._stored.read(offset, size)
        self._counters.store_bytes += len(data)
        return data

    def _move_windows(self) -> None:
        grid = self.blob.grid
        windows = [grid.covering(ahead.start, ahead.stop) for ahead in self._read_ahead.windows()]
        if len(grid) <= 4:  # small files are taken whole
            windows.append(range(len(grid)))
        self._download.picker.windows_moved(windows)
        self._download.changed()

    def figures(self) -> BlobFigures:
        """For extended attributes."""
        return BlobFigures(
            have_pieces=self._stored.have.count,
            origin_bytes=0,
            peer_bytes=self._download.bytes_from["peers"],
            supernode_bytes=self._download.bytes_from["supernode"],
            digest=None,
        )

    def why(self) -> str:
        """What went wrong last, for the message of a reader whose deadline passed; empty for nothing."""
        return self._download.last_error.message if self._download.last_error else ""

    def close(self) -> None:
        """Nobody reads any more."""
        self._stored.unpin()
        self._closed()
