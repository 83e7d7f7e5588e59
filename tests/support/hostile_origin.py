"""A scriptable HTTP/1.1 origin on loopback that misbehaves as told, and remembers what it was asked for. Shell.

In a test: ``async with HostileOrigin.serving() as origin: origin.put("/f", Resource(content=b"…", head="405"))``.
As a process of its own: ``HostileOriginProcess.started()``, or ``python -m tests.support.hostile_origin [--script FILE]``,
which prints its port. A script is JSON: ``{"/path": {"size": 1000, "seed": 1, "head": "405", …}, …}`` with the fields of
``Resource``. While it runs, ``PUT /.control/path`` with such an object sets one path, ``DELETE`` removes it, ``GET /.control``
gives the log as JSON.
"""

import argparse
import json
import random
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import trio

_CONTROL = "/.control"
_SEND_BYTES = 256 * 1024


def pattern(size: int, seed: int = 0) -> bytes:
    """``size`` bytes that do not compress and do not repeat; the same for the same seed in every process."""
    return random.Random(seed).randbytes(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What one path does.

    Attributes:
        content: the file's bytes.
        etag: as sent, quotes included; None for none.
        modified: Last-Modified as sent; None for none.
        head: ``ok``, a status that HEAD is refused with (``405``), ``break`` (closes), ``zero`` (claims 0 bytes), ``no-length``,
            ``body`` (sends one).
        ranges: honours Range; if not, it answers 200 with the whole file.
        if_range: honours If-Range; if not, it sends the part of whatever version it has.
        framing: ``length``, ``chunked``, or ``close`` (the connection's end is the body's).
        claims: bytes that Content-Length promises instead of the true number.
        stops_after: closes the connection after this many bytes of the body.
        resets: with ``stops_after``: by a reset instead of an orderly end.
        hangs: ``head`` (nothing is answered), ``body`` (after ``stops_after`` bytes nothing comes any more).
        status: answers this instead of content; the content is then the error page.
        content_range: sent instead of the true Content-Range.
        location: redirects there, with ``status`` or 302.
        delay_s: waits before each answer (a round trip).
        pause_s: waits between any two sends of the body, each of ``send_bytes``.
        headers: more fields, sent as they are.
        content_type: Content-Type.
        early_hints: a 103 comes before the answer.
        trailing: bytes sent after the body's promised end.
    """

    content: bytes = b""
    etag: str | None = None
    modified: str | None = None
    head: str = "ok"
    ranges: bool = True
    if_range: bool = True
    framing: str = "length"
    claims: int | None = None
    stops_after: int | None = None
    resets: bool = False
    hangs: str = ""
    status: int | None = None
    content_range: str | None = None
    location: str | None = None
    delay_s: float = 0.0
    pause_s: float = 0.0
    send_bytes: int = _SEND_BYTES
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/octet-stream"
    early_hints: bool = False
    trailing: bytes = b""

    @classmethod
    def from_script(cls, fields: dict[str, Any]) -> "Resource":
        """A resource as a script writes it: the content as ``text``, or as ``size`` and ``seed`` of ``pattern``."""
        fields = dict(fields)
        content = fields.pop("text", "").encode() or pattern(fields.pop("size", 0), fields.pop("seed", 0))
        return cls(content=content, **fields)


@dataclass(slots=True, kw_only=True)
class LoggedRequest:
    """What was asked and sent; ``sent_bytes`` counts the body and grows while it is sent.

    Attributes:
        connection: counts connections from 1, so that reuse can be seen.
        fields: the request's fields by lower-case name.
    """

    connection: int
    method: str
    path: str
    fields: dict[str, str]
    status: int = 0
    sent_bytes: int = 0

    @property
    def range(self) -> str | None:
        """The Range field, None without one."""
        return self.fields.get("range")


class HostileOrigin:
    """The server. ``requests`` is the log; ``put`` and ``resources`` may be used at any time."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.requests: list[LoggedRequest] = []
        self.port = 0
        self.scheme = "http"
        self._connections = 0

    @classmethod
    @asynccontextmanager
    async def serving(cls, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator["HostileOrigin", None]:
        """A running origin; it and its connections end with the block."""
        origin = cls()
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(origin.run, tls=tls))
            yield origin
            nursery.cancel_scope.cancel()

    async def run(
        self, *, tls: ssl.SSLContext | None = None, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serves for ever; tells its port."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        self.scheme = "https" if tls else "http"
        served = listener if tls is None else trio.SSLListener(listener, tls, https_compatible=True)
        async with trio.open_nursery() as nursery:
            task_status.started(self.port)
            await trio.serve_listeners(self._serve, [served], handler_nursery=nursery)

    def url(self, path: str = "/") -> str:
        """The URL of a decoded path."""
        return f"{self.scheme}://127.0.0.1:{self.port}{quote(path)}"

    def put(self, path: str, resource: Resource) -> None:
        """Sets what ``path`` (decoded, without query) does from now on."""
        self.resources[path] = resource

    def change(self, path: str, **changes: Any) -> None:
        """Changes some of what ``path`` does."""
        self.resources[path] = replace(self.resources[path], **changes)

    def asked(self, path: str) -> list[tuple[str, str | None]]:
        """Method and Range of each request for ``path``, in order."""
        return [(request.method, request.range) for request in self.requests if request.path == path]

    async def _serve(self, stream: trio.abc.Stream) -> None:
        self._connections += 1
        connection, waiting = self._connections, b""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            while True:
                while b"\r\n\r\n" not in waiting:
                    data = await stream.receive_some(_SEND_BYTES)
                    if not data:
                        return
                    waiting += data
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                start, *lines = head.decode("latin-1").split("\r\n")
                method, target, _ = start.split(" ")
                fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                while len(waiting) < int(fields.get("content-length", 0)):
                    waiting += await stream.receive_some(_SEND_BYTES)
                length = int(fields.get("content-length", 0))
                body, waiting = waiting[:length], waiting[length:]
                path = unquote_to_bytes(target.partition("?")[0]).decode("utf-8", "surrogateescape")
                if path.startswith(_CONTROL):
                    await self._control(stream, method, path.removeprefix(_CONTROL), body)
                    continue
                logged = LoggedRequest(connection=connection, method=method, path=path, fields=fields)
                self.requests.append(logged)
                if not await _Exchange(stream, logged, self.resources.get(path, Resource(status=404))).run():
                    return

    async def _control(self, stream: trio.abc.Stream, method: str, path: str, body: bytes) -> None:
        answer = b""
        if method == "PUT":
            self.put(path, Resource.from_script(json.loads(body)))
        elif method == "DELETE":
            self.resources.pop(path, None)
        else:
            answer = json.dumps([asdict(request) for request in self.requests]).encode()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)


class _Exchange:
    """One request and its answer."""

    def __init__(self, stream: trio.abc.Stream, request: LoggedRequest, resource: Resource) -> None:
        self._stream = stream
        self._request = request
        self._does = resource

    async def run(self) -> bool:
        """Answers; False where the connection is over."""
        does, request = self._does, self._request
        await trio.sleep(does.delay_s)
        if does.hangs == "head":
            await trio.sleep_forever()
        if request.method == "HEAD" and does.head == "break":
            return False
        status, start, stop, fields = self._plan()
        request.status = status
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in {**fields, **does.headers}.items()]
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" if does.early_hints else b""
        await self._stream.send_all(hints + "\r\n".join([*lines, "", ""]).encode("latin-1"))
        if request.method == "HEAD" and does.head != "body":
            return True
        return await self._send(memoryview(does.content)[start:stop])

    def _plan(self) -> tuple[int, int, int, dict[str, str]]:
        """Status, the part of the content, header fields."""
        does, request = self._does, self._request
        size = len(does.content)
        fields = {"Content-Type": does.content_type}
        if request.method == "HEAD" and does.head.isdigit():
            return int(does.head), 0, 0, {**fields, "Content-Length": "0"}
        if does.location is not None:
            return does.status or 302, 0, 0, {**fields, "Content-Length": "0", "Location": does.location}
        start, stop, status = 0, size, does.status or 200
        if does.status is None:
            fields |= {"ETag": does.etag} if does.etag else {}
            fields |= {"Last-Modified": does.modified} if does.modified else {}
            fields |= {"Accept-Ranges": "bytes"} if does.ranges else {}
            if request.method == "GET" and request.range and does.ranges and self._is_current():
                first, last = request.range.removeprefix("bytes=").split("-")
                start, stop, status = int(first), min(int(last) + 1, size), 206
                if start >= size:
                    return 416, 0, 0, {"Content-Range": does.content_range or f"bytes */{size}", "Content-Length": "0"}
                fields["Content-Range"] = does.content_range or f"bytes {start}-{stop - 1}/{size}"
        length = does.claims if does.claims is not None else stop - start
        if request.method == "HEAD" and does.head in ("zero", "no-length"):
            fields |= {"Content-Length": "0"} if does.head == "zero" else {}
        elif does.framing == "length":
            fields["Content-Length"] = str(length)
        elif does.framing == "chunked":
            fields["Transfer-Encoding"] = "chunked"
        else:
            fields["Connection"] = "close"
        return status, start, stop, fields

    def _is_current(self) -> bool:
        asked = self._request.fields.get("if-range")
        return asked is None or not self._does.if_range or asked in (self._does.etag, self._does.modified)

    async def _send(self, body: memoryview) -> bool:
        does = self._does
        stop = len(body) if does.stops_after is None else min(does.stops_after, len(body))
        for at in range(0, stop, does.send_bytes):
            data = body[at : min(at + does.send_bytes, stop)]
            chunk = data if does.framing != "chunked" else b"%x\r\n%b\r\n" % (len(data), bytes(data))
            await self._stream.send_all(chunk)
            self._request.sent_bytes += len(data)
            await trio.sleep(does.pause_s)
        if does.hangs == "body":
            await trio.sleep_forever()
        if does.stops_after is not None or (does.claims or 0) > len(body):
            if does.resets and isinstance(self._stream, trio.SocketStream):
                self._stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self._stream.socket.close()
            return False
        if does.framing == "chunked":
            await self._stream.send_all(b"0\r\n\r\n")
        if does.trailing:
            await self._stream.send_all(does.trailing)
        return does.framing != "close"


