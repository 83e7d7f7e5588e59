"""Connections over loopback TCP: between two links, or between a link and a test that speaks bytes."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from flyfs.core.errors import ProtocolError
from flyfs.limit.host_limit import UNLIMITED, HostLimit
from flyfs.transport.bulk import tune
from flyfs.transport.link import Answer, Handler, Link
from flyfs.wire.codec import Envelope, FrameDecoder, encode
from flyfs.wire.messages import Done, Message


def connected_sockets(*, small: bool = False) -> tuple[socket.socket, socket.socket]:
    """Who dialled, and the other side; tuned. ``small`` buffers are full after some KiB."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialled = socket.socket()
        if small:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            dialled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            dialled.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        dialled.connect(listener.getsockname())
        accepted, _ = listener.accept()
    tune(dialled)
    tune(accepted)
    return dialled, accepted


async def nothing(_: Link, message: Message) -> Answer | None:
    """A handler that fulfils everything."""
    return Answer(Done())


def stuffed(sock: socket.socket) -> int:
    """Sends zeros until the connection takes no more; how many."""
    total = 0
    while True:
        try:
            total += sock.send(bytes(65_536))
        except BlockingIOError:
            return total


@dataclass
class Pair:
    """Two links; what ended them."""

    left: Link
    right: Link
    guilty: dict[str, ProtocolError] = field(default_factory=dict)


@asynccontextmanager
async def linked(
    right: Handler = nothing,
    left: Handler = nothing,
    *,
    small: bool = False,
    limit: HostLimit = UNLIMITED,
    right_limit: HostLimit = UNLIMITED,
) -> AsyncIterator[Pair]:
    """Two running links; ``left`` dialled, and is under ``limit``."""
    one, other = connected_sockets(small=small)
    pair = Pair(Link(one, "left", dialled=True, limit=limit), Link(other, "right", dialled=False, limit=right_limit))

    async def run(link: Link, handle: Handler) -> None:
        try:
            await link.run(handle)
        except ProtocolError as error:
            pair.guilty[link.name] = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, pair.left, left)
        nursery.start_soon(run, pair.right, right)
        yield pair
        nursery.cancel_scope.cancel()


@dataclass
class RawPeer:
    """The other end of a link, in the hands of a test."""

    stream: trio.SocketStream
    link: Link
    ended: trio.Event = field(default_factory=trio.Event)
    guilty: ProtocolError | None = None
    _decoder: FrameDecoder = field(default_factory=FrameDecoder)

    async def next(self) -> Envelope:
        """The next message that the link sent."""
        while (envelope := self._decoder.next_message()) is None:
            data = await self.stream.receive_some()
            assert data, "the link closed the connection"
            self._decoder.feed(data)
        return envelope

    async def send(self, message: Message, request_id: int = 0, body: bytes = b"") -> None:
        """Sends a message and what follows it."""
        await self.stream.send_all(encode(message, request_id) + body)


@asynccontextmanager
async def raw_peer(handle: Handler = nothing, *, dialled: bool = True, small: bool = False) -> AsyncIterator[RawPeer]:
    """A running link whose other end is the test's."""
    one, other = connected_sockets(small=small)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(other))
    peer = RawPeer(stream, Link(one, "link", dialled=dialled))

    async def run() -> None:
        try:
            await peer.link.run(handle)
        except ProtocolError as error:
            peer.guilty = error
        peer.ended.set()

    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield peer
        nursery.cancel_scope.cancel()


async def until(true: Callable[[], bool]) -> None:
    """Lets the loop turn until something is so; a test that waits in vain runs into its time-out."""
    while not true():  # noqa: ASYNC110 - what is waited for has no event of its own
        await trio.sleep(0.001)
