"""Frames: a 4-byte big-endian length, then one msgpack array ``[code, request id, fields]``. Pure.

After a ``Piece`` frame its raw bytes follow on the stream, outside any frame: the decoder stops behind that frame and hands
back what it has read too far, so that the bulk can be received into its own buffer.
"""

from dataclasses import dataclass

import msgpack

from flyfs.core.errors import LocalProtocolError, RemoteProtocolError
from flyfs.wire.messages import MESSAGES, Message, Piece
from flyfs.wire.schema import SchemaError, from_plain, to_plain

MAX_FRAME_BYTES = 128 * 1024
"""The largest frames hold a bitmap of 262,144 pieces twice (64 KiB) or a page of digests (32 KiB)."""

_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with the request id that ties a reply to its request; 0 for events."""

    request_id: int
    message: Message


def encode(message: Message, request_id: int = 0) -> bytes:
    """One frame.

    Raises:
        LocalProtocolError: the message does not fit into a frame, or holds what has no form on the wire.
    """
    try:
        body: bytes = msgpack.packb([message.code, request_id, to_plain(message)], unicode_errors="surrogateescape")
    except (ValueError, OverflowError) as error:
        raise LocalProtocolError(f"a {type(message).__name__} that cannot be sent: {error}") from error
    if len(body) > MAX_FRAME_BYTES:
        raise LocalProtocolError(f"a {type(message).__name__} of {len(body)} bytes does not fit into a frame")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class FrameDecoder:
    """Bytes in, messages out. One per connection and direction."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Adds what arrived."""
        self._buffer += data

    def next_message(self) -> Envelope | None:
        """The next message, None where more bytes are needed. Messages of unknown codes are skipped.

        Raises:
            RemoteProtocolError: the bytes are no valid frame; the connection is beyond repair.
        """
        while len(self._buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
            if not 0 < length <= MAX_FRAME_BYTES:
                raise RemoteProtocolError(f"a frame of {length} bytes (at most {MAX_FRAME_BYTES})")
            end = _LENGTH_BYTES + length
            if len(self._buffer) < end:
                return None
            body = bytes(self._buffer[_LENGTH_BYTES:end])
            del self._buffer[:end]
            envelope = _read(body)
            if envelope is not None:
                return envelope
        return None

    def take_rest(self, most: int) -> bytes:
        """Up to ``most`` bytes that were fed behind the last message: the start of a piece's raw bytes."""
        taken = bytes(self._buffer[:most])
        del self._buffer[:most]
        return taken


def _read(body: bytes) -> Envelope | None:
    try:
        frame = msgpack.unpackb(body, unicode_errors="surrogateescape", strict_map_key=True, max_ext_len=0, max_map_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise RemoteProtocolError(f"a frame that is no msgpack: {error}") from error
    match frame:
        case [int() as code, int() as request_id, list() as plain, *_] if _numbers(code, request_id):
            kind = MESSAGES.get(code)
            if kind is None:
                return None
            try:
                return Envelope(request_id, from_plain(kind, plain))
            except SchemaError as error:
                raise RemoteProtocolError(f"a bad {kind.__name__}: {error}") from error
        case _:
            raise RemoteProtocolError("a frame that is no [code, request id, fields]")


def _numbers(code: int, request_id: int) -> bool:
    return type(code) is int and type(request_id) is int and 0 <= request_id < 1 << 63  # True is an int, too


def body_length(message: Message) -> int:
    """How many raw bytes follow a message's frame on the stream."""
    return message.length if isinstance(message, Piece) else 0
