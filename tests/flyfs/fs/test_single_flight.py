import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flyfs.core.errors import NotFound
from flyfs.fs.single_flight import SingleFlight


async def test_many_askers_cause_one_flight(autojump_clock: trio.testing.MockClock) -> None:
    flights = SingleFlight[str, int]()
    worked, outcomes = [], []

    async def work() -> int:
        worked.append(1)
        await trio.sleep(1)
        return 7

    async def ask() -> None:
        outcomes.append(await flights.fly("a", work))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)

    assert (len(worked), outcomes) == (1, [7] * 10)


async def test_an_error_is_everybodys(autojump_clock: trio.testing.MockClock) -> None:
    flights = SingleFlight[str, int]()
    outcomes = []

    async def work() -> int:
        await trio.sleep(1)
        raise NotFound("planted")

    async def ask() -> None:
        with pytest.raises(NotFound):
            await flights.fly("a", work)
        outcomes.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)

    assert len(outcomes) == 2


async def test_where_the_worker_is_cancelled_another_takes_over(autojump_clock: trio.testing.MockClock) -> None:
    flights = SingleFlight[str, int]()
    worked, outcomes = [], []

    async def work() -> int:
        worked.append(1)
        await trio.sleep(1)
        return len(worked)

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            outcomes.append(await flights.fly("a", work))

    first = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, first)
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, trio.CancelScope())
        await wait_all_tasks_blocked()
        first.cancel()

    assert outcomes == [2]
