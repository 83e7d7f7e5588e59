"""What the commands of this host ask a daemon: one line of JSON, answered by one line or more. Pure.

A request is ``{"request": "status"}``, ``{"request": "path", "url": …}``, ``{"request": "stop"}``, one about the cache, or
``{"request": "warm", "url": …, "supernode_only": …}``; the answer is ``{"answer": …}`` or ``{"error": kind, "message": …}``. What
is long, or takes long, comes before it in lines ``{"more": …}``. Unknown keys are ignored, so that both sides may be of different
age.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
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


@dataclass(frozen=True, slots=True)
class WarmRequest:
    """Fetch all of ``url`` before anybody reads it, onto this host or onto the supernode only.

    Tells bytes held and in all in lines, four times a second, and ends with who asked.
    """

    url: str
    supernode_only: bool


@dataclass(frozen=True, slots=True)
class CacheList:
    """Which blobs are held? Each in a line of its own, the least recently used first."""


@dataclass(frozen=True, slots=True)
class CacheRemove:
    """Drop the blobs with these URLs, ids, or starts of ids."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CacheCollect:
    """Drop what is used least recently until ``to_bytes`` are left (None: what the limit allows), and what is of no use."""

    to_bytes: int | None


@dataclass(frozen=True, slots=True)
class CacheVerify:
    """Prove every durable piece from the disk; what is damaged goes. Tells in lines how far it is, and what was damaged."""


CacheRequest: TypeAlias = CacheList | CacheRemove | CacheCollect | CacheVerify
Request: TypeAlias = StatusRequest | PathRequest | StopRequest | WarmRequest | CacheRequest


Tell: TypeAlias = Callable[[object], Awaitable[None]]
"""Takes a row of an answer before the rest of it is known."""


@dataclass(frozen=True, slots=True)
class More:
    """A line that others follow: one row of an answer."""

    row: Any


def encode_request(request: Request) -> bytes:
    """One line."""
    match request:
        case StatusRequest():
            return _line({"request": "status"})
        case PathRequest(url):
            return _line({"request": "path", "url": url})
        case StopRequest():
            return _line({"request": "stop"})
        case WarmRequest(url, supernode_only):
            return _line({"request": "warm", "url": url, "supernode_only": supernode_only})
        case CacheList():
            return _line({"request": "cache list"})
        case CacheRemove(names):
            return _line({"request": "cache remove", "names": list(names)})
        case CacheCollect(to_bytes):
            return _line({"request": "cache collect", "to_bytes": to_bytes})
        case CacheVerify():
            return _line({"request": "cache verify"})


def decode_request(line: bytes) -> Request:
    """The request in a line; raises RemoteProtocolError."""
    match _document(line):
        case {"request": "status"}:
            return StatusRequest()
        case {"request": "path", "url": str(url)}:
            return PathRequest(url)
        case {"request": "stop"}:
            return StopRequest()
        case {"request": "warm", "url": str(url), "supernode_only": bool(supernode_only)}:
            return WarmRequest(url, supernode_only)
        case {"request": "cache list"}:
            return CacheList()
        case {"request": "cache remove", "names": [*names]} if all(isinstance(name, str) for name in names):
            return CacheRemove(tuple(names))
        case {"request": "cache collect", "to_bytes": int() | None as to_bytes} if type(to_bytes) is not bool:
            return CacheCollect(to_bytes)
        case {"request": "cache verify"}:
            return CacheVerify()
        case other:
            raise RemoteProtocolError(f"no request that this daemon knows: {str(other)[:200]}")


def encode_answer(answer: object) -> bytes:
    """One line; ``answer`` is what ``json.dumps`` takes."""
    return _line({"answer": answer})


def encode_more(row: object) -> bytes:
    """One line of several; ``row`` is what ``json.dumps`` takes."""
    return _line({"more": row})


def encode_error(error: FlyfsError) -> bytes:
    """One line that the client raises again."""
    return _line({"error": error.kind, "message": error.message})


def decode_answer(line: bytes) -> Any:
    """The answer in a line, or ``More`` where others follow.

    Raises:
        FlyfsError: the daemon refused.
        RemoteProtocolError: the line is no answer.
    """
    match _document(line):
        case {"answer": answer}:
            return answer
        case {"more": row}:
            return More(row)
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
