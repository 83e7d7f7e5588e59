"""How much the kernel may receive ahead of us while a limit is on. Shell: sets socket options.

Bytes are limited by when they are read; what lies in a receive buffer by then has crossed the wire already. So buffers shrink to
what keeps the budget flowing over the connection's round trip, 50 ms of the budget at most. And what a buffer takes in beyond
what was read from it is counted when it is seen, else each new connection would bring a buffer's worth for nothing.
"""

import fcntl
import socket
import struct
import termios
from contextlib import suppress
from functools import cache
from pathlib import Path

import trio

BUFFER_US = (12_000, 50_000)
"""The least covers a slice and a late wake-up. The most fills the budget over one connection up to a round trip of 50 ms."""
LEAST_BUFFER_BYTES = 128 * 1024
"""What a connection begins with (tcp_rmem): a smaller buffer drops what the first window let through, and TCP waits a second."""

_SO_RCVBUFFORCE = 33
_SO_BUF_LOCK = 72
"""asm-generic/socket.h, since Linux 5.16: 0 lets the kernel size both buffers again."""
_MIN_RTT_AT = 148
"""linux/tcp.h: ``tcpi_min_rtt`` in ``struct tcp_info``, microseconds, since Linux 4.6."""
_GROWS_TO_BYTES = 6 * 1024 * 1024
"""tcp(7), where the kernel does not tell."""


class ReceiveBuffer:
    """Of one connection."""

    def __init__(self, sock: socket.socket | trio.socket.SocketType) -> None:
        self._sock = sock
        self._rate = 0
        self._queued = 0

    def fit(self, rate: int) -> None:
        """Makes it fit a budget of ``rate`` bytes per second; before each slice. Raises OSError once the connection is closed."""
        if rate and rate != self._rate:
            self._rate = rate
            size = max(LEAST_BUFFER_BYTES, rate * self._lasts_us() // 1_000_000)
            if size >= _grows_to() or not self._shrink(size):
                self._unlock()

    def uncounted(self) -> int:
        """After bytes were taken that are counted: how many more have come, below 0 where fewer. They count from now on.

        So what is counted is what was taken and what lies here. Raises OSError where the connection is closed.
        """
        queued: int = struct.unpack("i", fcntl.ioctl(self._sock.fileno(), termios.FIONREAD, b"\0\0\0\0"))[0]
        more, self._queued = queued - self._queued, queued
        return more

    @property
    def fitted(self) -> bool:
        """Whether it was made to fit a budget."""
        return self._rate != 0

    def release(self) -> None:
        """There is no limit any more."""
        self._rate = self._queued = 0
        self._unlock()

    def _unlock(self) -> None:
        """The kernel sizes it again, as it sees fit."""
        with suppress(OSError):  # an older kernel: it stays as it is
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)

    def _lasts_us(self) -> int:
        """A slice and three round trips: the window opens by what was read one ago, and half the buffer is the kernel's own."""
        told = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MIN_RTT_AT + 4)
        least_us, most_us = BUFFER_US
        if len(told) < _MIN_RTT_AT + 4:
            return most_us
        round_trip_us: int = struct.unpack_from("=I", told, _MIN_RTT_AT)[0]
        return min(least_us + 3 * round_trip_us, most_us)

    def _shrink(self, size: int) -> bool:
        """False where an unprivileged process gets less than that: a far origin could not fill the budget any more."""
        half = size // 2  # socket(7): the kernel doubles it, for what it keeps beside the bytes
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, half)
        except PermissionError:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, half)
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 2 * half


@cache
def _grows_to() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()[2])
    except (OSError, ValueError, IndexError):
        return _GROWS_TO_BYTES
