"""Asks ``reader.py`` to read, and gives its figures. Shell."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.processes import ChildFailed, finish, running

_READER = Path(__file__).with_name("reader.py")
LIMIT_S = 120.0
"""For anything that reads: a hundred times what it should take."""


def ask(what: str, **arguments: object) -> dict[str, float]:
    """The reader's figures.

    Raises:
        ChildFailed: it failed, or was not done within the limit.
    """
    return _figures(finish(_words(what, arguments), limit_s=LIMIT_S))


def read_all(path: str, size_bytes: int) -> float:
    """Seconds for the whole file in order.

    Raises:
        ChildFailed: it has another size, too.
    """
    told = ask("sequential", path=path)
    if told["bytes"] != size_bytes:
        raise ChildFailed(f"{told['bytes']:.0f} bytes instead of {size_bytes}: {path}")
    return told["seconds"]


def drop_pages(*paths: str, tolerated_bytes: int = 0) -> None:
    """Makes the kernel forget the pages of these files.

    Raises:
        ChildFailed: more than ``tolerated_bytes`` stayed (somebody has them mapped, or they are not on disk yet).
    """
    left = ask("drop", paths=paths)["left"]
    if left > tolerated_bytes:
        raise ChildFailed(f"{left:.0f} bytes of {paths} stay in the page cache")


class LatencyWatch:
    """Single reads of 4 KiB that go on until ``stop``, or until each was done once."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def stop(self) -> dict[str, float]:
        """Ends the reads and gives their figures."""
        output, _ = self._child.communicate(timeout=LIMIT_S)  # closes its input, which ends it
        return _figures(output)

    @property
    def ended(self) -> bool:
        """Whether each was done."""
        return self._child.poll() is not None

    @classmethod
    @contextmanager
    def watching(cls, path: str, *, pause_s: float, log: Path, stride_bytes: int = 4096) -> Iterator["LatencyWatch"]:
        """Reads from now on, a page of each stride."""
        words = _words("latency", {"path": path, "pause_s": pause_s, "stride_bytes": stride_bytes})
        with running(words, log=log, talks=True) as child:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "ready":
                raise ChildFailed(f"cannot read {path}: {log.read_text()[-300:]}")
            yield cls(child)


def _words(what: str, arguments: dict[str, object]) -> Sequence[str]:
    return [sys.executable, "-I", "-S", str(_READER), what, json.dumps(arguments)]


def _figures(output: str) -> dict[str, float]:
    figures: dict[str, float] = json.loads(output.strip().splitlines()[-1])
    return figures
