"""Origins read under the host's limit: every byte counts, on plain TCP and under TLS, and waiting for the budget is no stall."""

import time
from collections.abc import Generator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from flyfs.core.errors import Unavailable
from flyfs.core.grid import MIB, ByteRange
from flyfs.core.urls import parse_url
from flyfs.limit.bucket import Priority
from flyfs.limit.host_limit import HostLimit
from flyfs.limit.layout import Direction, load_bucket
from tests.flyfs.origin.origins import STALL_S, Place, a_client
from tests.flyfs.origin.test_connection import a_certificate
from tests.support.hostile_origin import HostileOrigin, pattern

RATE = 10_000_000
CONTENT = pattern(5 * MIB + 77, 3)


@pytest.fixture
def limit(tmp_path: Path) -> Generator[HostLimit, None, None]:
    with HostLimit.open([tmp_path / "run"], RATE) as limit:
        yield limit


def counted(limit: HostLimit, direction: Direction = Direction.RECEIVE) -> int:
    budget = limit.receive if direction is Direction.RECEIVE else limit.send
    return sum(load_bucket(limit.words, direction).granted) + sum(budget._owed)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("size", [100_000, 5 * MIB + 77], ids=["parsed", "raw"])
async def test_a_body_takes_its_time_and_all_of_it_counts(tmp_path: Path, limit: HostLimit, size: int, tls: bool) -> None:
    context, authority = a_certificate(tmp_path) if tls else (None, None)
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(HostileOrigin.serving(tls=context))
        client = await stack.enter_async_context(a_client(limit=limit, origin_ca=authority, stall_timeout_s=5))
        place = Place(origin, client)
        place.put("/f", CONTENT[:size])
        began = time.monotonic()
        assert await place.read("/f", (0, size)) == CONTENT[:size]
        took_s = time.monotonic() - began

    assert size < counted(limit) < size * 1.02 + 20_000, "the head, and what TLS adds, count too"
    assert 100 < counted(limit, Direction.SEND) < 20_000
    assert took_s >= (size - RATE // 50 - 64 * 1024) / RATE


async def test_the_urgency_is_asked_while_a_body_comes(limit: HostLimit) -> None:
    async with HostileOrigin.serving() as origin, a_client(limit=limit, stall_timeout_s=5) as client:
        Place(origin, client).put("/f", CONTENT)
        buffer = memoryview(bytearray(MIB))
        async with client.read(parse_url(origin.url("/f")), ByteRange(0, len(CONTENT)), {}, None) as body:
            await body.receive_into(buffer, lambda: Priority.BACKGROUND)
            limit.receive.charge(0)
            granted = load_bucket(limit.words, Direction.RECEIVE).granted
            assert granted[Priority.BACKGROUND] > 0.8 * MIB
            await body.receive_into(buffer, lambda: Priority.PREFETCH)
            granted = load_bucket(limit.words, Direction.RECEIVE).granted
            assert granted[Priority.PREFETCH] > 0.8 * MIB


@pytest.mark.parametrize("size", [300_000, 5 * MIB + 77], ids=["parsed", "raw"])
async def test_waiting_for_the_budget_is_no_stall_of_the_origin(tmp_path: Path, limit: HostLimit, size: int) -> None:
    async with HostileOrigin.serving() as origin, a_client(limit=limit) as client:
        place = Place(origin, client)
        place.put("/f", CONTENT[:size])
        for _ in range(10):
            await limit.receive.take(MIB, lambda: Priority.DEMAND)
        limit.receive.owe(int(3 * STALL_S * RATE), Priority.DEMAND)
        began = time.monotonic()
        assert await place.read("/f", (0, size)) == CONTENT[:size]
        assert time.monotonic() - began > 3 * STALL_S


@pytest.mark.parametrize("size", [300_000, 5 * MIB], ids=["parsed", "raw"])
async def test_an_origin_that_stalls_is_noticed_under_a_limit_too(limit: HostLimit, size: int) -> None:
    async with HostileOrigin.serving() as origin, a_client(limit=limit) as client:
        place = Place(origin, client)
        place.put("/f", CONTENT[:size], hangs="body", stops_after=200_000)
        with pytest.raises(Unavailable, match="too slow"), trio.fail_after(10):
            await place.read("/f", (0, size))
