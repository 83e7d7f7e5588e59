"""Kills a real daemon in the middle of reads, again and again, on one cache. Shell; needs root, /dev/fuse and nginx."""

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flyfs.core.grid import KIB, MIB
from tests.support.fleet import Fleet, Mount
from tests.support.growth import Growth
from tests.support.nginx import NginxOrigin
from tests.support.reader import HangingError, Reader
from tests.support.stored import durable_bytes, stored_files
from tests.torture.tally import KillTally

_CONTENTS = 3
_NEW = 0.7
"""The part of kills that hit a file which nobody has read before; the others find some of theirs in the store."""
_MOST_CACHED_BYTES = 1024 * MIB
_READERS = 4
_MOST_READ_BYTES = 512 * KIB
_LOOK_S = 0.05
_SLOW = "limit_rate 8m;"
"""Of each connection: else a file is here before the daemon can be killed."""
_LONGER_S = 0.5
"""How much longer readers would go on than the daemon lives."""


def kill_often(
    directory: Path, kills: int, *, seed: int, longest_s: float, file_bytes: int, tell: Callable[[str], None] = lambda _: None
) -> KillTally:
    """Mounts, reads at random places, kills, and mounts on the same cache; at the end all that is stored is compared.

    Args:
        directory: everything lies below it.
        kills: how many.
        seed: of all that is chosen.
        longest_s: how long reads go on before a kill, at most.
        file_bytes: size of each of the origin's files.
        tell: hears after each kill.
    """
    tally, chance = KillTally(), random.Random(seed)
    root = directory / "root"
    root.mkdir()
    for number in range(kills):
        if number < _CONTENTS:
            (root / f"file-{number}").write_bytes(chance.randbytes(file_bytes))
        else:  # names are cheap, and neighbours differ
            (root / f"file-{number}").hardlink_to(root / f"file-{number % _CONTENTS}")
    with NginxOrigin.serving(root, directives=_SLOW) as origin, Fleet.below(directory) as fleet:
        mount = fleet.planned_mount("m")
        for number in range(kills):
            name = f"file-{number if chance.random() < _NEW else chance.randrange(number + 1)}"
            life = _Life(mount, mount.path(origin.authority, name), root / name, chance.uniform(0.1, longest_s))
            life.live(chance.randrange(1 << 30), tally)
            tell(str(tally))
            if tally.bad:
                return tally
            if durable_bytes(mount.cache) > _MOST_CACHED_BYTES:
                shutil.rmtree(mount.cache / "blobs")
        mount.start()
        assert mount.umount().status == 0
        for stored in stored_files(mount.cache):
            if not stored.is_part_of((root / stored.url.rpartition("/")[2]).read_bytes()):
                tally.bad.append(f"what is stored of {stored.url} is wrong")
    return tally


@dataclass(frozen=True, slots=True)
class _Life:
    """A daemon from its start to its sudden end."""

    mount: Mount
    path: Path
    local: Path
    seconds: float

    def live(self, seed: int, tally: KillTally) -> None:
        """Starts it, reads through it and compares, kills it; what was found is added to ``tally``."""
        durable = durable_bytes(self.mount.cache)
        self.mount.start()
        with Reader.started() as reader:
            reader.begin(
                "compare_while_there",
                path=self.path,
                local=self.local,
                seed=seed,
                threads=_READERS,
                most=_MOST_READ_BYTES,
                seconds=self.seconds + _LONGER_S,
            )
            growth, received = self._watch()
            try:
                tally.bad.append(f"the reads ended before the daemon: {reader.finish(timeout_s=0.0)}")
            except HangingError:  # as it should be
                self.mount.kill()
                answer = reader.finish()
                assert not answer.error, answer
                read = answer.value
                tally.compared += read["reads"]
                tally.wrong += len(read["wrong"])
                if read["wrong"]:
                    tally.bad.append(f"{self.local.name} differs at {read['wrong'][:5]}")
        again = received - (growth.held_bytes - durable)
        if again:
            tally.bad.append(f"of {durable} durable bytes {again} were fetched again")
        lost = growth.held_bytes - durable_bytes(self.mount.cache)
        tally.killed(again=again, lost_bytes=lost, lost_s=growth.age_of_last(lost))

    def _watch(self) -> tuple[Growth, int]:
        """How the store grew while the daemon lived, and what it received in all."""
        growth = Growth()
        until = time.monotonic() + self.seconds
        while True:
            status = self.mount.status()
            growth.seen(time.monotonic(), status["store"]["used_bytes"])
            if time.monotonic() > until:
                return growth, status["bytes"]["supernode"] + status["bytes"]["peers"]
            time.sleep(_LOOK_S)
