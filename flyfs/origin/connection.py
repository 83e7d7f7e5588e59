"""Connections to origins: only to vetted addresses, and readable past the HTTP parser. Shell.

``GuardedBackend`` gives the connection pool its connections. It resolves a name once, judges every address and connects to
one that passed, so a name cannot point elsewhere between the check and the connection (DNS rebinding), whatever hop or
retry the connection is for.

``OriginStream`` hands the parser nothing beyond the head that is due. So the bytes of a body are still here when the head has
been judged, and a long body can be received straight into the caller's buffer (``take_body``).
"""

# ruff: noqa: ARG002, ASYNC109 - the signatures are httpcore's

import re
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address

import httpcore
import trio

from flyfs.core.errors import Denied
from flyfs.limit.host_limit import HostLimit
from flyfs.limit.turns import Urgency
from flyfs.origin.address_guard import AddressPolicy, IpAddress, literal_address
from flyfs.origin.metered_stream import MeteredStream, demanded

_HEAD_END = re.compile(rb"\n\r?\n")
_ATTEMPT_S = 1.5
"""How long one of several addresses may keep the others waiting: an unreachable one must not cost the whole connect timeout."""


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Makes connections for the pool, to addresses that the policy allows."""

    def __init__(self, policy: AddressPolicy, limit: HostLimit) -> None:
        self._policy = policy
        self._limit = limit

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to ``host``.

        Raises:
            Denied: none of its addresses is allowed.
            httpcore.ConnectError: none answers.
            httpcore.ConnectTimeout: none answered in time.
        """
        try:
            with trio.fail_after(timeout if timeout is not None else 60.0):
                addresses = self._allowed(host, await _resolve(host, port))
                return OriginStream(MeteredStream(await _connect(host, addresses, port), self._limit))
        except trio.TooSlowError as error:
            raise httpcore.ConnectTimeout(f"{host}:{port} does not answer") from error

    def _allowed(self, host: str, addresses: list[IpAddress]) -> list[IpAddress]:
        refusals = {address: self._policy.refusal(host, address, own=_is_own(address)) for address in addresses}
        allowed = [address for address, refusal in refusals.items() if refusal is None]
        if not allowed:
            raise Denied(next(iter(refusals.values())) or host)
        return allowed

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refused: origins live on TCP."""
        raise httpcore.ConnectError("origins are reached over TCP only")

    async def sleep(self, seconds: float) -> None:
        """What the pool calls between its own retries."""
        await trio.sleep(seconds)


async def _resolve(host: str, port: int) -> list[IpAddress]:
    literal = literal_address(host)
    if literal is not None:
        return [literal]
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved ({error.strerror or error})") from error
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


def _is_own(address: IpAddress) -> bool:
    """Whether an address is this host's: the kernel then sends from it, too. Sends nothing."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((str(address), 9))
        return bool(ip_address(probe.getsockname()[0]) == address)
    return False


async def _connect(host: str, addresses: list[IpAddress], port: int) -> trio.SocketStream:
    failure: OSError | None = None
    for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
        with trio.move_on_after(_ATTEMPT_S if left else float("inf")):
            try:
                return await trio.open_tcp_stream(str(address), port)
            except OSError as error:
                failure = error
    reason = "connect" if failure is None else str(failure.__cause__ or failure)
    raise httpcore.ConnectError(f"{host}:{port} cannot be reached ({reason})") from failure


