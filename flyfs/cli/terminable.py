"""SIGTERM ends a command as Ctrl-C does, so that it cleans up too. Shell: sets a signal handler."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 143
"""128 + SIGTERM, as shells say it."""


@contextmanager
def terminable() -> Generator[list[int]]:
    """KeyboardInterrupt is raised inside; the list is not empty where SIGTERM was the cause."""
    terminated: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        terminated.append(number)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, before)
