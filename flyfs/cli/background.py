"""How a daemon gets into the background and says that it is ready. Shell: starts a process.

The command starts itself again, in a session of its own, with a pipe: one line on it is ``{"ready": true}`` or
``{"error": message}``; a pipe that ends without a line is a daemon that crashed.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flyfs.core.errors import Unavailable

START_S = 120.0
"""Far above any start; what takes longer hangs."""
_END_S = 10.0


def start_in_background(command: str, arguments: Sequence[str], log_file: Path) -> int:
    """Runs ``flyfs COMMAND --ready-pipe FD`` with ``arguments`` in the background; returns its process id once it is ready.

    Raises:
        Unavailable: it failed to start; it has ended.
        KeyboardInterrupt: passed on; it has been told to end.
    """
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", buffering=0) as answers, log_file.open("ab") as log:
        try:
            # -P: modules must come from where flyfs is installed, never from the directory that the user stands in.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flyfs", command, "--ready-pipe", str(write_end), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(write_end,),
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        try:
            line = _wait_line(answers.fileno(), time.monotonic() + START_S)
        except BaseException:
            _end(process)
            raise
    if not line:
        raise Unavailable(
            f"the daemon ended with status {process.wait()} before the mount answered; its last words are in {log_file}"
        )
    answer = json.loads(line)
    if "error" in answer:
        process.wait()
        raise Unavailable(answer["error"])
    process.returncode = 0  # it goes on without us: nobody is to wait for it, nor to warn that nobody did
    return process.pid


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class ReadyPipe:
    """The daemon's end of the pipe; only the first word counts."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # the daemon's own children must not hold it open
        self._descriptor: int | None = descriptor

    def ready(self) -> None:
        """The mount answers: the command returns."""
        self._tell({"ready": True})

    def failed(self, message: str) -> None:
        """The daemon is about to end; the command prints why."""
        self._tell({"error": message})

    def _tell(self, answer: dict[str, object]) -> None:
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.write(descriptor, json.dumps(answer).encode() + b"\n")  # far below PIPE_BUF: whole or not at all
        except BrokenPipeError:
            os.kill(
                os.getpid(), signal.SIGTERM
            )  # the command was interrupted, perhaps before it knew us: nobody wants this mount
        finally:
            os.close(descriptor)


def _wait_line(descriptor: int, ends_at: float) -> bytes:
    """A line, or what came before the pipe's end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    received = b""
    while not received.endswith(b"\n"):
        if not poll.poll(max(0.0, ends_at - time.monotonic()) * 1000):
            raise Unavailable(f"the daemon did not say within {START_S:.0f} s that the mount answers")
        data = os.read(descriptor, 65536)
        if not data:
            break
        received += data
    return received
