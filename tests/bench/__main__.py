"""``python -m tests.bench [GROUP…] [--quick] [--size MIB] [--rounds N]``. Shell.

Ctrl-C and SIGTERM end it in order: what stands is torn down, and the figures so far are shown.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from types import FrameType
from typing import NoReturn

from tests.bench import cold, crowd, limit, names, peer_to_peer, store, supernode_alone, under_load, warm
from tests.bench.aims import AIMS
from tests.bench.completion import mean_by_crowd
from tests.bench.curves import curves
from tests.bench.drawing import bars
from tests.bench.figures import Judgement, Key, Sample, judge, medians
from tests.bench.ground import MIB, Ground, prepared_ground
from tests.bench.machine import describe, load
from tests.bench.report import show, write_json
from tests.bench.runner import Group, run_group
from tests.support.apart import mount_apart

_ROOMS = (cold, warm, names, under_load, store, crowd, supernode_alone, peer_to_peer, limit)
_RESULTS = Path("build/bench")
_ROUNDS = 5
_LEAST_MIB = 16
_PATIENCE_S = 20.0


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Once: tearing down is bounded in time and not to be interrupted again."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _arguments(groups: Sequence[Group]) -> argparse.Namespace:
    names = list(dict.fromkeys(group.name for group in groups))  # some groups share one
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures flyfs beside its neighbours.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(names)}; all by default")
    parser.add_argument("--quick", action="store_true", help="128 MiB instead of 1 GiB, one round: does it run at all?")
    parser.add_argument("--size", type=int, metavar="MIB", help="of the big file: 1024, with --quick 128; at least 16")
    parser.add_argument("--rounds", type=int, help=f"rounds of each measure ({_ROUNDS}; with --quick 1)")
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp"), help="a directory on a real disk (/var/tmp)")
    parser.add_argument(
        "--patience", type=float, metavar="SECONDS", help="how long a round waits for a quiet machine (20; quick: 0)"
    )
    chosen = parser.parse_args()
    unknown = set(chosen.groups) - set(names)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    chosen.size = chosen.size or (128 if chosen.quick else 1024)
    if chosen.size < _LEAST_MIB:
        parser.error(f"--size {chosen.size}: at least {_LEAST_MIB}")
    return chosen


def _measure(groups: Sequence[Group], ground: Ground, rounds: int, patience_s: float, samples: list[Sample]) -> None:
    for group in groups:
        for sample in run_group(group, ground, rounds=rounds, patience_s=patience_s, tell=lambda line: print(line, flush=True)):
            if sample.failure:
                print(f"FAILED {sample.measure} · {sample.contender}: {sample.failure}", flush=True)
            samples.append(sample)


def _memory(ground: Ground) -> list[Sample]:
    """The most that any process of a role ever had."""
    values = {f"{role}_mib": max(peaks) for role, peaks in ground.peaks_mib.items()}
    return [Sample(group="memory", measure="memory", contender="flyfs", round=0, load=os.getloadavg()[0], values=values)]


def _write(
    figures: Mapping[Key, float], judgements: Sequence[Judgement], samples: Sequence[Sample], machine: Mapping[str, str]
) -> None:
    _RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(_RESULTS / "figures.json", figures, judgements, samples, machine)
    caption = " · ".join(
        f"{name} {machine[name]}" for name in ("date", "kernel", "processor", "cores", "file", "load", "load at the end")
    )
    (_RESULTS / "figures.svg").write_text(bars(figures, caption=caption))
    if series := mean_by_crowd(figures):
        title = "Mean time to read one new file of 20 MiB at 20 Mbit/s, origin and supernode 40 Mbit/s each"
        (_RESULTS / "swarm.svg").write_text(curves(series, title=title, caption=caption))


def main() -> int:
    """Measures, shows, writes; gives the exit status: 1 where a contender failed, whatever the figures are."""
    everything = [group for room in _ROOMS for group in room.groups()]
    chosen = _arguments(everything)
    if os.geteuid() != 0:
        print("needs root: it mounts, and sets the kernel's read-ahead", file=sys.stderr)
        return 2
    mount_apart()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    machine, samples, start_s = describe(), list[Sample](), time.monotonic()
    interrupted = False
    try:
        with prepared_ground(chosen.scratch, big_bytes=chosen.size * MIB, quick=chosen.quick) as ground:
            try:
                wanted = [group for group in everything if not chosen.groups or group.name in chosen.groups]
                patience_s = chosen.patience if chosen.patience is not None else 0.0 if chosen.quick else _PATIENCE_S
                _measure(wanted, ground, chosen.rounds or (1 if chosen.quick else _ROUNDS), patience_s, samples)
            finally:
                samples += _memory(ground)
    except KeyboardInterrupt:
        interrupted = True
    machine |= {
        "load at the end": load(),
        "file": f"{chosen.size} MiB",
        "took": f"{time.monotonic() - start_s:.0f} s",
    }
    machine["others' part of the CPU before a round"] = f"{median([sample.busy for sample in samples] or [0.0]):.0%} (median)"
    figures = medians(samples)
    judgements = judge(AIMS, figures)
    if not interrupted:  # half a run must not replace the figures of a whole one
        _write(figures, judgements, samples, machine)
    show(figures, judgements, samples, machine)
    if interrupted:
        return 130
    return 1 if any(sample.failure for sample in samples) else 0


if __name__ == "__main__":
    sys.exit(main())
