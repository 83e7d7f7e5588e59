"""The process that fills a store (``filling``), seen from who watches it. Shell."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.torture.truth import Promises

_PATIENCE_S = 30.0
"""Starting takes half a second on an idle machine."""


@contextmanager
def filling(
    store: Path, tell: Path, *options: object, log: Path, pass_fds: tuple[int, ...] = ()
) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that fills ``store`` and tells ``tell``; it has ended after the block. Its complaints go to ``log``."""
    words = [sys.executable, "-m", "tests.torture.filling", store, tell, *options]
    with log.open("wb") as file:
        process = subprocess.Popen(list(map(str, words)), pass_fds=pass_fds, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Filler:
    """A filling process whose every word is heard."""

    def __init__(self, process: "subprocess.Popen[bytes]", told_fd: int, promises: Promises, log: Path) -> None:
        self._process = process
        self._told_fd = told_fd
        self._promises = promises
        self._log = log
        self._rest = b""

    @classmethod
    @contextmanager
    def begun(cls, store: Path, promises: Promises, *options: object, log: Path) -> "Iterator[Filler]":
        """One that has begun to write; what it promises is added to ``promises``. It has ended after the block.

        Raises:
            AssertionError: it ended by itself, then or later.
        """
        with ExitStack() as stack:
            told_fd, tell_fd = os.pipe()
            stack.callback(os.close, told_fd)
            try:
                process = stack.enter_context(filling(store, Path(f"/dev/fd/{tell_fd}"), *options, log=log, pass_fds=(tell_fd,)))
            finally:
                os.close(tell_fd)
            filler = cls(process, told_fd, promises, log)
            assert filler._hear(_PATIENCE_S), f"it did not begin: {filler._complaints()}"
            yield filler

    def go_on(self, seconds: float) -> None:
        """Listens for so long: a pipe that nobody reads would make it wait."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._hear(left)
        assert self._process.poll() is None, f"it ended by itself: {self._complaints()}"

    def kill(self) -> None:
        """Ends it at once; all that it told has been heard then."""
        self._process.kill()
        self._process.wait()
        while self._hear(_PATIENCE_S):
            pass

    def _hear(self, patience_s: float) -> bool:
        """Whether it told something in time."""
        if not select.select([self._told_fd], [], [], patience_s)[0]:
            return False
        data = os.read(self._told_fd, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._promises.hear(line.decode())
        return bool(data)

    def _complaints(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]
