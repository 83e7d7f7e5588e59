"""The supernode that a mount without one starts for itself: a child on 127.0.0.1, restarted when it dies. Shell.

It ends with this process, however that ends: it reads a pipe whose other end only we hold, and asks the kernel for a signal
at its parent's death.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import structlog
import trio

from flyfs.core.address import Address, parse_address
from flyfs.core.errors import Unavailable
from flyfs.core.rendezvous import Candidate
from flyfs.swarm.roster import Roster

START_S = 20.0
STOP_S = 3.0
_PAUSE_S = (0.1, 5.0)

log = structlog.get_logger(__name__)


class EmbeddedSupernode:
    """Starts the child, and tells its address while it lives."""

    def __init__(self, directory: Path, options: Sequence[str], roster: Roster) -> None:
        """``directory`` holds its key and digests; ``options`` are passed on to it; ``roster`` hears where it listens."""
        self._directory = directory
        self._options = options
        self._roster = roster

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps one child alive; started once the first one serves.

        Raises:
            Unavailable: the first one cannot be started.
        """
        started = False
        pause_s = _PAUSE_S[0]
        while True:
            try:
                async with _Child(self._directory, self._options) as child:
                    self._roster.tell("embedded", [Candidate(await child.wait_ready())])
                    if not started:
                        started = True
                        task_status.started()
                    pause_s = _PAUSE_S[0]
                    await child.wait_ended()
                    log.warning("daemon.supernode.ended", pid=child.pid)
            except Unavailable as error:
                if not started:
                    raise
                log.warning("daemon.supernode.failed", reason=error.message)
            finally:
                self._roster.tell("embedded", [])
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S[1])


class _Child:
    """One child process."""

    def __init__(self, directory: Path, options: Sequence[str]) -> None:
        life, self._life = os.pipe()  # the child reads one end; the other ends with us
        try:
            # From this thread, and not from a worker: the kernel's signal at the parent's death means its thread.
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "supernode", "--embedded", "--parent-pipe", str(life)),
                    *("--listen", "127.0.0.1:0", "--cache", str(directory), *options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=(life,),
            )
        except OSError as error:
            os.close(self._life)
            raise Unavailable(f"the supernode cannot be started: {error.strerror}") from error
        finally:
            os.close(life)
        self.pid = self._process.pid
        self._descriptor = os.pidfd_open(self.pid)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        os.close(self._life)
        with trio.move_on_after(STOP_S) as scope:
            scope.shield = True
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            await self.wait_ended()
        if scope.cancelled_caught:
            self._process.kill()
        self._process.wait()
        os.close(self._descriptor)
        assert self._process.stdout is not None
        self._process.stdout.close()

    async def wait_ready(self) -> Address:
        """Where it listens, from the line that it prints when it serves. Raises Unavailable."""
        assert self._process.stdout is not None
        line = b""
        with trio.move_on_after(START_S):
            while not line.endswith(b"\n"):
                await trio.lowlevel.wait_readable(self._process.stdout)
                data = os.read(self._process.stdout.fileno(), 4096)
                if not data:
                    break
                line += data
        for word in line.decode("ascii", "replace").split():
            if word.startswith("peers="):
                return parse_address(word.removeprefix("peers="))
        raise Unavailable(f"the supernode did not start within {START_S:.0f} s, or said why in its log")

    async def wait_ended(self) -> None:
        """Returns when the process has ended."""
        await trio.lowlevel.wait_readable(self._descriptor)
