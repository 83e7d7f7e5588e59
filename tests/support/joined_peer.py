"""A peer on loopback that has joined a blob and says that it holds all of it; what it serves, its subclasses decide. Shell.

A thread with a trio run of its own, so that it lives beside real programs.
"""

import socket
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Self

import trio

from flyfs.core.address import Address
from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.ids import PUBLIC
from flyfs.transport.greeting import bound_address, dial, listen
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import Done, FileFound, Hello, Join, Message, Ping, Reached, Stat, Welcome
from tests.support.builders import a_hello, a_peer_id

_START_S = 20.0
_ANSWER_S = 5.0


class JoinedPeer:
    """``with SomePeer.joined("name", supernode, blob) as peer``."""

    def __init__(self, name: str, supernode: Address, blob: Blob) -> None:
        self.peer_id = a_peer_id(name)
        self.blob = blob
        self.key = b""
        """The key of the supernode."""
        self.name = name
        self._supernode = supernode
        self._joined = threading.Event()
        self._scope: trio.CancelScope | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    @classmethod
    @contextmanager
    def joined(cls, name: str, supernode: Address, blob: Blob) -> Generator[Self, None, None]:
        """While the block lasts, after the supernode has found it reachable."""
        peer = cls(name, supernode, blob)
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(trio.run, peer._run)
            running.add_done_callback(lambda _: peer._joined.set())
            try:
                assert peer._joined.wait(_START_S), f"{name} did not get in"
                yield peer
            finally:
                with suppress(trio.RunFinishedError):  # it failed: that is told below
                    peer._end()
                running.result()

    def _end(self) -> None:
        if self._token is not None and self._scope is not None:
            self._token.run_sync_soon(self._scope.cancel)

    async def serve(self, listener: socket.socket, *, task_status: trio.TaskStatus[None]) -> None:
        """Answers those who connect, for ever."""
        raise NotImplementedError

    async def told(self, _: Link, message: Message) -> Answer | None:
        """What the supernode says."""
        match message:
            case Reached(reason=""):
                self._joined.set()
            case Ping():
                return Answer(Done())
            case _:
                pass
        return None

    def welcome(self, _: Hello) -> Welcome:
        """The greeting to whoever connects."""
        return Welcome(major=1, minor=0, peer_id=self.peer_id, role="peer", version="rogue")

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._scope:
            listener = listen(Address("127.0.0.1", 0))
            hello = a_hello(self.name, address=str(bound_address(listener)))
            async with trio.open_nursery() as nursery, dial(self._supernode, hello) as dialled:
                await nursery.start(self.serve, listener)
                self.key = dialled.welcome.key
                nursery.start_soon(dialled.link.run, self.told)
                have = everything(self.blob)
                await dialled.link.request(Join(blob=self.blob, have=have, durable=have, reading=False), timeout_s=_ANSWER_S)
                await trio.sleep_forever()


def everything(blob: Blob) -> bytes:
    """The bitmap of who holds it all."""
    return Bitmap.of(len(blob.grid), blob.grid).to_bytes()


def blob_at(supernode: Address, url: str) -> Blob:
    """The blob that a supernode says is at ``url``."""

    async def ask() -> Blob:
        async with trio.open_nursery() as nursery, dial(supernode, a_hello("asks")) as dialled:
            nursery.start_soon(dialled.link.run, _nothing)
            found = await dialled.link.request(Stat(url=url, principal=PUBLIC, max_age_s=0.0), timeout_s=_ANSWER_S)
            assert isinstance(found, FileFound), found
            assert found.blob is not None
            nursery.cancel_scope.cancel()
            return found.blob
        raise AssertionError  # not reached: the block returns or raises

    return trio.run(ask)


async def _nothing(_: Link, __: Message) -> Answer | None:
    return None
