"""One request to one origin over the connection pool: what httpx's client sends through. Shell.

Errors of the libraries below end here: nothing that this module gives raises anything but the project's own errors.
"""

import ssl
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import httpcore
import httpx

from flyfs.core.errors import ConfigError, Unavailable
from flyfs.limit.host_limit import HostLimit
from flyfs.origin.address_guard import AddressPolicy
from flyfs.origin.connection import GuardedBackend

_CONNECTIONS = 256
_IDLE_CONNECTIONS = 64
_IDLE_S = 30.0
"""Below nginx's keep-alive of 75 s; a connection that the origin closed earlier is noticed and replaced."""


class BrokenAnswer(Unavailable):
    """The origin took the request, but its answer broke off or is no HTTP."""


@contextmanager
def errors_told(place: str) -> Generator[None, None, None]:
    """Translates what httpcore and httpx raise about ``place`` (a URL, for people).

    Raises:
        Unavailable: the origin cannot be reached, is too slow, or does not speak HTTP.
    """
    try:
        yield
    except (httpcore.TimeoutException, httpx.TimeoutException) as error:
        raise Unavailable(f"{place}: the origin is too slow: {error}") from error
    except (httpcore.ConnectError, httpx.ConnectError) as error:
        raise Unavailable(f"{place}: {error}") from error
    except (httpcore.NetworkError, httpx.NetworkError) as error:
        raise BrokenAnswer(f"{place}: {error}") from error
    except (httpcore.ProtocolError, httpx.ProtocolError) as error:
        raise BrokenAnswer(f"{place}: the origin breaks HTTP: {error}") from error
    except (httpcore.UnsupportedProtocol, httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"{place}: cannot be asked: {error}") from error


def tls_context(origin_ca: Path | None) -> ssl.SSLContext:
    """How origins' certificates are verified: by the system's authorities, and those of ``origin_ca`` (PEM).

    Raises:
        ConfigError: the file cannot be read or holds no certificate.
    """
    context = ssl.create_default_context()
    if origin_ca is not None:
        try:
            context.load_verify_locations(origin_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"--origin-ca {origin_ca}: not a file of PEM certificates ({error})") from error
    return context


class OriginTransport(httpx.AsyncBaseTransport):
    """A pool of vetted connections (HTTP/1.1: long bodies are read past its parser)."""

    def __init__(self, policy: AddressPolicy, *, origin_ca: Path | None, limit: HostLimit) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls_context(origin_ca),
            max_connections=_CONNECTIONS,
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_S,
            network_backend=GuardedBackend(policy, limit),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, once its head is here.

        Raises:
            Denied: the origin's address is refused.
            Unavailable: there is no answer.
        """
        url = request.url
        place = f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"  # without the query, which may hold a signature
        with errors_told(place):
            answer = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_AnswerStream(answer, place), extensions=answer.extensions
        )

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._pool.aclose()


class _AnswerStream(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response, place: str) -> None:
        self._answer = answer
        self._place = place

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with errors_told(self._place):
            async for chunk in self._answer.aiter_stream():
                yield chunk

    async def aclose(self) -> None:
        with errors_told(self._place):
            await self._answer.aclose()
