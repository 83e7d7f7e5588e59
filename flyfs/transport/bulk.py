"""Large amounts between sockets, memory and files, with few wake-ups. Shell.

``SO_RCVLOWAT`` makes one wake-up bring much: a wake-up per 64 KiB halves the throughput of a Python receiver.
"""

import os
import socket
from typing import Protocol

import trio

from flyfs.core.grid import KIB

RECEIVE_LOW_WATER_BYTES = 512 * KIB
"""How much must have arrived before a receiver of a long body is woken (or all that is left of it)."""

DEAD_AFTER_MS = 10_000
"""Unacknowledged data or silent probes for this long break a connection (``TCP_USER_TIMEOUT``)."""


class Receiver(Protocol):
    """Who waits for a body."""

    into: memoryview | None
    """Where the body goes; None once nobody wants it, because the memory may belong to somebody else then."""


_SCRAP = memoryview(bytearray(64 * KIB))
"""Where unwanted bytes go; never read."""


def tune(sock: socket.socket) -> None:
    """Settings of every connection between peers."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)


async def receive_some(sock: socket.socket, scratch: memoryview) -> int:
    """Receives at least one byte into ``scratch``; 0 at the end of the stream. Always a checkpoint, before. Raises OSError."""
    await trio.lowlevel.checkpoint()  # whoever sends without a pause must not keep the loop to itself
    while True:
        try:
            return sock.recv_into(scratch)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)


async def receive_body(sock: socket.socket, receiver: Receiver, start: int, stop: int) -> None:
    """Fills ``receiver.into[start:stop]``; what arrives after the receiver gave up is thrown away.

    Raises:
        OSError: the connection broke or ended first.
    """
    mark = 1
    drained = False
    try:
        while start < stop:
            if drained:  # trying again at once would take the crumbs as they come (decision record 2)
                wanted = min(stop - start, RECEIVE_LOW_WATER_BYTES)
                if wanted != mark:
                    mark = wanted
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark)
                await trio.lowlevel.wait_readable(sock)
            into = receiver.into
            target = _SCRAP[: stop - start] if into is None else into[start:stop]
            try:
                count = sock.recv_into(target)
            except BlockingIOError:
                drained = True
                continue
            if not count:
                raise OSError("the connection ended inside a body")
            start += count
            drained = count < len(target)
    finally:
        if mark != 1 and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


async def send_some(sock: socket.socket, data: bytes | memoryview, *, more: bool = False) -> int:
    """Sends at least one byte and says how many; cancelled, it has sent nothing. ``more``: a body follows. Raises OSError."""
    flags = socket.MSG_MORE if more else 0
    while True:
        try:
            return sock.send(data, flags)
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


async def send_all(sock: socket.socket, data: bytes | memoryview, *, more: bool = False) -> None:
    """Sends everything; ``more`` says that a body follows at once. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[await send_some(sock, view, more=more) :]


async def send_file(sock: socket.socket, fileno: int, start: int, stop: int) -> None:
    """Sends bytes ``[start, stop)`` of a file without copying them through this process.

    The range should be in the page cache (``store``), or the loop waits for the disk.

    Raises:
        OSError: the connection broke, or the file is shorter.
    """
    while start < stop:
        try:
            sent = os.sendfile(sock.fileno(), fileno, start, stop - start)
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)
            continue
        if not sent:
            raise OSError(f"a file ended at {start}, before {stop}")
        start += sent
