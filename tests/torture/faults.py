"""A disk that fails or hangs, call by call: what the store does to one directory goes through here. Shell."""

import inspect
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flyfs.store import effects

EFFECTS = sorted(
    name
    for name, found in vars(effects).items()
    if inspect.isfunction(found) and found.__module__ == effects.__name__ and not name.startswith("_")
)
"""Every function by which the store touches the disk, also those that are still to come."""

_HANG_S = 30.0
"""A hanging call that nobody lets go is a failure of the test, not its end."""


class FaultyDisk:
    """The disk below ``directory``; healthy until told otherwise.

    Attributes:
        calls: how often each effect was called.
        faults: how often it failed, or hung.
        on_loop: the effects that were called in the thread that made this object, which is the event loop's.
    """

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.on_loop: set[str] = set()
        self._directory = directory
        self._loop_thread = threading.get_ident()
        self._errors: dict[str, tuple[int, bool]] = {}
        self._hanging: dict[str, threading.Event] = {}
        for name in EFFECTS:
            patch.setattr(effects, name, self._watched(name, getattr(effects, name)))

    @contextmanager
    def failing(self, name: str, number: int, *, late: bool = False) -> Iterator[None]:
        """The effect raises; ``late`` where it happens all the same."""
        self._errors[name] = (number, late)
        try:
            yield
        finally:
            del self._errors[name]

    @contextmanager
    def hanging(self, name: str) -> Iterator[None]:
        """The effect does not come back until the end of the block; on the loop it does, because nothing else would go on."""
        self._hanging[name] = threading.Event()
        try:
            yield
        finally:
            self._hanging.pop(name).set()

    def _watched(self, name: str, effect: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            if not self._is_here(arguments, named):
                return effect(*arguments, **named)
            self.calls[name] += 1
            on_loop = threading.get_ident() == self._loop_thread
            if on_loop:
                self.on_loop.add(name)
            hanging = self._hanging.get(name)
            if hanging is not None and not on_loop:
                self.faults[name] += 1
                assert hanging.wait(_HANG_S), f"nobody let {name} go"
            number, late = self._errors.get(name, (0, False))
            if not number:
                return effect(*arguments, **named)
            self.faults[name] += 1
            if late:
                result = effect(*arguments, **named)
                if name == "create_file":
                    os.close(result)
            raise OSError(number, os.strerror(number))

        return run

    def _is_here(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """All effects name a descriptor first, or a directory's by name."""
        fd = named["directory_fd"] if "directory_fd" in named else arguments[0]
        return Path(os.readlink(f"/proc/self/fd/{fd}")).is_relative_to(self._directory)
