"""What the figures were measured on. Shell."""

import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.bench.processes import ChildFailed, finish

_QUIET = 0.15
_GLANCE_S = 0.25


def describe() -> dict[str, str]:
    """Kernel, processor, memory, versions, load; for people and for JSON."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "kernel": platform.release(),
        "processor": _after_colon("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": _after_colon("/proc/meminfo", "MemTotal"),
        "python": platform.python_version(),
        "flyfs": version("flyfs"),
        "pyfuse3": version("pyfuse3"),
        "rclone": _first_line("rclone", "version"),
        "curl": _first_line("curl", "--version"),
        "load": load(),
    }


def load() -> str:
    """Averages over 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def wait_quiet(limit_s: float) -> float:
    """Returns when the machine does next to nothing, or after ``limit_s``; the part of its CPU time that was in use last."""
    end_s = time.monotonic() + limit_s
    while (busy := _busy()) > _QUIET and time.monotonic() < end_s:
        pass  # measuring is waiting
    return busy


class CpuShare:
    """What part of the machine's CPU time is in use from now on, by whomever."""

    def __init__(self) -> None:
        self.cores = os.cpu_count() or 1
        self._start = _cpu_ticks()

    def busy(self) -> float:
        """0 to 1: above 0.9 the machine was the limit, not what is measured."""
        spent = [new - old for old, new in zip(self._start, _cpu_ticks(), strict=True)]
        return 1 - (spent[3] + spent[4]) / max(1, sum(spent))  # idle, and waiting for the disk


def _busy() -> float:
    share = CpuShare()
    time.sleep(_GLANCE_S)
    return share.busy()


def _cpu_ticks() -> list[int]:
    return [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def _after_colon(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")


def _first_line(*words: str) -> str:
    try:
        return finish(words, limit_s=10).splitlines()[0][:60]
    except (ChildFailed, FileNotFoundError):
        return "missing"
