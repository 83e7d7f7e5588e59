"""What the commands of this host ask a daemon: one line of JSON each way. Pure.

A request is ``{"request": "status"}``, ``{"request": "path", "url": …}`` or ``{"request": "stop"}``; the answer is
``{"answer": …}`` or ``{"error": kind, "message": …}``. Unknown keys are ignored, so that both sides may be of different age.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from flyfs.core.errors import FlyfsError, RemoteProtocolError, error_from_wire

REQUEST_BYTES = 64 * 1024
"""The longest URL that servers take is far below this."""
ANSWER_BYTES = 4 * 1024 * 1024
"""A status with 10,000 isolated peers is below this."""


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """What does the daemon do? Answered with the status document."""


@dataclass(frozen=True, slots=True)
class PathRequest:
    """Where is ``url`` seen? Answered with an absolute path under the daemon's mountpoint."""

    url: str


@dataclass(frozen=True, slots=True)
class StopRequest:
    """End the mount and the daemon; answered before it begins."""


Request: TypeAlias = StatusRequest | PathRequest | StopRequest


def encode_request(request: Request) -> bytes:
    """One line."""
    match request:
        case StatusRequest():
            return _line({"request": "status"})
        case PathRequest(url):
            return _line({"request": "path", "url": url})
        case StopRequest():
            return _line({"request": "stop"})


def decode_request(line: bytes) -> Request:
    """The request in a line; raises RemoteProtocolError."""
    match _document(line):
        case {"request": "status"}:
            return StatusRequest()
        case {"request": "path", "url": str(url)}:
            return PathRequest(url)
        case {"request": "stop"}:
            return StopRequest()
        case other:
            raise RemoteProtocolError(f"no request that this daemon knows: {str(other)[:200]}")


def encode_answer(answer: object) -> bytes:
    """One line; ``answer`` is what ``json.dumps`` takes."""
    return _line({"answer": answer})


def encode_error(error: FlyfsError) -> bytes:
    """One line that the client raises again."""
    return _line({"error": error.kind, "message": error.message})


def decode_answer(line: bytes) -> Any:
    """The answer in a line.

    Raises:
        FlyfsError: the daemon refused.
        RemoteProtocolError: the line is no answer.
    """
    match _document(line):
        case {"answer": answer}:
            return answer
        case {"error": str(kind), "message": str(message)}:
            raise error_from_wire(kind, message)
        case other:
            raise RemoteProtocolError(f"no answer of a flyfs daemon: {str(other)[:200]}")


def _line(document: Mapping[str, object]) -> bytes:
    return json.dumps(document).encode() + b"\n"  # ASCII: surrogate escapes in names survive as \\udcXX


def _document(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError("a line that is no JSON") from error
