"""A real nginx on loopback as origin: a directory, a port, and what it was asked for. Shell.

The listening socket is made here and inherited by nginx (its own way of changing binaries: the variable ``NGINX``), because
nginx cannot listen on port 0. One worker, everything below a directory of its own, nothing of the machine's nginx.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

_NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin") or "nginx"
_BARRIER = "/.log-barrier"
_ANSWER_S = 10.0
"""Nothing here takes long on loopback; whoever waits longer waits for a stopped nginx."""

_CONFIGURATION = """\
daemon off;
worker_processes 1;
{user}
pid {home}/nginx.pid;
error_log {home}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  log_format requests escape=json '{{"method":"$request_method","target":"$request_uri","range":"$http_range","status":$status,'
    '"sent":$body_bytes_sent,"agent":"$http_user_agent","authorization":"$http_authorization"}}';
  access_log {home}/access.log requests;
  default_type application/octet-stream;
  types {{ text/html html; }}
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  sendfile on; tcp_nopush on; keepalive_requests 1000000;
  server {{
    listen {address}:{port} backlog=1024;
    root "{root}";
    autoindex on; autoindex_format {listings};
    location = {barrier} {{ return 204; }}
    {directives}
  }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """One line of the access log.

    Attributes:
        path: decoded, without the query.
        asked: the Range header as it came, empty for none.
        sent_bytes: bytes of the body that nginx wrote to the connection.
    """

    method: str
    path: str
    query: str
    asked: str
    status: int
    sent_bytes: int
    agent: str
    authorization: str

    @property
    def sent_range(self) -> tuple[int, int]:
        """The half-open range of the file's bytes that were sent; empty for HEAD and for errors."""
        if self.method != "GET" or self.status not in (200, 206):
            return (0, 0)
        start = int(self.asked.removeprefix("bytes=").split("-")[0]) if self.status == 206 else 0
        return (start, start + self.sent_bytes)


@dataclass(frozen=True, slots=True)
class RequestLog:
    """What the origin was asked for, in the order of the answers' ends."""

    requests: tuple[LoggedRequest, ...]

    def __len__(self) -> int:
        return len(self.requests)

    def __iter__(self) -> Iterator[LoggedRequest]:
        return iter(self.requests)

    def of(self, path: str) -> "RequestLog":
        """The requests for one decoded path."""
        return RequestLog(tuple(one for one in self.requests if one.path == path))

    def since(self, earlier: "RequestLog") -> "RequestLog":
        """What came after ``earlier``, which must be a beginning of this log."""
        return RequestLog(self.requests[len(earlier) :])

    @property
    def sent_bytes(self) -> int:
        """Bytes of bodies that were sent."""
        return sum(one.sent_bytes for one in self.requests)

    def most_often_sent(self, path: str) -> int:
        """How often the byte of ``path`` that was sent most often was sent: 1 is what a swarm owes its origin."""
        edges: list[tuple[int, int]] = []
        for one in self.of(path):
            start, stop = one.sent_range
            edges += [(start, 1), (stop, -1)] if start < stop else []
        most = now = 0
        for _, step in sorted(edges):  # at one place the ends (-1) come before the starts
            now += step
            most = max(most, now)
        return most


class NginxOrigin:
    """nginx that serves ``root``; ``with NginxOrigin.serving(root) as origin``.

    ``stop``/``start`` keep port and log, ``pause``/``resume`` make it hang with its connections open.
    """

    def __init__(
        self,
        root: Path,
        home: Path,
        *,
        listings: str = "html",
        directives: str = "",
        address: str = "127.0.0.1",
        new_socket: Callable[[], socket.socket] = socket.socket,
    ) -> None:
        """``listings`` is html or json; ``directives`` go into the server block, locations for instance.

        ``new_socket`` gives the sockets of another network, in which ``address`` is.
        """
        self.root = root
        self._address = address
        self._new_socket = new_socket
        self._home = home
        self._listings = listings
        self._directives = directives
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @classmethod
    @contextmanager
    def serving(
        cls,
        root: Path,
        *,
        listings: str = "html",
        directives: str = "",
        address: str = "127.0.0.1",
        new_socket: Callable[[], socket.socket] = socket.socket,
    ) -> Iterator["NginxOrigin"]:
        """A running origin; everything it made is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="origin-") as home:
            origin = cls(root, Path(home), listings=listings, directives=directives, address=address, new_socket=new_socket)
            try:
                origin.start()
                yield origin
            finally:
                origin.stop()

    @property
    def authority(self) -> str:
        """``ADDRESS:PORT``."""
        return f"{self._address}:{self.port}"

    def url(self, path: str = "") -> str:
        """The URL of a decoded path below the root."""
        return f"http://{self.authority}/{quote(path.lstrip('/'), errors='surrogateescape')}"

    def start(self) -> None:
        """Starts, on the port it had if it had one; answers when this returns.

        Raises:
            RuntimeError: nginx ends at once; the message is its error log.
        """
        with self._new_socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._address, self.port))
            listener.listen(1024)
            self.port = listener.getsockname()[1]
            configuration = self._home / "nginx.conf"
            configuration.write_text(
                _CONFIGURATION.format(
                    home=self._home,
                    user="user root;" if os.geteuid() == 0 else "",  # reads what the tests made, below directories of mode 0700
                    address=self._address,
                    port=self.port,
                    root=self.root,
                    listings=self._listings,
                    barrier=_BARRIER,
                    directives=self._directives,
                )
            )
            self._process = subprocess.Popen(
                [_NGINX, "-p", str(self._home), "-c", str(configuration), "-e", str(self._home / "error.log")],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a copy of the error log
                env={**os.environ, "NGINX": f"{listener.fileno()};"},
                pass_fds=[listener.fileno()],
                start_new_session=True,  # master and worker are signalled together
            )
        try:
            self._pass_barrier()
        except OSError as error:
            self.stop()
            raise RuntimeError(f"nginx does not answer: {(self._home / 'error.log').read_text()}") from error

    def stop(self) -> None:
        """Ends it at once: connections break, new ones are refused."""
        if self._process is not None:
            self._signal(signal.SIGTERM)  # the master ends its worker and waits for it: no zombie is left to anybody
            self.resume()
            try:
                self._process.wait(_ANSWER_S)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Makes it hang: connections are accepted by the kernel and never answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends ``pause``."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("this origin is stopped")
        os.killpg(self._process.pid, number)

    def log(self) -> RequestLog:
        """Everything it was asked for so far, complete for all answers that somebody has received."""
        if self._process is not None:
            self._pass_barrier()
        lines = (self._home / "access.log").read_text(errors="surrogateescape").splitlines()
        return RequestLog(tuple(_logged(json.loads(line)) for line in lines if f'"{_BARRIER}"' not in line))

    def _pass_barrier(self) -> None:
        """Returns when nginx has logged all that it answered before: one worker, one request after the other."""
        with self._new_socket() as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect((self._address, self.port))
            connection.sendall(f"GET {_BARRIER} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while data := connection.recv(4096):
                answer += data
        if b" 204 " not in answer.split(b"\r\n")[0]:
            raise ConnectionError(f"an unexpected answer: {answer[:80]!r}")


def _logged(line: dict[str, Any]) -> LoggedRequest:
    path, _, query = line["target"].partition("?")
    return LoggedRequest(
        method=line["method"],
        path=unquote(path, errors="surrogateescape"),
        query=query,
        asked=line["range"],
        status=line["status"],
        sent_bytes=line["sent"],
        agent=line["agent"],
        authorization=line["authorization"],
    )
