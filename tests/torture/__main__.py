"""``python -m tests.torture [WHAT…]``: the long forms, as ``just torture`` runs them. Shell; needs root.

Ctrl-C and SIGTERM end it in order: what stands is torn down.
"""

import argparse
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

import structlog

from flyfs.core.grid import MIB
from tests.support.apart import mount_apart
from tests.torture.kills import kill_often
from tests.torture.lost_writes import lose_writes
from tests.torture.power_cuts import cut_power_often
from tests.torture.tally import KillTally, Tally

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Torture:
    """One kind.

    Attributes:
        shows: what it is good for, for people.
        run: does it below a directory; says how it is going.
        must_find: it breaks the order of writes: finding nothing is the failure.
    """

    shows: str
    run: Callable[[Path, Tell], Tally | KillTally]
    must_find: bool = False

    def failed(self, tally: Tally | KillTally) -> bool:
        """Whether it went wrong."""
        return not tally.wrong if self.must_find else bool(tally.bad)


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Once: tearing down is bounded in time and not to be interrupted again."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _tortures(asked: argparse.Namespace) -> dict[str, Torture]:
    seed = asked.seed
    return {
        "cuts": Torture(
            shows=f"{asked.cuts} power cuts by shutting ext4 down",
            run=lambda place, tell: cut_power_often(place, asked.cuts, seed=seed, tell=tell),
        ),
        "states": Torture(
            shows=f"{asked.states:,} disks that lost, reordered or tore what was not flushed",
            run=lambda place, tell: lose_writes(place, asked.states, seed=seed, tell=tell),
        ),
        "kills": Torture(
            shows=f"{asked.kills} kills of a daemon during reads",
            run=lambda place, tell: kill_often(place, asked.kills, seed=seed, longest_s=4.0, file_bytes=128 * MIB, tell=tell),
        ),
        "unsynced": Torture(
            shows="control: power cuts of a store that marks and never syncs",
            run=lambda place, tell: cut_power_often(place, 10, seed=seed, fill=("--sync", "left-out"), tell=tell),
            must_find=True,
        ),
        "late": Torture(
            shows="control: lost writes of a store that syncs just after it marked",
            run=lambda place, tell: lose_writes(place, 200, seed=seed, fill=("--sync", "late"), tell=tell),
            must_find=True,
        ),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description="Tries to make a store lie.")
    parser.add_argument("what", nargs="*", help="cuts, states, kills; the controls unsynced, late; all by default")
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--states", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="chooses all that can be chosen (random)")
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp"), help="a directory on a real disk (/var/tmp)")
    asked = parser.parse_args()
    unknown = set(asked.what) - _tortures(asked).keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return asked


def _quiet() -> None:
    """What a store says of damage is the torture's own doing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def main() -> int:
    """Gives the exit status: 1 where something was found, or a control found nothing; 130 where it was interrupted."""
    asked = _arguments()
    if os.geteuid() != 0:
        print("needs root: it mounts", file=sys.stderr)
        return 2
    mount_apart()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    _quiet()
    print(f"seed {asked.seed}", flush=True)
    summary: list[str] = []
    status = 0
    try:
        for name, torture in _tortures(asked).items():
            if not asked.what or name in asked.what:
                status |= _run(name, torture, asked.scratch, summary)
    except* KeyboardInterrupt:  # in a group where it met a trio program
        summary.append("interrupted")
        status = 130
    finally:
        print(f"\nseed {asked.seed}", *summary, sep="\n", flush=True)
    return status


def _run(name: str, torture: Torture, scratch: Path, summary: list[str]) -> int:
    """Adds its lines to the summary; 1 where it failed."""
    began_s = time.monotonic()
    with TemporaryDirectory(prefix="flyfs-torture-", dir=scratch) as place:
        tally = torture.run(Path(place), lambda line: print(f"{name}: {line}", flush=True))
    bad = torture.failed(tally)
    verdict = "FAILED" if bad else "found out" if torture.must_find else "good"
    summary.append(f"{verdict:9} {torture.shows}: {tally} ({time.monotonic() - began_s:.0f} s)")
    if bad:
        summary += [f"          {line}" for line in tally.bad]
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
