"""Which messages arrive, told by their codes alone: all that a load generator needs to know, and cheap. Pure."""

from flyfs.wire.messages import Piece

_LENGTH_BYTES, _CODE_AT = 4, 5
"""A frame is its length, msgpack's sign for an array of three, and the code; see ``wire/codec.py``."""


class AnswerCodes:
    """Bytes in, codes out; the bodies of pieces, all of ``body_bytes``, are passed over."""

    def __init__(self, body_bytes: int) -> None:
        self._body_bytes = body_bytes
        self._rest = bytearray()
        self._left_out_bytes = 0

    def feed(self, data: bytes) -> list[int]:
        """The codes of the messages that end in ``data``."""
        codes: list[int] = []
        rest, at = self._rest, 0
        rest += data
        while True:
            passed = min(self._left_out_bytes, len(rest) - at)
            self._left_out_bytes -= passed
            at += passed
            if self._left_out_bytes or len(rest) - at < _LENGTH_BYTES:
                break
            end = at + _LENGTH_BYTES + int.from_bytes(rest[at : at + _LENGTH_BYTES], "big")
            if len(rest) < end:
                break
            codes.append(rest[at + _CODE_AT])
            if codes[-1] == Piece.code:
                self._left_out_bytes = self._body_bytes
            at = end
        del rest[:at]
        return codes
