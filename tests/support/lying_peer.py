"""A peer on loopback that holds everything, by its word, and sends rubbish that it proves with forgeries. Shell.

A thread with a trio run of its own, so that it lives beside real programs.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import trio

from flyfs.core.address import Address
from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.manifest import SignedDigests, piece_digest
from flyfs.transport.greeting import Greeted, bound_address, dial, listen, serve
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import (
    Digests,
    Follow,
    GetDigests,
    GetPiece,
    Hello,
    Holdings,
    Join,
    Message,
    Piece,
    Ping,
    Reached,
    Welcome,
)
from tests.support.builders import OTHER_KEY, a_hello, a_peer_id

_START_S = 20.0


class LyingPeer:
    """``asked_digests`` and ``asked_pieces`` tell what it was asked for."""

    def __init__(self, supernode: Address, blob: Blob) -> None:
        self.peer_id = a_peer_id("liar")
        self.asked_digests = 0
        self.asked_pieces = 0
        self._supernode = supernode
        self._blob = blob
        self._key = b""
        self._joined = threading.Event()
        self._scope: trio.CancelScope | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    @classmethod
    @contextmanager
    def joined(cls, supernode: Address, blob: Blob) -> "Generator[LyingPeer, None, None]":
        """While the block lasts, after the supernode has found it reachable."""
        peer = cls(supernode, blob)
        thread = threading.Thread(target=trio.run, args=(peer._run,))
        thread.start()
        try:
            assert peer._joined.wait(_START_S), "the lying peer did not get in"
            yield peer
        finally:
            assert peer._token is not None
            assert peer._scope is not None
            peer._token.run_sync_soon(peer._scope.cancel)
            thread.join()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._scope:
            listener = listen(Address("127.0.0.1", 0))
            hello = a_hello("liar", address=str(bound_address(listener)))
            async with trio.open_nursery() as nursery, dial(self._supernode, hello) as dialled:
                await nursery.start(partial(serve, listener, self._welcome, self._session))
                self._key = dialled.welcome.key
                nursery.start_soon(dialled.link.run, self._handle)
                have = Bitmap.of(len(self._blob.grid), self._blob.grid).to_bytes()
                await dialled.link.request(Join(blob=self._blob, have=have, durable=have, reading=False), timeout_s=5)
                await trio.sleep_forever()

    def _welcome(self, _: Hello) -> Welcome:
        return Welcome(major=1, minor=0, peer_id=self.peer_id, role="peer", version="lies")

    async def _session(self, greeted: Greeted) -> None:
        await greeted.link.run(self._handle)

    async def _handle(self, _: Link, message: Message) -> Answer | None:
        match message:
            case Reached(reason=""):
                self._joined.set()
            case Follow():
                have = Bitmap.of(len(self._blob.grid), self._blob.grid).to_bytes()
                return Answer(Holdings(have=have, durable=have))
            case GetDigests():
                self.asked_digests += 1
                return Answer(Digests(batches=(self._forged(0, len(self._blob.grid)),)))
            case GetPiece(piece=piece):
                self.asked_pieces += 1
                size = self._blob.grid.length_of(piece)  # type: ignore[arg-type]
                return Answer(Piece(piece=piece, length=size, proof=self._forged(piece, piece + 1)), memoryview(bytes(size)))
            case Ping():
                return None
            case _:
                pass
        return None

    def _forged(self, first: int, stop: int) -> SignedDigests:
        """Digests of the rubbish, in the name of the fleet's key."""
        sizes = [self._blob.grid.length_of(piece) for piece in range(first, stop)]  # type: ignore[arg-type]
        lie = OTHER_KEY.sign(self._blob.id, first, b"".join(piece_digest(bytes(size)) for size in sizes))
        return SignedDigests(blob_id=lie.blob_id, first=first, digests=lie.digests, key=self._key, signature=lie.signature)
