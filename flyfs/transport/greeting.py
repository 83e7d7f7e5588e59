"""How a connection begins: ``Hello`` from whoever dialled, ``Welcome`` or a refusal from the other side. Shell."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
import trio

from flyfs.core.address import Address
from flyfs.core.errors import Denied, FlyfsError, RemoteProtocolError, Unavailable
from flyfs.limit.host_limit import UNLIMITED, HostLimit
from flyfs.transport.accepting import QUEUE, accept_connections
from flyfs.transport.bulk import tune
from flyfs.transport.link import LOST, Link
from flyfs.wire.messages import MAJOR, Failed, Hello, Welcome

CONNECT_TIMEOUT_S = 2.0
GREETING_TIMEOUT_S = 5.0
"""How long the greetings of a connection may take."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connection we opened, greeted."""

    link: Link
    welcome: Welcome


@asynccontextmanager
async def dial(address: Address, hello: Hello, limit: HostLimit = UNLIMITED) -> AsyncIterator[Dialled]:
    """A greeted connection to ``address`` under ``limit``, closed on leaving; the caller runs ``link.run``.

    Raises:
        Unavailable: nobody answers there in time.
        Denied: the other side refused us (it says why).
        RemoteProtocolError: that is no flyfs, or one of another major version.
    """
    name = str(address)
    try:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            stream = await trio.open_tcp_stream(address.host, address.port)
    except (OSError, trio.TooSlowError) as error:
        raise Unavailable(f"{name}: cannot connect ({error or 'timed out'})") from error
    sock = _take_socket(stream)
    link = Link(sock, name, dialled=True, limit=limit)
    try:
        yield Dialled(link, await _greet(link, hello))
    finally:
        link.close()


async def _greet(link: Link, hello: Hello) -> Welcome:
    try:
        with trio.fail_after(GREETING_TIMEOUT_S):
            await link.send(hello)
            envelope = await link.receive()
    except (*LOST, trio.TooSlowError) as error:
        raise Unavailable(f"{link.name}: no greeting ({error or 'timed out'})") from error
    match envelope.message if envelope else None:
        case Welcome() as welcome if welcome.major == MAJOR:
            return welcome
        case Welcome() as welcome:
            raise RemoteProtocolError(f"{link.name} speaks protocol {welcome.major}, this program speaks {MAJOR}")
        case Failed(kind=Unavailable.kind, message=message, retry_after_s=retry_after_s):
            raise Unavailable(f"{link.name}: {message}", retry_after_s=retry_after_s)
        case Failed(message=message):
            raise Denied(f"{link.name}: {message}")
        case None:
            raise Unavailable(f"{link.name}: closed the connection instead of a greeting")
        case _:
            raise RemoteProtocolError(f"{link.name}: not a greeting")


@dataclass(frozen=True, slots=True)
class Greeted:
    """A connection somebody opened to us, greeted."""

    link: Link
    hello: Hello
    host: str
    """The address it came from."""


async def serve(
    listener: socket.socket,
    welcome: Callable[[Hello], Welcome],
    session: Callable[[Greeted], Awaitable[None]],
    *,
    limit: HostLimit = UNLIMITED,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accepts connections for ever, under ``limit``: each is greeted and given to ``session``, which runs it.

    Closes ``listener`` in the end.

    ``welcome`` answers a ``Hello`` or raises a FlyfsError, which refuses it.
    """

    async def one(sock: socket.socket, host: str) -> None:
        tune(sock, serving=True)
        link = Link(sock, f"peer at {host}", dialled=False, limit=limit)
        try:
            if (hello := await _greeted(link, host, welcome)) is not None:
                await session(Greeted(link, hello, host))
        except FlyfsError as error:
            log.debug("transport.session.ended", link=link.name, reason=error.message)
        finally:
            link.close()

    with listener:
        async with trio.open_nursery() as nursery:
            task_status.started()
            await accept_connections(listener, one, nursery)


async def _greeted(link: Link, host: str, welcome: Callable[[Hello], Welcome]) -> Hello | None:
    """Exchanges greetings; None where ``welcome`` refused. Raises Unavailable, RemoteProtocolError."""
    try:
        with trio.fail_after(GREETING_TIMEOUT_S):
            hello = await _expect_hello(link)
            link.name = f"peer {hello.peer_id[:8]} at {host}"
            try:
                answer = welcome(hello)
            except FlyfsError as error:
                log.info("transport.session.refused", link=link.name, reason=error.message)
                await _refuse(link, error)
                return None
            await link.send(answer)
            return hello
    except (*LOST, trio.TooSlowError) as error:
        raise Unavailable(f"{link.name}: no greeting ({error or 'timed out'})") from error


async def _expect_hello(link: Link) -> Hello:
    envelope = await link.receive()
    if envelope is None or not isinstance(envelope.message, Hello):
        raise RemoteProtocolError(f"{link.name}: not a greeting")
    if envelope.message.major != MAJOR:
        await _refuse(
            link, RemoteProtocolError(f"this side speaks protocol {MAJOR}, not {envelope.message.major}; upgrade one of us")
        )
        raise RemoteProtocolError(f"{link.name} speaks protocol {envelope.message.major}")
    return envelope.message


async def _refuse(link: Link, error: FlyfsError) -> None:
    retry_after_s = error.retry_after_s if isinstance(error, Unavailable) else None
    with trio.move_on_after(1), suppress(Unavailable):
        await link.send(Failed(kind=error.kind, message=error.message, retry_after_s=retry_after_s))


def listen(address: Address) -> socket.socket:
    """A listening socket; port 0 picks a free one.

    Raises:
        OSError: the address cannot be bound.
    """
    family, kind, protocol, _, sockaddr = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(sockaddr)
        sock.listen(QUEUE)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def bound_address(listener: socket.socket) -> Address:
    """Where a listening socket really listens."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def _take_socket(stream: trio.SocketStream) -> socket.socket:
    """The plain socket under a trio stream, tuned for bulk; the stream is not used any more."""
    sock = socket.socket(fileno=stream.socket.detach())
    tune(sock)
    return sock
