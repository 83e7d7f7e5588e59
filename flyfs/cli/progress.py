"""How far a fetch is, for who looks at a terminal. Shell: draws on stderr."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Is told how a fetch goes on."""

    def begin(self, size: int | None) -> None:
        """The content has ``size`` bytes; None where nobody knows yet."""
        ...

    def advance(self, size: int) -> None:
        """So many bytes more have arrived."""
        ...


class _NoProgress:
    def begin(self, size: int | None) -> None:
        """Nobody looks."""

    def advance(self, size: int) -> None:
        """Nobody looks."""


@contextmanager
def shown_progress(what: str) -> Generator[Progress]:
    """Draws a bar while inside where stderr is a terminal, nothing else."""
    if not sys.stderr.isatty():
        yield _NoProgress()
        return
    from rich.console import Console  # noqa: PLC0415 - 50 ms that only a terminal needs
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(binary_units=True))
    with Bar(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        class _Drawn:
            def begin(self, size: int | None) -> None:
                bar.update(task, total=size)

            def advance(self, size: int) -> None:
                bar.advance(task, size)

        yield _Drawn()
