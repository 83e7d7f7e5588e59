"""The host's two budgets, and which file they are shared in. Shell: finds and maps the file, and notices when it changes.

Every process takes part from its start, with or without a limit, so that one which is set later binds it too.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import structlog
import trio

from flyfs.core.errors import ConfigError
from flyfs.limit.bucket import SECOND_NS
from flyfs.limit.budget import Budget
from flyfs.limit.layout import FILE_BYTES, Direction, HeaderWord
from flyfs.limit.limit_file import LOCK_PAUSE_S, LOCK_TRIES, LimitFile

FILE_NAME = "limit"

LOOK_NS = SECOND_NS
"""While bytes move: how often to look whether the file is still the one that all share, and whether a rate was changed."""

_SPINS = 3
"""So many more tries for the lock come at once: its owner needs 10 µs."""
_NEVER_NS = 1 << 63

log = structlog.get_logger(__name__)


class HostLimit:
    """Both budgets. A context manager; ``UNLIMITED`` needs no end."""

    def __init__(self, file: LimitFile | None, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Takes part in ``file``, and ends it; with None nothing is ever limited."""
        self._file = file
        self._changes = file.words[HeaderWord.CHANGES] if file is not None else 0
        self.clock_ns = clock_ns
        self.words = file.words if file is not None else memoryview(bytes(FILE_BYTES)).cast("Q")
        self.looks_at_ns = 0 if file is not None else _NEVER_NS
        self.receive = Budget(self, Direction.RECEIVE)
        self.send = Budget(self, Direction.SEND)

    @classmethod
    def open(cls, directories: Sequence[Path], rate: int | None = None) -> Self:
        """Takes part in the limit of this host, and sets it to ``rate`` both ways where one is given (0: none).

        Args:
            directories: where its file may lie. The last one in which there is one that we may write counts; where there is
                none, it is made in the first one.
            rate: bytes per second.

        Raises:
            ConfigError: ``rate`` is given, and cannot be set.
        """
        try:
            file = LimitFile.open(limit_path(directories))
        except ConfigError as error:
            if rate is not None:
                raise
            log.warning("limit.file.refused", reason=error.message)  # no limit binds us then
            return cls(None)
        if rate is not None:
            before = file.set_rates(receive=rate, send=rate)
            log.info("limit.rates.set", file=str(file.path), rate=rate, receive_before=before.receive, send_before=before.send)
        return cls(file)

    @property
    def directory(self) -> Path | None:
        """Where the file lies, so that a child can take part; None where there is none."""
        return self._file.path.parent if self._file is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes no part any more; what was set stays set."""
        if self._file is not None:
            file, self._file = self._file, None
            self.words = memoryview(bytes(FILE_BYTES)).cast("Q")
            self.looks_at_ns = _NEVER_NS
            file.close()

    # -- what budgets ask (budget.SharedFile) ----------------------------------------------------------------------

    def look(self) -> None:
        """Takes the file that the path names now, and tells of another limit."""
        self.looks_at_ns = self.clock_ns() + LOOK_NS
        if self._file is None:
            return
        if not self._file.is_current:
            self._take_new_file(self._file.path)
        rates = self._file.rates()
        if rates.changes != self._changes:
            self._changes = rates.changes
            log.info("limit.rates.changed", receive=rates.receive, send=rates.send, by=rates.changed_by)

    def _take_new_file(self, path: Path) -> None:
        try:
            file = LimitFile.open(path)
        except ConfigError as error:
            log.warning("limit.file.lost", reason=error.message)  # those who map the old one go on together
            return
        assert self._file is not None
        old, self._file, self.words, self._changes = self._file, file, file.words, -1
        old.close()

    async def lock(self) -> bool:
        """Takes the lock; False where its owner keeps it for 0.1 s (it was stopped): then one goes on without."""
        await trio.lowlevel.checkpoint()
        for tries in range(LOCK_TRIES):
            if self.lock_nowait():
                return True
            await trio.sleep(LOCK_PAUSE_S if tries >= _SPINS else 0)
        log.warning("limit.lock.kept", file=str(self._file.path) if self._file is not None else None)
        return False

    def lock_nowait(self) -> bool:
        """Takes the lock, where it is free."""
        return self._file is None or self._file.lock_nowait()

    def unlock(self) -> None:
        """Gives the lock up."""
        if self._file is not None:
            self._file.unlock()


UNLIMITED = HostLimit(None)
"""For links that do not count, and for tests."""


def limit_path(directories: Sequence[Path]) -> Path:
    """Where the limit of this host is shared."""
    for directory in reversed(directories):
        if os.access(directory / FILE_NAME, os.R_OK | os.W_OK):
            return directory / FILE_NAME
    return directories[0] / FILE_NAME
