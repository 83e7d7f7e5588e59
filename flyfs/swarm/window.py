"""How far to read ahead of each reader of one open file. Pure.

A FUSE handle does not tell its readers apart, and the kernel's own read-ahead arrives out of order, so streams are recognised
by position with a tolerance. A stream that starts at the beginning is taken for sequential at once, any other one after its
second read; the window grows as it is used up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flyfs.core.grid import MIB, ByteRange

FIRST_WINDOW_BYTES = MIB
GROWTH = 4
"""1, 4, 16, 32 MiB: short ranges cost the origin and us several times as much per byte as long ones."""

LAST_WINDOW_BYTES = 32 * MIB
"""Enough for 1 GB/s at 30 ms; half of the buffer budget, so that two streams never starve each other."""

BEHIND_BYTES = 2 * MIB
"""How far behind its head a read may lie and still belong to a stream (two kernel read-ahead windows)."""

MAX_STREAMS = 8


@dataclass(slots=True)
class _Stream:
    head: int
    window: int
    grows_at: int


class ReadAhead:
    """The streams in the reads of one open file."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._streams: list[_Stream] = []  # the most recently used last

    def read_happened(self, offset: int, size: int) -> bool:
        """Takes notice of a read; True where the windows moved."""
        stop = min(offset + size, self._size)
        for stream in reversed(self._streams):
            if stream.head - BEHIND_BYTES <= offset <= stream.head + max(stream.window, size):
                self._streams.remove(stream)
                self._streams.append(stream)
                return self._advance(stream, stop)
        start_window = FIRST_WINDOW_BYTES if offset == 0 else 0
        self._streams.append(_Stream(stop, start_window, stop + start_window // 2))
        del self._streams[:-MAX_STREAMS]
        return start_window > 0

    def _advance(self, stream: _Stream, stop: int) -> bool:
        if stop <= stream.head:
            return False
        stream.head = stop
        if stop >= stream.grows_at:
            stream.window = min(max(FIRST_WINDOW_BYTES, stream.window * GROWTH), LAST_WINDOW_BYTES)
            stream.grows_at = stop + stream.window // 2
        return True

    def windows(self) -> list[ByteRange]:
        """What to have soon, the most recently used stream first."""
        return [
            ByteRange(stream.head, min(stream.head + stream.window, self._size))
            for stream in reversed(self._streams)
            if stream.window and stream.head < self._size
        ]


def fitted(windows: Sequence[range], most_pieces: int) -> list[range]:
    """``windows`` (of pieces, the most urgent first), cut to equal shares so that they have ``most_pieces`` together.

    Where there are more windows than pieces, the most urgent ones have one piece each.
    """
    count = min(len(windows), most_pieces)
    return [window[: most_pieces // count] for window in windows[:count]]
