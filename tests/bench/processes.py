"""Child processes that always end, and what the kernel says of them. Shell: nothing here waits without a limit."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_END_S = 5.0
"""What a child gets between SIGTERM and SIGKILL, and after SIGKILL (one that waits in the kernel ends later, by itself)."""


class ChildFailed(Exception):
    """A program ended badly, or not in time."""


def finish(words: Sequence[str], *, limit_s: float) -> str:
    """Runs a program to its end and gives its output.

    Raises:
        ChildFailed: it ended with another status than 0, or not within ``limit_s``.
    """
    child = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, complaints = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise ChildFailed(f"not done after {limit_s:g} s: {' '.join(words)[:200]}") from error
    finally:
        end(child)
    if child.returncode != 0:
        raise ChildFailed(f"status {child.returncode}: {' '.join(words)[:200]}: {complaints.strip()[-300:]}")
    return output


def end(child: subprocess.Popen[str]) -> None:
    """Ends a child and its session, gently at first; returns within two graces."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            break
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_END_S)
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()


@contextmanager
def running(words: Sequence[str], *, log: Path, talks: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A child in a session of its own (Ctrl-C reaches us alone); its complaints go to ``log``, its output too unless it talks."""
    with log.open("w") as file:
        child = subprocess.Popen(
            words,
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else file,
            stderr=file,
            text=True,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        end(child)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, its own and the kernel's for it; 0 where it is gone."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(after_name[11]) + int(after_name[12])) / _TICKS_PER_S


def peak_mib(pid: int) -> float:
    """The most memory that a process ever had resident; 0 where it is gone."""
    return _memory_mib(pid, "VmHWM:")


def resident_mib(pid: int) -> float:
    """The memory that a process has resident now; 0 where it is gone."""
    return _memory_mib(pid, "VmRSS:")


def _memory_mib(pid: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def name_of(pid: int) -> str:
    """The name of a process; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


class CpuMeter:
    """CPU seconds that each of some processes needs between two moments."""

    def __init__(self, **pids: Sequence[int]) -> None:
        self._pids = pids
        self._start_s = self._now_s()

    def _now_s(self) -> dict[str, float]:
        return {name: sum(map(cpu_s, pids)) for name, pids in self._pids.items()}

    def per_gib(self, size_bytes: int) -> dict[str, float]:
        """``cpu_s_per_gib_NAME`` since the start."""
        now_s = self._now_s()
        return {f"cpu_s_per_gib_{name}": (now_s[name] - self._start_s[name]) * 2**30 / size_bytes for name in now_s}
