"""Cuts the power under a store that is being filled: its file system is shut down at random instants. Shell; needs root."""

import random
from collections.abc import Callable
from pathlib import Path

import trio

from flyfs.core.grid import MIB
from tests.torture.filler import Filler
from tests.torture.tally import Tally
from tests.torture.truth import Promises, judge
from tests.torture.volumes import cut_power, make_ext4, memory_directory, mounted

_DISK_BYTES = 128 * MIB
_CUTS_PER_DISK = 20
_OPTIONS = ("", "data=writeback", "nodelalloc", "commit=1")
"""Ways in which ext4 writes earlier or later than by default."""
_HASTES = (5.0, 20.0, 100.0)
_LONGEST_S = 0.8


def cut_power_often(
    parent: Path, cuts: int, *, seed: int, fill: tuple[str, ...] = (), tell: Callable[[str], None] = lambda _: None
) -> Tally:
    """Fills, cuts, recovers, judges; the next turn goes on with what the last one left.

    Args:
        parent: where a memory disk is mounted meanwhile.
        cuts: how many.
        seed: of all that is chosen; the instants differ all the same, as the machine does.
        fill: more options for who fills.
        tell: hears after each cut.
    """
    tally, chance = Tally(), random.Random(seed)
    with memory_directory(parent) as memory:
        image, mountpoint, log = memory / "disk", memory / "mnt", memory / "log"
        for turn in range(cuts):
            if turn % _CUTS_PER_DISK == 0:
                promises = Promises()
                make_ext4(image, _DISK_BYTES)
                options = chance.choice(_OPTIONS)
            how = ("--seed", seed + turn // _CUTS_PER_DISK, "--turn", turn, "--haste", chance.choice(_HASTES), *fill)
            with mounted(image, mountpoint, options), Filler.begun(mountpoint / "cache", promises, *how, log=log) as filler:
                filler.go_on(chance.uniform(0.0, _LONGEST_S))
                cut_power(mountpoint)
                filler.kill()
            with mounted(image, mountpoint, options):
                tally.add(f"cut {turn} of seed {seed}", trio.run(judge, mountpoint / "cache", promises))
                if chance.random() < 0.5:  # the judge left it in order; as if nobody had come since the cut
                    (mountpoint / "cache" / "clean").unlink()
            tell(str(tally))
            if tally.bad:  # what comes after would only repeat it
                break
    return tally
