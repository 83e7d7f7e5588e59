"""How a peer's neighbours do for it, blob by blob: bytes per busy second, and who leaves requests unanswered. Pure.

A neighbour is busy while at least one request waits at it, however many: pipelining does not count twice, idle time not at all.
The figures are for comparing the neighbours of one reader with each other. Its own line, and how many it asks at once, are in all
of them alike.
"""

from dataclasses import dataclass, field
from hashlib import blake2b

from flyfs.core.ids import BlobId, PeerId
from flyfs.wire.messages import Speed

EVERY_S = 5.0
"""How often a download is told of: two or three times in ten seconds."""
NEIGHBOURS_AT_THAT_PACE = 8
"""With more of them, which is with a larger swarm, proportionally less often: what a supernode hears does not grow so fast."""

MOST_TOLD = 64
"""Neighbours in one message."""

STALL_S = 2.0
STALL_PIECES = 3
"""A neighbour stalls that brought nothing in so many busy seconds, while so many pieces came from others."""


@dataclass(slots=True)
class _Tally:
    waiting: int = 0
    waiting_since: float = 0.0
    busy_s: float = 0.0
    size: int = 0
    pieces: int = 0
    barren_s: float = 0.0  # busy, since it last brought something
    others_then: int = 0  # pieces of the blob that had come when it last did

    def settle(self, now: float) -> None:
        if self.waiting:
            self.busy_s += now - self.waiting_since
            self.barren_s += now - self.waiting_since
            self.waiting_since = now

    @property
    def blank(self) -> bool:
        return not self.busy_s and not self.pieces


@dataclass(slots=True)
class _Download:
    due: float
    pieces: int = 0
    tallies: dict[PeerId, _Tally] = field(default_factory=dict)


class SpeedMeter:
    """All downloads of one peer. ``now`` is one monotonic clock."""

    def __init__(self, seed: str) -> None:
        """``seed`` differs from peer to peer: they do not all tell at the same moment."""
        self._spread = 0.75 + 0.5 * blake2b(seed.encode(), digest_size=1).digest()[0] / 255
        self._downloads: dict[BlobId, _Download] = {}

    # -- events --------------------------------------------------------------------------------------------------------

    def asked(self, blob_id: BlobId, peer: PeerId, now: float) -> None:
        """A request for a piece is on its way to a neighbour."""
        download = self._downloads.get(blob_id)
        if download is None:
            download = self._downloads[blob_id] = _Download(now + EVERY_S * self._spread)
        tally = download.tallies.get(peer)
        if tally is None:
            tally = download.tallies[peer] = _Tally(others_then=download.pieces)
        tally.settle(now)
        tally.waiting_since = now
        tally.waiting += 1

    def ended(self, blob_id: BlobId, peer: PeerId, size: int, now: float) -> None:
        """The request brought ``size`` bytes, or nothing (0)."""
        found = self._find(blob_id, peer)
        if found is None:
            return
        download, tally = found
        tally.settle(now)
        tally.waiting -= 1
        if size:
            tally.size += size
            tally.pieces += 1
            download.pieces += 1
            tally.barren_s, tally.others_then = 0.0, download.pieces

    def came_elsewhere(self, blob_id: BlobId) -> None:
        """A piece came from the supernode."""
        download = self._downloads.get(blob_id)
        if download is not None:
            download.pieces += 1

    def rejected(self, blob_id: BlobId, peer: PeerId) -> None:
        """A piece that came was wrong: it does not count."""
        found = self._find(blob_id, peer)
        if found is not None and found[1].pieces:
            tally = found[1]
            tally.size -= tally.size // tally.pieces
            tally.pieces -= 1

    def stalls(self, blob_id: BlobId, peer: PeerId) -> bool:
        """A request ran out of time: whether that says something about the neighbour; each stall is told once."""
        found = self._find(blob_id, peer)
        if found is None:
            return False
        download, tally = found
        if tally.barren_s < STALL_S or download.pieces - tally.others_then < STALL_PIECES:
            return False
        tally.barren_s, tally.others_then = 0.0, download.pieces
        return True

    def ended_all(self, blob_id: BlobId, now: float) -> tuple[Speed, ...]:
        """The download is over: what was not told yet."""
        measured = self._take(blob_id, now)
        self._downloads.pop(blob_id, None)
        return measured

    # -- what follows --------------------------------------------------------------------------------------------------

    def next_reports(self, now: float) -> list[tuple[BlobId, tuple[Speed, ...]]]:
        """What to tell now, by blob; it counts as told."""
        due = [blob_id for blob_id, download in self._downloads.items() if download.due <= now]
        return [(blob_id, measured) for blob_id in due if (measured := self._take(blob_id, now))]

    def next_deadline(self) -> float:
        """When there may be something to tell; infinity where nothing is measured."""
        return min((download.due for download in self._downloads.values()), default=float("inf"))

    def _find(self, blob_id: BlobId, peer: PeerId) -> tuple[_Download, _Tally] | None:
        download = self._downloads.get(blob_id)
        tally = download.tallies.get(peer) if download is not None else None
        return None if download is None or tally is None else (download, tally)

    def _take(self, blob_id: BlobId, now: float) -> tuple[Speed, ...]:
        download = self._downloads.get(blob_id)
        if download is None:
            return ()
        pace = max(1.0, len(download.tallies) / NEIGHBOURS_AT_THAT_PACE)
        download.due = now + EVERY_S * self._spread * pace
        for tally in download.tallies.values():
            tally.settle(now)
        busiest = sorted(download.tallies.items(), key=lambda one: (-one[1].busy_s, one[0]))[:MOST_TOLD]
        measured = tuple(
            Speed(peer_id=peer, size=tally.size, busy_s=tally.busy_s, pieces=tally.pieces)
            for peer, tally in busiest
            if not tally.blank
        )
        for peer, tally in list(download.tallies.items()):
            tally.busy_s, tally.size, tally.pieces = 0.0, 0, 0
            if not tally.waiting and not tally.barren_s:
                del download.tallies[peer]
        return measured
