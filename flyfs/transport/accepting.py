"""Connections as they come, many at a time: a crowd must not wait in the kernel's queue, where it is dropped. Shell.

A listener's queue that is full drops who comes next, and the kernel of whoever was dropped waits 1 s, 3 s, 7 s before it tries
again. trio's own loop takes one connection a turn, and a turn is long just when many come: of 10,000 peers that came at once to a
supernode, 2,300 were still outside after 20 s; accepted like this, all had joined after 4 s (``just bench supernode``).
"""

import errno
import resource
import socket
from collections.abc import Awaitable, Callable

import structlog
import trio

QUEUE = 4096
"""Connections that may wait to be accepted; the kernel's own bound (``somaxconn``) has been as much since Linux 5.4."""

AT_ONCE = 128
"""Accepted in one turn of the loop: some 2 ms."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_EXHAUSTED_PAUSE_S = 0.1
"""Before the next try; somebody has to leave first."""

log = structlog.get_logger(__name__)


async def accept_connections(
    listener: socket.socket, session: Callable[[socket.socket, str], Awaitable[None]], nursery: trio.Nursery
) -> None:
    """For ever: each connection, with the address that it came from, is given to a ``session`` of its own in ``nursery``.

    ``listener`` does not block; whether the connections do is the kernel's default, and theirs to change.
    """
    while True:
        await trio.lowlevel.wait_readable(listener)
        for _ in range(AT_ONCE):
            try:
                sock, (host, *_) = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.warning("transport.accept.exhausted", reason=error.strerror)
                    await trio.sleep(_EXHAUSTED_PAUSE_S)
                    break
                log.debug("transport.accept.failed", reason=error.strerror)  # it was reset before we got to it
                continue
            nursery.start_soon(session, sock, host)


def allow_many_connections() -> None:
    """Lets this process have as many descriptors as the system grants; what shells and services start with is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
