"""What all tests share: nothing stays behind, and a run that hangs can be asked where.

``kill -USR1`` makes pytest print the stacks of all threads and go on.
"""

import faulthandler
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

_MARK = f"TESTS_OF_THIS_TREE={uuid.uuid4().hex}"
"""In the environment of every child, and of theirs: other daemons on this machine are none of our business."""
_OURS = {"flyfs", "flyfs-supernode"}
_GRACE_S = 3.0
"""A daemon that was told to end may still be writing its last bitmap."""
_MODULES = {"flyfs", "supernode", "supernode.cli", "flyfs.cli", "tests.torture.filling", "tests.torture.recorder"}


def pytest_configure() -> None:
    """Sets up what must hold before any test module is imported."""
    # A change is judged by the same examples each time; on a desk new ones are tried.
    settings.register_profile("ci", derandomize=True)
    if os.environ.get("CI"):
        settings.load_profile("ci")
    name, _, value = _MARK.partition("=")
    os.environ[name] = value
    if sys.__stderr__ is not None:
        faulthandler.register(signal.SIGUSR1, file=os.dup(sys.__stderr__.fileno()), all_threads=True)


@pytest.fixture(autouse=True)
def _nothing_stays_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails a test that leaves behind a process, a network, or a mount or loop device below pytest's directory; removes them."""
    base = tmp_path_factory.getbasetemp()
    mounts, processes, networks = _mounts_below(base), _process_ids(), _networks()
    yield
    left_mounts = [mount for mount in _mounts_below(base) if mount not in mounts]
    started = {number: words for number in _process_ids() - processes if (words := _words_of_ours(number))}
    left = [words for number, words in started.items() if not _ended(number)]
    for mount in reversed(left_mounts):
        subprocess.run(["umount", "--lazy", mount], check=False)
    left_loops = _loops_below(base)  # most end with their mount
    for loop in left_loops:
        subprocess.run(["losetup", "--detach", loop], check=False)
    assert not left_mounts, f"mounts left behind: {left_mounts}"
    assert not left_loops, f"loop devices left behind: {left_loops}"
    left_networks = sorted(_networks() - networks)
    for network in left_networks:
        subprocess.run(["ip", "netns", "delete", network], check=False)
    assert not left, f"processes left behind: {left}"
    assert not left_networks, f"networks left behind: {left_networks}"


def _mounts_below(directory: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    places = [line.split(b" ")[4].decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape") for line in lines]
    return [place for place in places if place.startswith(f"{directory}/")]


def _loops_below(directory: Path) -> list[str]:
    found = []
    for place in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(FileNotFoundError):  # it ended meanwhile
            if place.read_text().startswith(f"{directory}/"):
                found.append(f"/dev/{place.parents[1].name}")
    return found


def _networks() -> set[str]:
    """Network namespaces that this process made; others run tests, too."""
    return {place.name for place in Path("/run/netns").glob(f"flyfs-{os.getpid()}*")}


def _process_ids() -> set[int]:
    return {int(place.name) for place in Path("/proc").iterdir() if place.name.isdigit()}


def _words_of_ours(number: int) -> list[str]:
    """The command line of a process that a test started and that is one of our programs; empty for all others."""
    place = Path("/proc", str(number))
    try:
        if _MARK.encode() not in place.joinpath("environ").read_bytes().split(b"\0"):
            return []
        words = place.joinpath("cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it ended meanwhile, or is another user's
        return []
    named = any(Path(word).name in _OURS for word in words[:2])
    return words if named or (words[1:2] == ["-m"] and words[2:3] and words[2] in _MODULES) else []


def _ended(number: int) -> bool:
    """Whether the process ends by itself within the grace; kills it otherwise."""
    try:
        handle = os.pidfd_open(number)
    except ProcessLookupError:
        return True
    try:
        ended = bool(select.select([handle], [], [], _GRACE_S)[0])
        if not ended:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        return ended
    finally:
        os.close(handle)
