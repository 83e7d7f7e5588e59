"""What is wanted of one blob beyond what readers are blocked on: windows ahead of them, and all of it. Shell (waits)."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import trio

from flyfs.core.errors import FlyfsError
from flyfs.core.ids import PieceIndex
from flyfs.store.stored_blob import StoredBlob


class Whole:
    """All of a blob is wanted by somebody who is no reader."""

    def __init__(self) -> None:
        self.done = trio.Event()
        """Set once all is there, or cannot be had."""
        self._error: FlyfsError | None = None

    def fail(self, error: FlyfsError) -> None:
        """It cannot be had."""
        self._error = error
        self.done.set()

    async def wait(self) -> None:
        """Returns once all is in the store; raises why it cannot be."""
        await self.done.wait()
        if self._error is not None:
            raise self._error.with_traceback(None)


class Wishes:
    """Those of one download."""

    def __init__(self, stored: StoredBlob, told: Callable[[Sequence[range], bool], None]) -> None:
        """``told`` gets the pieces wanted, range by range, the most urgent first, and whether all are, at each change."""
        self._stored = stored
        self._told = told
        self._windows: Sequence[range] = ()
        self._wholes: list[Whole] = []
        self._first_missing = 0

    def windows_moved(self, windows: Sequence[range]) -> None:
        """What readers will want soon, the most urgent first; behind it comes the rest, while somebody wants all."""
        self._windows = windows
        self._told(windows, bool(self._wholes))

    def is_ahead_of_a_reader(self, piece: PieceIndex) -> bool:
        """Whether a reader will want the piece soon."""
        return any(piece in window for window in self._windows)

    @contextmanager
    def bringing_all(self) -> Generator[Whole, None, None]:
        """While inside, every piece comes into the store, behind all that readers want, and stays; it can be waited for."""
        whole = Whole()
        self._wholes.append(whole)
        with self._stored.pin():
            self.windows_moved(self._windows)
            self._look_for_the_end()
            try:
                yield whole
            finally:
                self._wholes.remove(whole)
                self.windows_moved(self._windows)

    def piece_came(self, piece: PieceIndex) -> None:
        """The store has it."""
        if self._wholes and piece == self._first_missing:
            self._look_for_the_end()

    def fail(self, error: FlyfsError) -> None:
        """Some piece cannot be had, or not be kept: so all of it cannot."""
        for whole in self._wholes:
            whole.fail(error)

    def _look_for_the_end(self) -> None:
        """From the first missing piece on: to look through all of a large blob for each piece would stall the loop."""
        have, length = self._stored.have, len(self._stored.blob.grid)
        self._first_missing = have.first_missing(self._first_missing)
        if self._first_missing == length and not have.complete:  # what was there before has gone: evicted, or damaged
            self._first_missing = have.first_missing()
        if have.complete:
            for whole in self._wholes:
                whole.done.set()
