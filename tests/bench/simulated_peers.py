"""Simulated peers of one supernode, thousands in one loop. Shell.

They are cheaper than what they load: frames are made once, answers are told apart by their codes. Every peer has an address of
127.0.0.0/8 of its own, where it also answers the supernode that tries it: ports do not run out, and all are reached.
"""

import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from errno import EINPROGRESS
from typing import Self

from flyfs.core.address import Address
from flyfs.core.ids import PeerId
from flyfs.wire.codec import encode
from flyfs.wire.messages import MAJOR, MINOR, Hello, Message, Welcome
from tests.bench.answer_codes import AnswerCodes

LOST = 0
"""In place of a message's code: the connection ended."""
REQUEST = 1
"""The id of every request: nobody here needs to tell their answers apart."""

_READ_BYTES = 256 * 1024
_BACKLOG = 4096
_MOST_EVENTS = 1024


@dataclass(slots=True, eq=False)
class SimulatedPeer:
    """One, and its connection to the supernode."""

    number: int
    sock: socket.socket
    codes: AnswerCodes
    unsent: bytearray = field(default_factory=bytearray)


class SimulatedPeers:
    """All of them. ``turn`` does the work; the sockets end with the block."""

    def __init__(self, supernode: Address) -> None:
        self._supernode = (supernode.host, supernode.port)
        self._poll = select.epoll()
        self._peers: dict[int, SimulatedPeer] = {}
        self._tried: dict[int, socket.socket] = {}
        self._listener = socket.create_server(("0.0.0.0", 0), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self._port = self._listener.getsockname()[1]
        self._poll.register(self._listener, select.EPOLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (*(peer.sock for peer in self._peers.values()), *self._tried.values(), self._listener):
            sock.close()
        self._poll.close()

    def come(self, number: int, *, reachable: bool, body_bytes: int = 0) -> SimulatedPeer:
        """A peer connects and greets; its ``Welcome`` comes with a ``turn``. One that is not reachable is a leech."""
        host = host_of(number)
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, 0))
        peer = SimulatedPeer(number, sock, AnswerCodes(body_bytes))
        self._peers[sock.fileno()] = peer
        connecting = sock.connect_ex(self._supernode)
        if connecting != EINPROGRESS and connecting:
            raise OSError(connecting, "cannot connect")
        hello = Hello(
            major=MAJOR,
            minor=MINOR,
            peer_id=peer_id_of(number),
            role="peer",
            version="bench",
            address=f"{host}:{self._port}" if reachable else "",
        )
        peer.unsent += encode(hello, REQUEST)
        self._poll.register(sock, select.EPOLLIN | select.EPOLLOUT)
        return peer

    def go(self, peer: SimulatedPeer) -> None:
        """A peer ends its connection."""
        del self._peers[peer.sock.fileno()]
        self._poll.unregister(peer.sock)
        peer.sock.close()

    def say(self, peer: SimulatedPeer, frames: bytes) -> None:
        """Sends now, and the rest with a ``turn``."""
        sent = 0
        if not peer.unsent:
            with suppress(BlockingIOError):
                sent = peer.sock.send(frames)
        if sent < len(frames):
            if not peer.unsent:
                self._poll.modify(peer.sock, select.EPOLLIN | select.EPOLLOUT)
            peer.unsent += memoryview(frames)[sent:]

    def turn(self, timeout_s: float) -> Iterator[tuple[SimulatedPeer, int]]:
        """Waits once; the codes of what arrived, with whom they came to."""
        for fd, events in self._poll.poll(timeout_s, _MOST_EVENTS):
            if fd == self._listener.fileno():
                self._be_tried()
            elif fd in self._tried:
                self._answer(fd)
            elif (peer := self._peers.get(fd)) is not None:
                yield from self._serve(peer, events)

    def _serve(self, peer: SimulatedPeer, events: int) -> Iterator[tuple[SimulatedPeer, int]]:
        try:
            if events & select.EPOLLOUT and peer.unsent:
                del peer.unsent[: peer.sock.send(peer.unsent)]
                if not peer.unsent:
                    self._poll.modify(peer.sock, select.EPOLLIN)
            if not events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                return
            data = peer.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.go(peer)
            yield peer, LOST
            return
        for code in peer.codes.feed(data):
            yield peer, code

    # -- the supernode tries whether they are where they say --------------------------------------------------------------

    def _be_tried(self) -> None:
        with suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                self._tried[sock.fileno()] = sock
                self._poll.register(sock, select.EPOLLIN)

    def _answer(self, fd: int) -> None:
        sock = self._tried[fd]
        try:
            if sock.recv(_READ_BYTES):  # a greeting: nobody else comes
                sock.send(encode(_welcome(number_of(sock.getsockname()[0])), REQUEST))
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        del self._tried[fd]
        sock.close()


def _welcome(number: int) -> Message:
    return Welcome(major=MAJOR, minor=MINOR, peer_id=peer_id_of(number), role="peer", version="bench")


def peer_id_of(number: int) -> PeerId:
    """A peer's id."""
    return PeerId(f"{number:032x}")


def host_of(number: int) -> str:
    """A peer's address, from 127.1.0.0 on."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def number_of(host: str) -> int:
    """Whose address it is."""
    _, high, middle, low = map(int, host.split("."))
    return (high - 1) << 16 | middle << 8 | low
