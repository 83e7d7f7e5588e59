"""Records what a store's disk is told, and judges the disks that power cuts could have left of it. Shell; needs root."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from flyfs.core.grid import MIB
from tests.torture.device_log import Entry, Flush, Mark, State, Write, choose_states, decode_log, unsure_writes_of
from tests.torture.filler import filling
from tests.torture.recorder import IMAGE_NAME, MARKS_NAME
from tests.torture.tally import Tally
from tests.torture.truth import Promises, judge
from tests.torture.volumes import is_mounted, make_ext4, memory_directory, mounted, unmount

_DISK_BYTES = 64 * MIB
_START_S = 30.0
_LOOK_S = 0.02
_STATES_PER_RECORDING = 100
_ENOUGH = 5
"""Bad disks of one recording that are told: more would say the same."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A fresh disk, and what it was told while a store on it was filled."""

    fresh: bytes
    log: Sequence[Entry]

    def __str__(self) -> str:
        writes, flushes = (sum(isinstance(entry, kind) for entry in self.log) for kind in (Write, Flush))
        return f"{writes:,} writes, {flushes:,} flushes"


@contextmanager
def a_recorder(image: Path, log: Path, mountpoint: Path) -> Iterator[Path]:
    """A running recorder; gives its directory, and has ended with its mount after the block."""
    mountpoint.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "tests.torture.recorder", str(image), str(log), str(mountpoint)]
    complaints = log.with_suffix(".complaints")
    with complaints.open("wb") as file:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    try:
        until = time.monotonic() + _START_S
        while not is_mounted(mountpoint):
            _still_starting(process, until, complaints)
        yield mountpoint
        assert process.poll() is None, f"the recorder ended: {complaints.read_text()[-2000:]}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_START_S)
        except subprocess.TimeoutExpired:  # its requests fail then, whoever waits for them
            process.kill()
            process.wait()
        unmount(mountpoint)


def _still_starting(process: "subprocess.Popen[bytes]", until: float, complaints: Path) -> None:
    """Waits a moment; raises AssertionError where the process has ended, or takes too long."""
    assert process.poll() is None, f"it ended: {complaints.read_text()[-2000:]}"
    assert time.monotonic() < until, f"it does not begin: {complaints.read_text()[-2000:]}"
    time.sleep(_LOOK_S)


def record(memory: Path, seconds: float, *options: object) -> Recording:
    """What a fresh disk is told while a store on it is filled for ``seconds``."""
    image, log = memory / "recorded", memory / "log"
    log.unlink(missing_ok=True)
    make_ext4(image, _DISK_BYTES)
    fresh = image.read_bytes()
    with a_recorder(image, log, memory / "recorder") as recorder, mounted(recorder / IMAGE_NAME, memory / "mnt") as mountpoint:
        marks = recorder / MARKS_NAME
        complaints = memory / "complaints"
        with filling(mountpoint / "cache", marks, *options, log=complaints) as process:
            until = time.monotonic() + _START_S
            while Mark not in map(type, decode_log(log.read_bytes())):
                _still_starting(process, until, complaints)
            time.sleep(seconds)
            assert process.poll() is None, f"it ended by itself: {complaints.read_text()[-2000:]}"
    return Recording(fresh, list(decode_log(log.read_bytes())))


class Rebuilder:
    """Makes the disks of one recording, in the order of their cuts."""

    def __init__(self, recording: Recording) -> None:
        self._stable = bytearray(recording.fresh)
        self._log = recording.log
        self._next = 0

    def build(self, state: State, image: Path) -> None:
        """The disk of ``state``, into the file ``image``; states come by place."""
        for entry in self._log[self._next : state.stable_stop]:
            if isinstance(entry, Write):
                self._stable[entry.offset : entry.offset + len(entry.data)] = entry.data
        self._next = max(self._next, state.stable_stop)
        with image.open("r+b" if image.exists() else "wb", buffering=0) as file:
            file.write(self._stable)
            for write in unsure_writes_of(self._log, state):
                os.pwrite(file.fileno(), write.data, write.offset)


def judge_states(memory: Path, recording: Recording, states: Sequence[State], tally: Tally, name: str) -> None:
    """Builds every disk, lets the file system recover it, and compares what the store then has with the truth."""
    rebuilder, promises, heard = Rebuilder(recording), Promises(), 0
    image, mountpoint = memory / "rebuilt", memory / "mnt"
    for state in states:
        for entry in recording.log[heard : state.stop]:
            if isinstance(entry, Mark):
                promises.hear(entry.text)
        heard = state.stop
        rebuilder.build(state, image)
        with mounted(image, mountpoint):
            tally.add(f"{name}: {state}", trio.run(judge, mountpoint / "cache", promises))
        if len(tally.bad) == _ENOUGH:
            return


def lose_writes(
    parent: Path,
    states: int,
    *,
    seed: int,
    seconds: float = 3.0,
    fill: tuple[str, ...] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Records as often as it takes for so many states, and judges them.

    Args:
        parent: where a memory disk is mounted meanwhile.
        states: how many disks.
        seed: of all that is chosen; recordings differ all the same, as the machine does.
        seconds: length of a recording.
        fill: more options for who fills.
        tell: hears after each recording.
    """
    tally, chance = Tally(), random.Random(seed)
    with memory_directory(parent) as memory:
        for number in range(-(-states // _STATES_PER_RECORDING)):
            how = ("--seed", seed + number, "--haste", 20.0, "--pause-s", 0.1, "--limit-mib", 24, *fill)
            recording = record(memory, seconds, *how)
            count = min(_STATES_PER_RECORDING, states - number * _STATES_PER_RECORDING)
            chosen = choose_states(recording.log, count, chance)
            judge_states(memory, recording, chosen, tally, f"recording {number} of seed {seed}")
            tell(f"{tally} (recording {number}: {recording})")
            if tally.bad:
                break
    return tally
