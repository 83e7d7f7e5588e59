"""flyfs as its users start it: a supernode, daemons with caches of their own; their figures; and their certain end. Shell."""

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyfs.config.places import mount_name
from flyfs.control.client import ControlClient, find_daemon
from tests.bench.ground import Ground, wait_until
from tests.bench.processes import ChildFailed, descendants, finish, name_of, peak_mib, running

_BIN = Path(sys.executable).parent
_COMMAND_S = 40.0
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where a program runs, and where others reach it.

    Attributes:
        enter: words before a command that put it there.
        listens_at: where it listens for peers.
        protection: what it needs to listen there.
        origins: what it may fetch from, though it is refused by default.
    """

    enter: tuple[str, ...] = ()
    listens_at: str = "127.0.0.1:0"
    protection: tuple[str, ...] = ()
    origins: str = "127.0.0.1"


HERE = Host()
"""This machine's loopback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supernode:
    """A standalone one."""

    pid: int
    peers: str
    http: str

    def served_bytes(self) -> int:
        """Payload that it sent to peers so far."""
        with _NO_PROXY.open(f"http://{self.http}/api/status", timeout=10) as answer:
            return int(json.load(answer)["bytes"]["served"])


@contextmanager
def a_supernode(ground: Ground, *, host: Host = HERE, options: Sequence[str] = ()) -> Iterator[Supernode]:
    """One with a fresh cache, under no limit of anybody else's."""
    with ground.directory("supernode") as cache:
        words = [*host.enter, str(_BIN / "flyfs-supernode"), "--cache", str(cache), "--log-level", "warning"]
        words += [
            "--listen",
            host.listens_at,
            "--http",
            "127.0.0.1:0",
            *host.protection,
            "--allow-origin",
            host.origins,
            "--runtime-dir",
            str(ground.scratch / f"{cache.name}-run"),
            *options,
        ]
        log = ground.scratch / f"{cache.name}.log"
        with running(words, log=log) as child:
            wait_until(lambda: child.poll() is not None or "ready peers=" in log.read_text(), what="the supernode's ready line")
            if child.poll() is not None:
                raise ChildFailed(f"the supernode ended: {log.read_text()[-500:]}")
            told = dict(
                word.split("=") for line in log.read_text().splitlines() if line.startswith("ready ") for word in line.split()[1:]
            )
            try:
                yield Supernode(pid=child.pid, peers=told["peers"], http=told["http"])
            finally:
                ground.note_peak("supernode", peak_mib(child.pid))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlyfsMount:
    """A daemon and its mount."""

    ground: Ground
    mountpoint: Path
    cache: Path
    runtime: Path
    pid: int

    def path(self, name: str, authority: str = "") -> str:
        """Where a file of the origin is seen; ``authority`` is another one than the origin's own."""
        return f"{self.mountpoint}/http/{authority or self.ground.origin.authority}/{name}"

    def status(self) -> dict[str, Any]:
        """The daemon's own figures."""
        return self.control().status()

    def control(self) -> ControlClient:
        """The control socket: a command would take a third of a second of a core."""
        return _daemon(self.runtime, self.mountpoint)

    def command(self, *words: str) -> list[str]:
        """How a command of ``flyfs`` is started that finds this daemon, and shares its limit."""
        return [str(_BIN / "flyfs"), *words, "--runtime-dir", str(self.runtime)]

    def stored_bytes(self) -> int:
        """What its store holds."""
        return int(self.status()["store"]["used_bytes"])

    def embedded_pids(self) -> list[int]:
        """The supernode that it started for itself, if it did."""
        return [pid for pid in descendants(self.pid) if name_of(pid)]

    def stored_files(self) -> list[str]:
        """Where the bytes lie."""
        return [str(path) for path in sorted((self.cache / "blobs").glob("*/*/data"))]


@contextmanager
def a_mount(
    ground: Ground, supernode: Supernode | None, *, caches: Path | None = None, host: Host = HERE
) -> Iterator[FlyfsMount]:
    """A daemon with a fresh cache, below ``caches`` if given; without a supernode it starts its own."""
    with ground.directory("cache", caches) as cache, ground.mountpoint("flyfs") as mountpoint, ground.directory("run") as runtime:
        words = [*host.enter, str(_BIN / "flyfs"), "mount", str(mountpoint), "--cache", str(cache)]
        words += ["--listen", host.listens_at, *host.protection, "--runtime-dir", str(runtime), "--log-level", "warning"]
        words += ["--supernode", supernode.peers] if supernode is not None else []
        try:
            finish(words, limit_s=_COMMAND_S)
        except BaseException:  # also Ctrl-C: the daemon has left this session, and may be about to mount
            _kill(cache)
            raise
        try:
            pid = _daemon(runtime, mountpoint).pid
            try:
                yield FlyfsMount(ground=ground, mountpoint=mountpoint, cache=cache, runtime=runtime, pid=pid)
            finally:
                ground.note_peak("daemon", peak_mib(pid))
        finally:
            _unmount(mountpoint, cache, runtime)


def _unmount(mountpoint: Path, cache: Path, runtime: Path) -> None:
    """The proper way; else the daemon is killed, and whoever made the mountpoint detaches it."""
    try:
        finish([str(_BIN / "flyfs"), "umount", str(mountpoint), "--runtime-dir", str(runtime)], limit_s=_COMMAND_S)
    except BaseException:
        _kill(cache)
        raise


def _kill(cache: Path) -> None:
    for pid in _daemons_of(cache):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _daemons_of(cache: Path) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"mount" in words and bytes(cache) in words:
                found.append(int(place.name))
    return found


def _daemon(runtime: Path, mountpoint: Path) -> ControlClient:
    daemon = find_daemon([runtime], mount_name(str(mountpoint)))
    if daemon is None:
        raise ChildFailed(f"no daemon at {mountpoint}")
    return daemon
