"""A child process of the FUSE tests: mounts ``FakeRemotes`` until SIGTERM. Faults are planted by file names.

With FLYFS_TEST_STALL=FILE, the server stands for half a second between seeing and reading a request while FILE exists, and
writes a growing number to FILE.beat while its loop runs.

Usage: python -m tests.support.serve_fake ROOT MOUNTPOINT RUNTIME MAX_AGE_S DEADLINE_S
"""

import itertools
import os
import signal
import sys
import time
from pathlib import Path

import trio

from flyfs.core.errors import Corrupt, Denied, FlyfsError, TooLarge, Unavailable
from flyfs.fs.filesystem import FileSystem
from flyfs.fuse.mount import MountSettings, run
from flyfs.fuse.stale_mount import hold_mountpoint
from tests.support.fake_remotes import FakeDaemonFigures, FakeRemotes

FAULTS: dict[str, Exception] = {
    "denied": Denied("planted"),
    "unavailable": Unavailable("planted"),
    "too-large": TooLarge("planted"),
    "crash": RuntimeError("planted"),
}
READ_FAULTS: dict[str, Exception] = {"corrupt": Corrupt("planted"), "read-crash": ZeroDivisionError("planted")}


async def serve(root: Path, mountpoint: Path, max_age_s: float, deadline_s: float) -> None:
    remotes = FakeRemotes(root)
    remotes.errors.update(FAULTS)
    remotes.read_errors.update(READ_FAULTS)
    remotes.slow_reads.update({"slow", *(f"slow{number}" for number in range(200))})
    filesystem = FileSystem(
        remotes=remotes, figures=FakeDaemonFigures(), max_age_s=max_age_s, deadline_s=deadline_s, made_s=int(time.time())
    )
    settings = MountSettings(mountpoint=mountpoint, uid=os.getuid(), gid=os.getgid())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_signal, nursery.cancel_scope)
        if stall := os.environ.get("FLYFS_TEST_STALL"):
            nursery.start_soon(_stall_and_beat, Path(stall))
        nursery.start_soon(_mount, filesystem, settings, nursery.cancel_scope)
    filesystem.close()
    print(f"ended open_blobs={remotes.open_blobs}", flush=True)


async def _mount(filesystem: FileSystem, settings: MountSettings, scope: trio.CancelScope) -> None:
    async with trio.open_nursery() as nursery:
        mounted = await nursery.start(run, filesystem, settings)
        print(f"ready {mounted.minor}", flush=True)
    scope.cancel()


async def _stall_and_beat(marker: Path) -> None:
    wait_readable = trio.lowlevel.wait_readable

    async def wait_then_stall(descriptor: int) -> None:
        await wait_readable(descriptor)
        if marker.exists():
            time.sleep(0.5)  # noqa: ASYNC251  # standing is the point

    trio.lowlevel.wait_readable = wait_then_stall  # type: ignore[assignment]
    for beat in itertools.count():
        fresh = marker.with_suffix(".fresh")
        fresh.write_text(str(beat))
        fresh.replace(marker.with_suffix(".beat"))  # whoever reads it never finds it empty
        await trio.sleep(0.05)


async def _end_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


def main() -> None:
    root, mountpoint, runtime, max_age_s, deadline_s = sys.argv[1:]
    place = Path(mountpoint).parent.resolve() / Path(mountpoint).name  # of a dead daemon's mount only the place is named
    try:
        with hold_mountpoint(place, Path(runtime) / "mount.lock"):
            trio.run(serve, Path(root), place, float(max_age_s), float(deadline_s))
    except FlyfsError as error:
        print(f"failed {error}", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
