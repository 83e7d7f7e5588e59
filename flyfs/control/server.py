"""The control socket of a running daemon: who may connect is who may write to it (0660). Shell.

The socket appears under its name only once it answers, so that a refused connection proves its daemon dead. Only root and the
daemon's own user may stop it or change its cache; the socket's group may ask.
"""

import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog
import trio

from flyfs.control.client import daemon_pid
from flyfs.control.messages import (
    REQUEST_BYTES,
    CacheList,
    CacheRequest,
    PathRequest,
    Request,
    StatusRequest,
    StopRequest,
    Tell,
    WarmRequest,
    decode_request,
    encode_answer,
    encode_error,
    encode_more,
)
from flyfs.core.errors import ConfigError, Denied, FlyfsError, RemoteProtocolError, Unavailable
from flyfs.core.urls import RemoteUrl, parse_url

_CLIENT_S = 10.0
"""How long one client may take to send a request, and to receive each line of its answer."""
_CLIENTS = 32
_WARMING = 8
"""Of these, so that a status is answered in any case."""

_log = structlog.get_logger("flyfs.control")


class Handlers(Protocol):
    """What a daemon answers: from memory, without waiting for anything, but for ``warm`` and ``cache``."""

    def status(self) -> Mapping[str, object]:
        """The status document."""
        ...

    def path_of(self, url: RemoteUrl) -> str:
        """The absolute path of ``url`` under the mountpoint; raises FlyfsError where it has none."""
        ...

    def stop(self) -> None:
        """Begins to end the mount and the daemon."""
        ...

    async def warm(self, url: RemoteUrl, tell: Tell, *, supernode_only: bool) -> None:
        """Fetches all of ``url`` before anybody reads it; raises FlyfsError. Cancelled where the client has gone."""
        ...

    async def cache(self, request: CacheRequest, tell: Tell) -> object:
        """Does something with the cache; raises FlyfsError. Cancelled where the client has gone."""
        ...


class ControlServer:
    """Serves one socket."""

    def __init__(self, path: Path, handlers: Handlers) -> None:
        self._path = path
        self._handlers = handlers
        self._slots = trio.CapacityLimiter(_CLIENTS)
        self._warming = trio.CapacityLimiter(_WARMING)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled, then removes the socket; started once it answers.

        Raises:
            ConfigError: the directory or the socket cannot be made, or another daemon answers there.
        """
        with _listen(self._path) as listener:
            inode = self._path.stat().st_ino
            try:
                async with trio.open_nursery() as clients:
                    task_status.started()
                    while True:
                        await self._slots.acquire_on_behalf_of(token := object())
                        try:
                            connection, _ = await listener.accept()
                        except BaseException:
                            self._slots.release_on_behalf_of(token)
                            raise
                        clients.start_soon(self._serve, connection, token)
            finally:
                _remove(self._path, inode)

    async def _serve(self, connection: trio.socket.SocketType, token: object) -> None:
        try:
            async with trio.SocketStream(connection) as stream:
                with trio.fail_after(_CLIENT_S):
                    line = await _receive_line(stream)
                if line:
                    await self._answer(line, _user(connection), partial(_send, stream))
        except (trio.BrokenResourceError, trio.TooSlowError, RemoteProtocolError) as error:
            _log.debug("control.client.left", error=str(error))
        finally:
            self._slots.release_on_behalf_of(token)

    async def _answer(self, line: bytes, uid: int, send: Callable[[bytes], Awaitable[None]]) -> None:
        async def tell(row: object) -> None:
            await send(encode_more(row))

        try:
            answer = encode_answer(await self._answer_to(decode_request(line), uid, tell))
        except FlyfsError as error:
            answer = encode_error(error)
        await send(answer)

    async def _answer_to(self, request: Request, uid: int, tell: Tell) -> object:
        match request:
            case StatusRequest():
                return dict(self._handlers.status())
            case PathRequest(url):
                return self._handlers.path_of(_url(url))
            case StopRequest():
                _check_user(uid, "end a mount")
                _log.info("control.stop.asked", uid=uid)
                self._handlers.stop()
                return None
            case WarmRequest(url, supernode_only):
                await self._warm(_url(url), tell, supernode_only=supernode_only)
                return None
            case CacheList():
                return await self._handlers.cache(request, tell)
            case _:
                _check_user(uid, "change its cache")
                _log.info("control.cache.asked", uid=uid, request=type(request).__name__)
                return await self._handlers.cache(request, tell)

    async def _warm(self, url: RemoteUrl, tell: Tell, *, supernode_only: bool) -> None:
        token = object()
        try:
            self._warming.acquire_on_behalf_of_nowait(token)
        except trio.WouldBlock:
            raise Unavailable(f"the daemon warms {_WARMING} files already; try again when one of them is done") from None
        try:
            await self._handlers.warm(url, tell, supernode_only=supernode_only)
        finally:
            self._warming.release_on_behalf_of(token)


def _check_user(uid: int, what: str) -> None:
    if uid not in (0, os.geteuid()):
        raise Denied(f"only root and the user who mounted it may {what}")


async def _send(stream: trio.SocketStream, line: bytes) -> None:
    with trio.fail_after(_CLIENT_S):
        await stream.send_all(line)


def _url(text: str) -> RemoteUrl:
    try:
        return parse_url(text)
    except ValueError as error:
        raise RemoteProtocolError(str(error)) from error


async def _receive_line(stream: trio.SocketStream) -> bytes:
    """A request's line, empty where the client only looked whether somebody is there."""
    received = bytearray()
    while not received.endswith(b"\n"):
        data = await stream.receive_some(4096)
        if not data:
            return b""
        received += data
        if len(received) > REQUEST_BYTES:
            raise RemoteProtocolError(f"a request of more than {REQUEST_BYTES} bytes")
    return bytes(received)


def _user(connection: trio.socket.SocketType) -> int:
    """The user id of who connected, from the kernel (unix(7), SO_PEERCRED: pid, uid, gid)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def _listen(path: Path) -> trio.socket.SocketType:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        pid = daemon_pid(path)
        if pid is not None:
            raise ConfigError(f"{path}: the daemon {pid} already serves this mount; end it first")
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            fresh = path.with_name(f".{os.getpid()}.sock")
            fresh.unlink(missing_ok=True)
            raw.bind(str(fresh))
            fresh.chmod(0o660)
            raw.listen(_CLIENTS)
            fresh.rename(path)
        except BaseException:
            raw.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"{path}: the control socket cannot be made: {reason}; choose another place with --runtime-dir"
        ) from error
    return trio.socket.from_stdlib_socket(raw)


def _remove(path: Path, inode: int) -> None:
    """Removes our socket, not the one that a successor has put in its place."""
    try:
        found = path.lstat()
        if stat.S_ISSOCK(found.st_mode) and found.st_ino == inode:
            path.unlink()
    except OSError as error:
        _log.debug("control.socket.gone", error=str(error))
