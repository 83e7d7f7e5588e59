"""A peer that says that it holds everything, and breaks the protocol in one of many ways once it is asked. Shell.

Supernodes, who dial back, see nothing but a greeting: so it is introduced like any other peer.
"""

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import trio

from flyfs.core.ids import PieceIndex
from flyfs.wire.codec import MAX_FRAME_BYTES, Envelope, FrameDecoder, encode
from flyfs.wire.messages import Follow, GetPiece, Have, Hello, Holdings, Message, Piece
from tests.support.joined_peer import JoinedPeer, everything

_NOISE = bytes(range(256)) * 256
_PAST_THE_END = 1_000_000
_DRIP_BYTES, _DRIP_S = 64, 0.05


class RubbishPeer(JoinedPeer):
    """Its name is one of ``WAYS``; ``occasions`` counts how often it broke the protocol."""

    occasions = 0

    async def serve(self, listener: socket.socket, *, task_status: trio.TaskStatus[None]) -> None:
        """Speaks as it should up to its occasion."""
        accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(self._one, [accepting], handler_nursery=nursery)

    async def _one(self, stream: trio.SocketStream) -> None:
        decoder, role = FrameDecoder(), ""
        try:
            async for data in stream:
                decoder.feed(data)
                while (envelope := decoder.next_message()) is not None:
                    if isinstance(envelope.message, Hello):
                        role = envelope.message.role
                    await self._answer(stream, envelope, honest=role == "supernode")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # whoever was there wants no more of it
        finally:
            await trio.aclose_forcefully(stream)

    async def _answer(self, stream: trio.SocketStream, envelope: Envelope, *, honest: bool) -> None:
        occasion, break_it = WAYS[self.name]
        message, number = envelope.message, envelope.request_id
        if isinstance(message, occasion) and not honest:
            self.occasions += 1
            await break_it(self, stream, envelope)
        elif isinstance(message, Hello):
            await stream.send_all(encode(self.welcome(message)))
        elif isinstance(message, Follow):
            await stream.send_all(encode(self.holdings(), number))

    def holdings(self) -> Holdings:
        """All of the blob."""
        return Holdings(have=everything(self.blob), durable=everything(self.blob))

    def piece(self, envelope: Envelope, *, other_by: int = 0, longer_by: int = 0) -> tuple[bytes, bytes]:
        """The frame and the bytes that answer a request, or nearly do; the bytes are wrong and unproved anyway."""
        assert isinstance(envelope.message, GetPiece)
        piece = envelope.message.piece
        size = self.blob.grid.length_of(PieceIndex(piece)) + longer_by
        return encode(Piece(piece=piece + other_by, length=size, proof=None), envelope.request_id), bytes(size)


async def _noise(_: RubbishPeer, stream: trio.SocketStream, __: Envelope) -> None:
    await stream.send_all(_NOISE)


async def _boundless_frame(_: RubbishPeer, stream: trio.SocketStream, __: Envelope) -> None:
    await stream.send_all((2**32 - 1).to_bytes(4, "big") + _NOISE)


async def _full_frame_of_nothing(_: RubbishPeer, stream: trio.SocketStream, __: Envelope) -> None:
    await stream.send_all(MAX_FRAME_BYTES.to_bytes(4, "big") + b"\xc1" * MAX_FRAME_BYTES)


async def _silence(_: RubbishPeer, __: trio.SocketStream, ___: Envelope) -> None:
    await trio.sleep_forever()


async def _bitmap_of_something_else(peer: RubbishPeer, stream: trio.SocketStream, envelope: Envelope) -> None:
    have = b"\xff" * (len(everything(peer.blob)) + 1)
    await stream.send_all(encode(Holdings(have=have, durable=have), envelope.request_id))


async def _news_past_the_end(peer: RubbishPeer, stream: trio.SocketStream, envelope: Envelope) -> None:
    await stream.send_all(encode(peer.holdings(), envelope.request_id))
    await stream.send_all(encode(Have(blob_id=peer.blob.id, runs=((_PAST_THE_END, 8), (0, _PAST_THE_END)))))


async def _another_piece(peer: RubbishPeer, stream: trio.SocketStream, envelope: Envelope) -> None:
    await stream.send_all(b"".join(peer.piece(envelope, other_by=1)))


async def _longer_piece(peer: RubbishPeer, stream: trio.SocketStream, envelope: Envelope) -> None:
    await stream.send_all(b"".join(peer.piece(envelope, longer_by=1)))


async def _wrong_bytes(peer: RubbishPeer, stream: trio.SocketStream, envelope: Envelope) -> None:
    await stream.send_all(b"".join(peer.piece(envelope)))


async def _half_a_piece_and_hang_up(peer: RubbishPeer, stream: trio.SocketStream, envelope: Envelope) -> None:
    frame, data = peer.piece(envelope)
    await stream.send_all(frame + data[: len(data) // 2])
    await trio.aclose_forcefully(stream)


async def _half_a_piece_and_silence(peer: RubbishPeer, stream: trio.SocketStream, envelope: Envelope) -> None:
    frame, data = peer.piece(envelope)
    await stream.send_all(frame + data[: len(data) // 2])
    await trio.sleep_forever()


async def _drops(peer: RubbishPeer, stream: trio.SocketStream, envelope: Envelope) -> None:
    frame, data = peer.piece(envelope)
    await stream.send_all(frame)
    for start in range(0, len(data), _DRIP_BYTES):
        await stream.send_all(data[start : start + _DRIP_BYTES])
        await trio.sleep(_DRIP_S)


async def _answers_to_nothing(peer: RubbishPeer, stream: trio.SocketStream, envelope: Envelope) -> None:
    for wrong in range(2, 40, 2):  # numbers of requests that were never made, of the asking side's kind
        frame, data = peer.piece(Envelope(envelope.request_id + 1000 * wrong, envelope.message))
        await stream.send_all(frame + data)


Way: TypeAlias = tuple[type[Message], Callable[[RubbishPeer, trio.SocketStream, Envelope], Awaitable[None]]]

WAYS: Mapping[str, Way] = {
    "noise for a greeting": (Hello, _noise),
    "no greeting": (Hello, _silence),
    "noise for a bitmap": (Follow, _noise),
    "a bitmap of something else": (Follow, _bitmap_of_something_else),
    "news past the end": (Follow, _news_past_the_end),
    "no bitmap": (Follow, _silence),
    "noise for a piece": (GetPiece, _noise),
    "a boundless frame": (GetPiece, _boundless_frame),
    "a full frame of nothing": (GetPiece, _full_frame_of_nothing),
    "another piece": (GetPiece, _another_piece),
    "a longer piece": (GetPiece, _longer_piece),
    "wrong bytes": (GetPiece, _wrong_bytes),
    "half a piece, then hung up": (GetPiece, _half_a_piece_and_hang_up),
    "half a piece, then silence": (GetPiece, _half_a_piece_and_silence),
    "a piece drop by drop": (GetPiece, _drops),
    "answers to nothing": (GetPiece, _answers_to_nothing),
}
"""By name: at which message of a peer, and how."""