class OriginStream(httpcore.AsyncNetworkStream):
    """One connection, plain or TLS, whose bytes reach the parser head by head."""

    def __init__(self, stream: MeteredStream | trio.SSLStream[MeteredStream]) -> None:
        self._stream = stream
        self._metered = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        self._heads = 0
        self._head_due = False
        self._head = b""
        """What came of the due head so far: its start tells a final head from an interim one, its end where it ends."""
        self._ahead = b""
        """Received, but beyond the head."""
        self._body_left: int | None = None
        """Bytes that the body still may have, None where its length is not known."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """At most ``max_bytes``, and none beyond the due head or the announced body.

        Raises:
            httpcore.ConnectionNotAvailable: a connection that was kept has been closed meanwhile; the pool takes another.
        """
        if self._body_left is not None:
            max_bytes = min(max_bytes, self._body_left)
            if not max_bytes:
                return b""
        data = await self._receive(max_bytes, timeout)
        if self._head_due:
            return self._cut_head(data)
        if self._body_left is not None:
            self._body_left -= len(data)
        return data

    async def _receive(self, max_bytes: int, timeout: float | None) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:max_bytes], self._ahead[max_bytes:]
            return data
        kept = self._head_due and self._heads > 0 and not self._head
        try:
            with self._metered.stalling(timeout if timeout is not None else float("inf")):
                data = bytes(await self._stream.receive_some(max_bytes))
        except trio.TooSlowError as error:
            raise httpcore.ReadTimeout(f"not a byte for {timeout:.0f} s") from error
        except trio.ClosedResourceError as error:
            raise httpcore.ReadError("the connection was closed") from error
        except trio.BrokenResourceError as error:
            if kept:
                raise httpcore.ConnectionNotAvailable from error
            raise httpcore.ReadError(f"the connection broke ({error.__cause__ or error})") from error
        if not data and kept:
            raise httpcore.ConnectionNotAvailable
        return data

    def _cut_head(self, data: bytes) -> bytes:
        seen = len(self._head)
        self._head += data
        found = _HEAD_END.search(self._head, max(seen - 2, 0))
        if found is None:
            return data
        interim = self._head[9:10] == b"1" and self._head.startswith(b"HTTP/1.")  # 100 or 103: another head follows
        self._ahead = self._head[found.end() :] + self._ahead
        self._head = b""
        if not interim:
            self._head_due = False
            self._heads += 1
        return data[: found.end() - seen]

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Sends a request.

        Raises:
            httpcore.ConnectionNotAvailable: the last answer was longer than announced; the pool takes another connection.
        """
        if not buffer:
            return
        if self._ahead or (self._heads and self._body_left):
            raise httpcore.ConnectionNotAvailable
        self._head_due, self._head, self._body_left = True, b"", None
        self._metered.intake.urgency = demanded
        try:
            with trio.fail_after(timeout if timeout is not None else float("inf")):
                await self._stream.send_all(buffer)
        except trio.TooSlowError as error:
            raise httpcore.WriteTimeout("the request could not be sent in time") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            if self._heads:
                raise httpcore.ConnectionNotAvailable from error
            raise httpcore.WriteError(f"the connection broke ({error.__cause__ or error})") from error

    def announce_body(self, length: int) -> None:
        """The head announced a body of ``length`` bytes: the parser gets these and not one more."""
        self._body_left = length

    def body_is(self, urgency: Urgency) -> None:
        """How urgent what follows is, until the next request."""
        self._metered.intake.urgency = urgency

    def take_body(self) -> "tuple[bytes, MeteredStream] | None":
        """The body's first bytes and where the rest comes from, for whoever reads past the parser; None on TLS.

        The connection cannot be used for HTTP any more afterwards; the parser, which never saw the body, makes the pool close it.
        """
        if not isinstance(self._stream, MeteredStream):
            return None
        first, self._ahead = self._ahead, b""
        return first, self._stream

    async def aclose(self) -> None:
        """Closes the connection at once; TLS without its farewell, for which nobody waits."""
        if isinstance(self._stream, trio.SSLStream):
            await trio.aclose_forcefully(self._stream)
        else:
            await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """The same connection under TLS, once the certificate is verified.

        Raises:
            httpcore.ConnectError: it is not, or the handshake fails.
            httpcore.ConnectTimeout: it takes too long.
        """
        assert isinstance(self._stream, MeteredStream)
        stream = trio.SSLStream(self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True)
        try:
            with trio.fail_after(timeout if timeout is not None else float("inf")):
                await stream.do_handshake()
        except trio.TooSlowError as error:
            await trio.aclose_forcefully(stream)
            raise httpcore.ConnectTimeout("the TLS handshake takes too long") from error
        except (trio.BrokenResourceError, ssl.CertificateError) as error:
            await trio.aclose_forcefully(stream)
            raise httpcore.ConnectError(f"TLS: {error.__cause__ or error}") from error
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return OriginStream(stream)

    def get_extra_info(self, info: str) -> object:
        """``is_readable`` (data or an end waits on an idle connection) and ``ssl_object``; None for anything else."""
        if info == "ssl_object":
            return self._stream if isinstance(self._stream, trio.SSLStream) else None
        if info == "is_readable":
            return bool(self._ahead) or self._metered.socket.is_readable()
        return None
