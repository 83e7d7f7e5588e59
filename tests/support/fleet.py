"""Whole programs on loopback, below one directory: supernodes, mounts, commands; ended for certain. Shell.

Nothing of the machine is touched: runtime files, caches and configuration lie in directories of the fleet. When the fleet
ends, every program must end when told to, and none may have logged a traceback: both are bugs in whatever the test is about.
"""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyfs.config.places import mount_name
from flyfs.control.client import find_daemon
from flyfs.control.mounts import mount_at
from flyfs.core.errors import FlyfsError
from tests.support.reader import end_or_leave, wait_for_left_behind

_BIN = Path(sys.executable).parent
_READY_S = 60.0
"""Starting takes a second on an idle machine; six may be busy with the same two cores."""
_END_S = 20.0
_STARTERS = 4
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str
    seconds: float


def run_bounded(words: Sequence[str | Path], *, timeout_s: float = 60.0, cwd: Path | None = None, env: Any = None) -> Finished:
    """Runs a command; raises AssertionError where it does not end in time, even if it cannot be killed."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # files, so that a child of it cannot hold us up
        process = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, env=env)
        try:
            status = process.wait(timeout_s)
        except BaseException as error:
            end_or_leave(process)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise AssertionError(f"no end within {timeout_s:g} s: {words}") from None
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "surrogateescape"))
    return Finished(status=status, stdout=texts[0], stderr=texts[1], seconds=time.monotonic() - began)


def wait_until(is_so: Callable[[], object], what: str, *, timeout_s: float = 20.0) -> None:
    """Returns once ``is_so`` gives something true; raises AssertionError after ``timeout_s``."""
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, f"not within {timeout_s:g} s: {what}"
        time.sleep(_POLL_S)


def has_ended(pid: int, *, within_s: float = 0.0) -> bool:
    """Whether a process has ended, or ends in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within_s)[0])
    finally:
        os.close(handle)


class Supernode:
    """A supernode of its own; ``start`` after ``stop`` or ``kill`` gives it the address and the cache that it had."""

    def __init__(self, fleet: "Fleet", name: str, options: tuple[str, ...]) -> None:
        self.cache = fleet.directory / name / "cache"
        self.address = "127.0.0.1:0"
        self.http = "127.0.0.1:0"
        self._fleet = fleet
        self._log = fleet.directory / name / "log"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self, *options: str) -> None:
        """Returns once it serves; ``options`` come last, and count for this run only."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        words = [_BIN / "flyfs-supernode", "--listen", self.address, "--http", self.http, "--cache", self.cache]
        words += ["--runtime-dir", self._fleet.runtime_directory]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*map(str, words), "--allow-origin", "127.0.0.1", "--log-level", "debug", *self._options, *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._fleet.environment,
                bufsize=0,
            )
        found = re.fullmatch(r"ready peers=(\S+) http=(\S+)\n", self._ready_line())
        assert found, f"it did not start: {self.log_text()[-2000:]}"
        self.address, self.http = found[1], found[2]

    def _ready_line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        until, line = time.monotonic() + _READY_S, b""
        while not line.endswith(b"\n") and select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
            data = os.read(self._process.stdout.fileno(), 4096)
            if not data:
                break
            line += data
        return line.decode()

    def status(self) -> dict[str, Any]:
        """What ``/api/status`` tells."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.http}/api/status", timeout=10) as answer:
            document: dict[str, Any] = json.load(answer)
            return document

    def stop(self) -> int:
        """Tells it to end, and gives its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It answers nobody, with its connections open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Ends ``pause``."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        assert process is not None
        assert process.stdout is not None
        process.send_signal(number)
        try:
            return process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the supernode did not end within {_END_S:g} s: {self.log_text()[-2000:]}") from None
        finally:
            process.stdout.close()

    def log_text(self) -> str:
        """All that it logged."""
        return self._log.read_text() if self._log.exists() else ""

    def close(self) -> None:
        """Ends it, if it runs."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self.resume()
            self.stop()


