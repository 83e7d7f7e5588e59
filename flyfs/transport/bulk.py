"""Large amounts between sockets, memory and files, with few wake-ups, at the pace of the host's limit. Shell.

``SO_RCVLOWAT`` makes one wake-up bring much: a wake-up per 64 KiB halves the throughput of a Python receiver.
"""

import os
import socket
import struct
from collections.abc import Callable
from typing import Protocol

import trio

from flyfs.core.grid import KIB
from flyfs.limit.budget import Budget
from flyfs.limit.intake import Intake
from flyfs.limit.turns import Urgency

RECEIVE_LOW_WATER_BYTES = 512 * KIB
"""How much must have arrived before a receiver of a long body is woken (or all that is left of it)."""

DEAD_AFTER_MS = 10_000
"""Unacknowledged data or silent probes for this long break a connection (``TCP_USER_TIMEOUT``)."""

SLOW_AFTER_MS = 60_000
"""The same for who serves: the kernel counts the time in which a live reader takes less than a segment at once (a low limit)."""

UNSENT_BYTES = 128 * KIB
"""What the kernel takes of who serves beyond what is on its way (``TCP_NOTSENT_LOWAT``). Nothing overtakes it there, and for a
slow reader it was more than a piece (decision record 13)."""


class Receiver(Protocol):
    """Who waits for a body."""

    into: memoryview | None
    """Where the body goes; None once nobody wants it, because the memory may belong to somebody else then."""


_TCP_NOTSENT_LOWAT = 25
"""linux/tcp.h, since Linux 3.12."""
_LAST_DATA_AT = 52
"""linux/tcp.h: ``tcpi_last_data_recv`` in ``struct tcp_info``, milliseconds."""

_SCRAP = memoryview(bytearray(64 * KIB))
"""Where unwanted bytes go; never read."""


def tune(sock: socket.socket, *, serving: bool = False) -> None:
    """Settings of every connection between peers; ``serving`` for the side that sends bodies."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SLOW_AFTER_MS if serving else DEAD_AFTER_MS)
    if serving:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def silent_s(sock: socket.socket) -> float:
    """For how long no data have come, as the kernel saw it."""
    told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_AT + 4)
    milliseconds: int = struct.unpack_from("=I", told, _LAST_DATA_AT)[0]
    return milliseconds / 1000


async def receive_some(sock: socket.socket, scratch: memoryview) -> int:
    """Receives at least one byte into ``scratch``; 0 at the end of the stream. Always a checkpoint, before. Raises OSError."""
    await trio.lowlevel.checkpoint()  # whoever sends without a pause must not keep the loop to itself
    while True:
        try:
            return sock.recv_into(scratch)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)


async def receive_body(sock: socket.socket, receiver: Receiver, start: int, stop: int, intake: Intake) -> None:
    """Fills ``receiver.into[start:stop]`` as ``intake`` allows; what arrives after the receiver gave up is thrown away.

    Raises:
        OSError: the connection broke or ended first.
    """
    mark = 1
    drained = False
    try:
        while start < stop:
            limited = intake.limited()
            if drained or limited:  # trying again at once would take the crumbs as they come (decision record 2)
                wanted = min(stop - start, intake.slice_bytes if limited else RECEIVE_LOW_WATER_BYTES)
                if wanted != mark:
                    mark = wanted
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark)
                await trio.lowlevel.wait_readable(sock)
            permit = await intake.permit(stop - start) if limited else None
            most = stop - start if permit is None else permit.count
            into = receiver.into  # after the last wait: it may be gone
            target = _SCRAP[:most] if into is None else into[start : start + most]
            try:
                count = sock.recv_into(target)
            except BlockingIOError:
                drained = True
                if permit is not None:
                    intake.took(permit, 0)
                continue
            if permit is not None:
                intake.took(permit, count)
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


async def send_body(sock: socket.socket, body: memoryview, *, budget: Budget, urgency: Urgency) -> None:
    """Sends everything as ``budget`` allows. Raises OSError."""
    await _send_slices(sock, 0, len(body), lambda at, to: sock.send(body[at:to]), budget=budget, urgency=urgency)


async def send_file(sock: socket.socket, fileno: int, start: int, stop: int, *, budget: Budget, urgency: Urgency) -> None:
    """Sends bytes ``[start, stop)`` of a file without copying them through this process, as ``budget`` allows.

    The range should be in the page cache (``store``), or the loop waits for the disk.

    Raises:
        OSError: the connection broke, or the file is shorter.
    """

    def send(start: int, stop: int) -> int:
        sent = os.sendfile(sock.fileno(), fileno, start, stop - start)
        if not sent:
            raise OSError(f"a file ended at {start}, before {stop}")
        return sent

    await _send_slices(sock, start, stop, send, budget=budget, urgency=urgency)


async def _send_slices(
    sock: socket.socket, start: int, stop: int, send: Callable[[int, int], int], *, budget: Budget, urgency: Urgency
) -> None:
    while start < stop:
        permit = await budget.take(stop - start, urgency) if budget.limited else None
        try:
            sent = send(start, stop if permit is None else start + permit.count)
        except BlockingIOError:
            sent = 0
        start += sent
        if permit is not None:
            budget.give_back(permit, permit.count - sent)
        if not sent:
            await trio.lowlevel.wait_writable(sock)
