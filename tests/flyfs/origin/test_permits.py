from functools import partial

import pytest
import trio
import trio.testing

from flyfs.core.address import Address
from flyfs.core.errors import Unavailable
from flyfs.core.urls import parse_url
from flyfs.origin import permits as module
from flyfs.origin.address_guard import AddressPolicy
from flyfs.origin.breaker import FAILURES
from flyfs.origin.client import OriginClient
from flyfs.origin.permits import OriginPermits
from flyfs.transport.greeting import bound_address, listen
from tests.support.hostile_origin import HostileOrigin, Resource


async def hold(permits: OriginPermits, origin: str, *, long: bool = False, holding: list[str]) -> None:
    async with permits.permit(origin, long=long):
        holding.append(origin)
        await trio.sleep_forever()


async def holders_of(permits: OriginPermits, *wishes: tuple[str, bool]) -> list[str]:
    """Who got a permit, of all who wish at once."""
    holding: list[str] = []
    async with trio.open_nursery() as nursery:
        for origin, long in wishes:
            nursery.start_soon(partial(hold, permits, origin, long=long, holding=holding))
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return holding


async def test_each_origin_has_its_own_permits() -> None:
    permits = OriginPermits(3)

    assert await holders_of(permits, *[("a", False)] * 5, *[("b", False)] * 5) == ["a"] * 3 + ["b"] * 3
    assert await holders_of(permits, *[("a", False)] * 5) == ["a"] * 3


async def test_long_bodies_leave_two_permits_to_others() -> None:
    permits = OriginPermits(8)

    assert len(await holders_of(permits, *[("a", True)] * 10)) == 6
    assert len(await holders_of(permits, *[("a", True)] * 10, *[("a", False)] * 10)) == 8
    assert len(await holders_of(OriginPermits(1), ("a", True), ("a", True))) == 1


async def test_an_origin_that_asks_for_it_is_left_alone_for_as_long(autojump_clock: trio.testing.MockClock) -> None:
    permits = OriginPermits()
    permits.leave_alone("a", 5)
    permits.leave_alone("a", 1)

    await trio.sleep(4)
    with pytest.raises(Unavailable, match="left alone for another 1 s") as told:
        async with permits.permit("a"):
            pass
    assert told.value.retry_after_s == pytest.approx(1)
    async with permits.permit("b"):
        pass
    await trio.sleep(1)
    async with permits.permit("a"):
        pass


async def test_who_waits_for_a_permit_is_sent_away_too(autojump_clock: trio.testing.MockClock) -> None:
    permits = OriginPermits(1)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(Unavailable):
                async with permits.permit("a"):
                    pass

        async with permits.permit("a"):
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            permits.leave_alone("a", 5)


async def test_origins_that_nobody_asks_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ORIGINS_REMEMBERED", 2)
    permits = OriginPermits()
    permits.leave_alone("blocked", 100)
    async with permits.permit("held"):
        for number in range(10):
            async with permits.permit(str(number)):
                pass
        assert len(permits._states) <= 4
        with pytest.raises(Unavailable):
            async with permits.permit("blocked"):
                pass
        assert permits._states["held"].holders == 1


async def test_an_origin_that_answers_nobody_is_left_alone_for_every_file_until_it_answers() -> None:
    nowhere = listen(Address("127.0.0.1", 0))
    address = bound_address(nowhere)
    nowhere.close()
    async with OriginClient(policy=AddressPolicy(own_host=True)) as client:
        for number in range(FAILURES):
            with pytest.raises(Unavailable):
                await client.stat(parse_url(f"http://{address}/{number}"), {})
        with pytest.raises(Unavailable, match="fails, and is left alone for a moment") as caught:
            await client.stat(parse_url(f"http://{address}/other"), {})
        assert caught.value.retry_after_s is not None
        assert [origin for origin, _ in client.isolated()] == [f"http://{address}"]

        async with HostileOrigin.serving() as origin:
            origin.put("/f", Resource(content=b"bytes"))
            await client.stat(parse_url(origin.url("/f")), {})
        assert [origin for origin, _ in client.isolated()] == [f"http://{address}"]