class Mount:
    """A mount with a cache of its own. ``start`` after its end takes the same mountpoint and cache."""

    def __init__(self, fleet: "Fleet", name: str, options: tuple[str, ...]) -> None:
        self.mountpoint = fleet.directory / name / "mnt"
        self.cache = fleet.directory / name / "cache"
        self.options = options
        self._fleet = fleet
        self.enter: tuple[str, ...] = ()
        """Words before the command, which put the daemon into another network."""
        self._foreground: subprocess.Popen[bytes] | None = None
        self._foreground_log = fleet.directory / name / "foreground.log"
        self.pid = 0
        self.mountpoint.mkdir(parents=True)

    @property
    def words(self) -> list[str | Path]:
        """The command that mounts."""
        common: list[str | Path] = ["--cache", self.cache, "--runtime-dir", self._fleet.runtime_directory, "--log-level", "debug"]
        return [*self.enter, _BIN / "flyfs", "mount", self.mountpoint, *common, *self.options]

    def start(self) -> None:
        """Mounts as a person does: the command returns once the mount answers."""
        finished = run_bounded(self.words, timeout_s=_READY_S, env=self._fleet.environment)
        assert finished.status == 0, f"{finished.stderr}\n{self.log_text()[-2000:]}"
        self.pid = self._daemon_pid() or 0
        assert self.pid

    def start_in_foreground(self) -> None:
        """Mounts with ``--foreground``: its exit status can be known."""
        with self._foreground_log.open("ab") as log:
            self._foreground = subprocess.Popen(
                [*map(str, self.words), "--foreground"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._fleet.environment,
            )
        self.pid = self._foreground.pid
        wait_until(
            lambda: "daemon.mount.ready" in self.log_text() or has_ended(self.pid), "the mount answers", timeout_s=_READY_S
        )
        assert not has_ended(self.pid), self.log_text()[-2000:]

    def _daemon_pid(self) -> int | None:
        daemon = find_daemon([self._fleet.runtime_directory], mount_name(str(self.mountpoint)))
        return daemon.pid if daemon is not None else None

    @property
    def is_mounted(self) -> bool:
        """Whether the kernel has a mount there; asks nobody else."""
        return mount_at(str(self.mountpoint)) is not None

    @property
    def child_pids(self) -> list[int]:
        """Processes that the daemon started and that live: its embedded supernode."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with suppress(FileNotFoundError, ProcessLookupError):
            return [int(word) for word in children.read_text().split()]
        return []

    def path(self, authority: str, name: str = "") -> Path:
        """Where an origin's file is seen."""
        return self.mountpoint / "http" / authority / name.lstrip("/") if name else self.mountpoint / "http" / authority

    def status(self) -> dict[str, Any]:
        """What ``flyfs status --json`` would tell, from the same socket."""
        daemon = find_daemon([self._fleet.runtime_directory], mount_name(str(self.mountpoint)))
        assert daemon is not None, f"no daemon: {self.log_text()[-2000:]}"
        return daemon.status()

    def supernode_state(self) -> str:
        """``up`` or ``down``; empty before the first try."""
        supernodes = self.status()["supernodes"]
        return supernodes[-1]["state"] if supernodes else ""

    def umount(self) -> Finished:
        """``flyfs umount``."""
        return self._fleet.run("umount", self.mountpoint)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Ends the daemon by a signal; gives the exit status of one in the foreground."""
        os.kill(self.pid, number)
        assert has_ended(self.pid, within_s=_END_S), f"the daemon did not end within {_END_S:g} s: {self.log_text()[-2000:]}"
        return self._reap()

    def kill(self) -> None:
        """As a crash would; the mount stays, dead."""
        self.stop(signal.SIGKILL)

    def pause(self) -> None:
        """It answers nobody, with its connections open; who reads through it waits."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Ends ``pause``."""
        os.kill(self.pid, signal.SIGCONT)

    def _reap(self) -> int | None:
        process, self._foreground = self._foreground, None
        return process.wait(_END_S) if process is not None else None

    def log_text(self) -> str:
        """All that the daemon logged, its embedded supernode too."""
        files = (self._foreground_log, self.cache / "flyfs.log", self.cache / "supernode" / "supernode.log")
        return "".join(file.read_text("utf-8", "replace") for file in files if file.exists())

    def close(self) -> None:
        """Ends the daemon, if it lives, and takes away whatever is mounted."""
        try:
            if self.pid and not has_ended(self.pid):
                self.resume()
                self.stop()
        finally:
            if self.pid and not has_ended(self.pid):
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
            self._reap()
            while self.is_mounted:
                subprocess.run(["umount", "--lazy", self.mountpoint], check=True, timeout=10)


class Fleet:
    """All programs of one test, or of one module's tests."""

    def __init__(self, directory: Path, runtime_directory: Path) -> None:
        self.directory = directory
        self.runtime_directory = runtime_directory
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FLYFS_", "XDG_"))},
            "HOME": str(directory),
            "XDG_CACHE_HOME": str(directory / "xdg-cache"),
            "XDG_RUNTIME_DIR": str(runtime_directory),
        }
        self._supernodes: list[Supernode] = []
        self._mounts: list[Mount] = []

    @classmethod
    @contextmanager
    def below(cls, directory: Path) -> "Generator[Fleet, None, None]":
        """A fleet whose files lie below ``directory``; ends with the block.

        Raises:
            AssertionError: a program did not end when told to, or logged a traceback.
        """
        with tempfile.TemporaryDirectory(prefix="run-") as runtime_directory:  # short: a socket's path has 107 bytes at most
            fleet = cls(directory, Path(runtime_directory))
            try:
                yield fleet
            finally:
                fleet.close()
        fleet.assert_no_traceback()

    def supernode(self, name: str = "supernode", *options: str) -> Supernode:
        """A running supernode."""
        supernode = self.planned_supernode(name, *options)
        supernode.start()
        return supernode

    def planned_supernode(self, name: str, *options: str) -> Supernode:
        """A supernode that was not started yet."""
        supernode = Supernode(self, name, options)
        self._supernodes.append(supernode)
        return supernode

    def mount(self, name: str, *options: str, supernode: Supernode | Sequence[Supernode] | None = None) -> Mount:
        """A running mount; with an embedded supernode where none is given."""
        mount = self.planned_mount(name, *options, supernode=supernode)
        mount.start()
        return mount

    def mounts(
        self, names: Sequence[str], *options: str, supernode: Supernode | Sequence[Supernode] | None = None
    ) -> list[Mount]:
        """Running mounts that start together."""
        mounts = [self.planned_mount(name, *options, supernode=supernode) for name in names]
        self.start(mounts)
        return mounts

    @staticmethod
    def start(mounts: Sequence[Mount]) -> None:
        """Starts planned mounts, some at a time: more would only wait for a core."""
        starters = ThreadPoolExecutor(_STARTERS)
        try:
            list(starters.map(Mount.start, mounts))
        finally:
            starters.shutdown(cancel_futures=True)

    def planned_mount(self, name: str, *options: str, supernode: Supernode | Sequence[Supernode] | None = None) -> Mount:
        """A mount that was not started yet."""
        several = [supernode] if isinstance(supernode, Supernode) else supernode or []
        how: list[str] = ["--listen", "127.0.0.1:0"] if several else []
        for one in several:
            how += ["--supernode", one.address]
        mount = Mount(self, name, (*how, *options))
        self._mounts.append(mount)
        return mount

    def run(self, command: str, *words: str | Path, timeout_s: float = 60.0, cwd: Path | None = None) -> Finished:
        """A command of ``flyfs``."""
        return run_bounded(self.words(command, *words), timeout_s=timeout_s, cwd=cwd, env=self.environment)

    def words(self, command: str, *words: str | Path) -> list[str | Path]:
        """How a command of ``flyfs`` is started."""
        runtime = () if command == "path" else ("--runtime-dir", self.runtime_directory)
        return [_BIN / "flyfs", command, *words, *runtime]

    def close(self) -> None:
        """Ends everything, mounts first."""
        failures: list[Exception] = []
        everything: list[Mount | Supernode] = [*reversed(self._mounts), *reversed(self._supernodes)]
        for one in everything:
            try:
                one.close()
            except (AssertionError, OSError, subprocess.SubprocessError, FlyfsError) as error:
                failures.append(error)
        wait_for_left_behind()
        if failures:
            raise ExceptionGroup("programs of the fleet did not end as they should", failures)

    def assert_no_traceback(self) -> None:
        """What is unforeseen is logged with its traceback: whatever a test did, that is a bug."""
        everything: list[Mount | Supernode] = [*self._mounts, *self._supernodes]
        for one in everything:
            text = one.log_text()
            at = text.find("Traceback (most recent call last)")
            assert at < 0, f"a traceback in the log of {one.cache}:\n{text[max(0, at - 500) : at + 6000]}"


def free_port() -> int:
    """A port of loopback that nobody listens at now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
