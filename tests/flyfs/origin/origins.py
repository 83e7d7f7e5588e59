"""What the tests of this room share: a hostile origin with a client, and short ways to ask it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from flyfs.core.blob import Validator
from flyfs.core.grid import ByteRange
from flyfs.core.urls import parse_url
from flyfs.origin.address_guard import AddressPolicy
from flyfs.origin.answers import Expected, OriginAnswer, OriginHead
from flyfs.origin.client import OriginClient
from flyfs.origin.entry_collector import OriginListing
from tests.support.hostile_origin import HostileOrigin, Resource

STALL_S = 0.1
MODIFIED = "Mon, 23 Nov 2026 15:40:49 GMT"
MODIFIED_S = 1795448449


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A validator and a size (None: not known)."""

    validator: Validator
    size: int | None


class Place:
    """An origin and a client that asks it."""

    def __init__(self, origin: HostileOrigin, client: OriginClient) -> None:
        self.origin = origin
        self.client = client

    async def stat(self, path: str, headers: dict[str, str] | None = None) -> OriginAnswer:
        return await self.client.stat(parse_url(self.origin.url(path)), headers or {})

    async def head(self, path: str) -> OriginHead:
        answer = await self.stat(path)
        assert isinstance(answer, OriginHead)
        return answer

    async def listing(self, path: str) -> OriginListing:
        return await self.client.list(parse_url(self.origin.url(path)), {})

    async def read(
        self,
        path: str,
        part: tuple[int, int] | None = None,
        *,
        expect: Expected | None = None,
        headers: dict[str, str] | None = None,
        buffer_bytes: int = 1 << 20,
    ) -> bytes:
        """The body, as far as it comes."""
        url = parse_url(self.origin.url(path))
        got = bytearray()
        buffer = memoryview(bytearray(buffer_bytes))
        async with self.client.read(url, ByteRange(*part) if part else None, headers or {}, expect) as body:
            while count := await body.receive_into(buffer):
                got += buffer[:count]
        return bytes(got)

    def put(self, path: str, content: bytes = b"", **does: Any) -> None:
        self.origin.put(path, Resource(content=content, **does))

    def asked(self, path: str) -> list[tuple[str, str | None]]:
        return self.origin.asked(path)

    @property
    def connections(self) -> int:
        return len({request.connection for request in self.origin.requests})


@asynccontextmanager
async def a_place(**settings: Any) -> AsyncGenerator[Place, None]:
    """A hostile origin and a client that may ask it."""
    async with HostileOrigin.serving() as origin, a_client(**settings) as client:
        yield Place(origin, client)


def a_client(**settings: Any) -> OriginClient:
    return OriginClient(**{"policy": AddressPolicy(own_host=True), "stall_timeout_s": STALL_S, **settings})
