"""A peer that holds everything, by its word, and sends rubbish that it proves with forgeries. Shell."""

import socket

import trio

from flyfs.core.manifest import SignedDigests, piece_digest
from flyfs.transport.greeting import Greeted, serve
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import Digests, Follow, GetDigests, GetPiece, Holdings, Message, Piece
from tests.support.builders import OTHER_KEY
from tests.support.joined_peer import JoinedPeer, everything


class LyingPeer(JoinedPeer):
    """``asked_digests`` and ``asked_pieces`` tell what it was asked for."""

    asked_digests = 0
    asked_pieces = 0

    async def serve(self, listener: socket.socket, *, task_status: trio.TaskStatus[None]) -> None:
        """Speaks the protocol as it should be spoken."""
        await serve(listener, self.welcome, self._session, task_status=task_status)

    async def _session(self, greeted: Greeted) -> None:
        await greeted.link.run(self.told)

    async def told(self, link: Link, message: Message) -> Answer | None:
        """Lies to whoever asks, the supernode too."""
        match message:
            case Follow():
                return Answer(Holdings(have=everything(self.blob), durable=everything(self.blob)))
            case GetDigests():
                self.asked_digests += 1
                return Answer(Digests(batches=(self._forged(0, len(self.blob.grid)),)))
            case GetPiece(piece=piece):
                self.asked_pieces += 1
                size = self.blob.grid.length_of(piece)  # type: ignore[arg-type]
                return Answer(Piece(piece=piece, length=size, proof=self._forged(piece, piece + 1)), memoryview(bytes(size)))
            case _:
                return await super().told(link, message)

    def _forged(self, first: int, stop: int) -> SignedDigests:
        """Digests of the rubbish, in the name of the fleet's key."""
        sizes = [self.blob.grid.length_of(piece) for piece in range(first, stop)]  # type: ignore[arg-type]
        lie = OTHER_KEY.sign(self.blob.id, first, b"".join(piece_digest(bytes(size)) for size in sizes))
        return SignedDigests(blob_id=lie.blob_id, first=first, digests=lie.digests, key=self.key, signature=lie.signature)
