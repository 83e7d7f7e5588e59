"""Asks the daemons of this host, and finds them. Shell, synchronous: for commands, which wait for one thing at a time.

Every call has a deadline. A socket that refuses connections belongs to a dead daemon (``server.py`` sees to that) and is removed.
"""

import socket
import struct
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyfs.control.messages import (
    ANSWER_BYTES,
    CacheRequest,
    More,
    PathRequest,
    Request,
    StatusRequest,
    StopRequest,
    WarmRequest,
    decode_answer,
    encode_request,
)
from flyfs.core.errors import Denied, RemoteProtocolError, Unavailable
from flyfs.core.urls import RemoteUrl

_ANSWER_S = 5.0
"""Daemons answer from memory: what takes longer is a stalled loop."""
_LOOK_S = 1.0
_WARM_S = 120.0
"""Before the first line a daemon may ask about the name for twice its deadline."""
_CACHE_S = 60.0
"""What a cache is asked waits for its disk; between two lines of an answer, no longer than this."""


@dataclass(frozen=True, slots=True)
class ControlClient:
    """One daemon of this host, by its socket; ``pid`` is the daemon's."""

    path: Path
    pid: int

    def status(self) -> dict[str, Any]:
        """The daemon's status document.

        Raises:
            Unavailable: the daemon does not answer within 5 s, or has just ended.
        """
        answer = self._ask(StatusRequest())
        if not isinstance(answer, dict):
            raise RemoteProtocolError(f"{self.path}: no status document")
        return answer

    def path_of(self, url: RemoteUrl) -> str:
        """Where ``url`` is seen under the daemon's mountpoint; raises as ``status``."""
        answer = self._ask(PathRequest(str(url)))
        if not isinstance(answer, str):
            raise RemoteProtocolError(f"{self.path}: no path")
        return answer

    def stop(self) -> None:
        """Begins to end the mount and the daemon.

        Raises:
            Denied: the mount is another user's.
            Unavailable: as ``status``.
        """
        self._ask(StopRequest())

    def warm(self, url: RemoteUrl, on_progress: Callable[[int, int], None], *, supernode_only: bool) -> None:
        """Has the daemon fetch all of ``url``; ``on_progress`` is called with bytes held and in all. Interrupted, it ends.

        Raises:
            FlyfsError: what the daemon said.
            Unavailable: as ``status``, with more patience.
        """

        def on_row(row: Any) -> None:
            match row:
                case {"held_bytes": int(held_bytes), "size_bytes": int(size_bytes)}:
                    on_progress(held_bytes, size_bytes)
                case _:
                    raise RemoteProtocolError(f"{self.path}: no progress: {str(row)[:200]}")

        self._ask(WarmRequest(str(url), supernode_only), on_row, line_s=_WARM_S)

    def cache(self, request: CacheRequest, on_row: Callable[[Any], None]) -> Any:
        """What the daemon's cache answers; ``on_row`` is called with each row that comes before.

        Raises:
            Denied: the cache is another user's.
            Unavailable: as ``status``, with more patience; or the cache cannot do it now.
        """
        return self._ask(request, on_row, line_s=_CACHE_S)

    def _ask(self, request: Request, on_row: Callable[[Any], None] = lambda _: None, *, line_s: float | None = None) -> Any:
        line_s = _ANSWER_S if line_s is None else line_s
        with _connected(self.path, _ANSWER_S) as connection:
            try:
                connection.sendall(encode_request(request))
                for line in _lines(connection, line_s):
                    answer = decode_answer(line)
                    if not isinstance(answer, More):
                        return answer
                    on_row(answer.row)
            except OSError as error:
                raise Unavailable(f"the daemon {self.pid} does not answer: {error}") from error


def find_daemon(directories: Iterable[Path], name: str) -> ControlClient | None:
    """The daemon of the mount called ``name``, None where none runs.

    Raises:
        Denied: there is one that does not let the caller in.
        Unavailable: there is one that is too busy to accept.
    """
    for directory in directories:
        path = directory / f"{name}.sock"
        pid = daemon_pid(path)
        if pid is not None:
            return ControlClient(path, pid)
    return None


def find_daemons(directories: Iterable[Path]) -> list[ControlClient]:
    """The daemons that let the caller in, by their names; those that do not are left out."""
    found: list[ControlClient] = []
    for directory in directories:
        for path in sorted(directory.glob("[!.]*.sock")):
            try:
                pid = daemon_pid(path)
            except (Denied, Unavailable):
                continue
            if pid is not None:
                found.append(ControlClient(path, pid))
    return found


def daemon_pid(path: Path) -> int | None:
    """The process that listens at ``path``, None where none does: the socket of a dead one is removed, if we may.

    Raises:
        Denied: the socket does not let the caller in.
        Unavailable: it does not accept in time.
    """
    try:
        inode = path.lstat().st_ino
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise _not_let_in(path) from error
    try:
        with _connected(path, _LOOK_S) as connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid: int = struct.unpack("3i", credentials)[0]  # unix(7): of who called listen()
            return pid
    except FileNotFoundError:
        return None
    except ConnectionRefusedError:
        try:
            if path.lstat().st_ino == inode:  # a successor may have come meanwhile
                path.unlink()
        except OSError:
            return None  # gone already, or not ours to remove: dead all the same
        return None


@contextmanager
def _connected(path: Path, timeout_s: float) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        # The kernel waits for room in the queue: a socket with a timeout of Python's own is told EAGAIN at once where it is full.
        seconds, microseconds = divmod(round(timeout_s * 1_000_000), 1_000_000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, microseconds))
        try:
            connection.connect(str(path))
        except PermissionError as error:
            raise _not_let_in(path) from error
        except BlockingIOError as error:
            raise Unavailable(f"{path}: the daemon accepts no connection") from error
        connection.settimeout(timeout_s)
        yield connection


def _not_let_in(path: Path) -> Denied:
    return Denied(f"{path}: the daemon is another user's; ask as that user, or as root")


def _lines(connection: socket.socket, line_s: float) -> Iterator[bytes]:
    """Line after line, for ever, each within ``line_s``. Raises OSError, RemoteProtocolError."""
    received = bytearray()
    while True:
        ends_at = time.monotonic() + line_s
        while (end := received.find(b"\n") + 1) == 0:
            left_s = ends_at - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("timed out")
            connection.settimeout(left_s)
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError("it closed the connection")
            received += data
            if len(received) > ANSWER_BYTES:
                raise RemoteProtocolError(f"an answer of more than {ANSWER_BYTES} bytes")
        line = bytes(received[:end])
        del received[:end]
        yield line