class HostileOriginProcess:
    """The same as a process of its own, for tests of whole programs."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self._process = process
        self.pid = process.pid
        self.port = port

    @classmethod
    @contextmanager
    def started(cls, script: dict[str, dict[str, Any]] | None = None) -> Generator["HostileOriginProcess", None, None]:
        """A running one, with what ``script`` says; ends with the block."""
        command = [sys.executable, "-m", "tests.support.hostile_origin"]
        root = Path(__file__).resolve().parents[2]
        with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                origin = cls(process, int(process.stdout.readline()))
                for path, fields in (script or {}).items():
                    origin.put(path, **fields)
                yield origin
            finally:
                process.kill()

    def url(self, path: str = "/") -> str:
        """The URL of a decoded path."""
        return f"http://127.0.0.1:{self.port}{quote(path)}"

    def put(self, path: str, **fields: Any) -> None:
        """Sets what ``path`` does, with the fields of a script."""
        self._ask("PUT", path, json.dumps(fields).encode())

    def remove(self, path: str) -> None:
        """Lets ``path`` be missing."""
        self._ask("DELETE", path)

    def requests(self) -> list[LoggedRequest]:
        """The log."""
        return [LoggedRequest(**fields) for fields in json.loads(self._ask("GET", ""))]

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.url(_CONTROL + path), data=body, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return bytes(answer.read())


async def _main(script: dict[str, dict[str, Any]]) -> None:
    origin = HostileOrigin()
    for path, fields in script.items():
        origin.put(path, Resource.from_script(fields))
    async with trio.open_nursery() as nursery:
        print(await nursery.start(origin.run), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)  # ends with whoever started it
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An HTTP origin that misbehaves as told; prints its port, ends with its input.")
    parser.add_argument("--script", type=Path, help="JSON: what each path does")
    arguments = parser.parse_args()
    trio.run(_main, json.loads(arguments.script.read_text()) if arguments.script else {})
