"""Waiting for slices, in virtual time, over the real file."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from flyfs.core.grid import MIB
from flyfs.limit.bucket import Priority, slice_bytes
from flyfs.limit.budget import Budget, Permit
from flyfs.limit.host_limit import UNLIMITED, HostLimit
from flyfs.limit.limit_file import LimitFile

DEMAND, PREFETCH, BACKGROUND = Priority
RATE = 20_000_000
SLICE = slice_bytes(RATE)
BURST_S = 0.02


def virtual_ns() -> int:
    return int(trio.current_time() * 1e9)


@contextmanager
def processes(path: Path, count: int) -> Generator[list[HostLimit], None, None]:
    """What ``count`` processes have of one file."""
    with ExitStack() as stack:
        yield [stack.enter_context(HostLimit(LimitFile.open(path), clock_ns=virtual_ns)) for _ in range(count)]


@pytest.fixture
def host(tmp_path: Path) -> Generator[HostLimit, None, None]:
    with processes(tmp_path / "limit", 1) as (one,):
        set_rate(one, RATE)
        yield one


def set_rate(host: HostLimit, rate: int) -> None:
    assert host._file is not None
    host._file.set_rates(receive=rate, send=rate)


async def move(budget: Budget, priority: Priority, count: int) -> float:
    """Moves ``count`` bytes; the seconds it took."""
    began = trio.current_time()
    while count:
        permit = await budget.take(count, lambda: priority)
        assert 0 < permit.count <= count
        count -= permit.count
    return trio.current_time() - began


async def test_without_a_limit_everything_may_move_at_once() -> None:
    assert not UNLIMITED.receive.limited
    assert UNLIMITED.receive.rate == 0
    assert await UNLIMITED.receive.take(10 * MIB, lambda: BACKGROUND) == Permit(10 * MIB, None)
    UNLIMITED.receive.give_back(Permit(5, None), 5)
    UNLIMITED.receive.charge(10 * MIB)


async def test_a_limit_grants_slices_at_its_pace(host: HostLimit, autojump_clock: MockClock) -> None:
    assert host.receive.limited
    assert (await host.receive.take(10 * MIB, lambda: PREFETCH)).count == SLICE
    assert (await host.receive.take(100, lambda: PREFETCH)).count == 100
    took_s = await move(host.receive, PREFETCH, RATE)
    assert took_s == pytest.approx(1 - BURST_S, abs=0.02)
    assert await move(host.send, PREFETCH, RATE) == pytest.approx(1 - BURST_S, abs=0.02), "the other direction is its own"


async def test_processes_share_evenly_however_many_flows_each_has(tmp_path: Path, autojump_clock: MockClock) -> None:
    moved = [0, 0]

    async def flow(budget: Budget, process: int) -> None:
        while True:
            permit = await budget.take(MIB, lambda: PREFETCH)
            moved[process] += permit.count

    with processes(tmp_path / "limit", 2) as hosts:
        set_rate(hosts[0], RATE)
        with trio.move_on_after(4):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flow, hosts[0].receive, 0)
                for _ in range(7):
                    nursery.start_soon(flow, hosts[1].receive, 1)

    assert sum(moved) == pytest.approx(4 * RATE, rel=0.02)
    assert moved[0] == pytest.approx(moved[1], rel=0.02)


async def test_a_demand_of_another_process_goes_first_and_nothing_is_lost(tmp_path: Path, autojump_clock: MockClock) -> None:
    with processes(tmp_path / "limit", 2) as (bulk, reader):
        set_rate(bulk, RATE)
        took: list[float] = []

        async def background() -> None:
            took.append(await move(bulk.receive, BACKGROUND, 2 * RATE))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(background)
            await trio.sleep(0.5)
            assert await move(reader.receive, DEMAND, MIB) <= MIB / RATE + 0.001

        assert took[0] == pytest.approx(2 + MIB / RATE, abs=0.05)


async def test_what_becomes_a_demand_while_it_waits_is_treated_as_one(host: HostLimit, autojump_clock: MockClock) -> None:
    kind = {"late": BACKGROUND, "queued": BACKGROUND}
    done: dict[str, float] = {}

    async def becoming(name: str) -> None:
        await host.receive.take(SLICE, lambda: kind[name])
        done[name] = trio.current_time()

    async def hog() -> None:
        await move(host.receive, DEMAND, 2 * RATE)

    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(hog)
        await trio.sleep(0.1)
        nursery.start_soon(becoming, "late")
        await trio.sleep(0.1)
        nursery.start_soon(becoming, "queued")
        await trio.sleep(0.3)
        assert not done, "demands leave nothing to the background"
        kind.update(late=DEMAND, queued=DEMAND)
        await trio.sleep(0.15)
        assert set(done) == {"late", "queued"}
        assert max(done.values()) - began < 0.65


async def test_a_lifted_limit_lets_everybody_go_and_a_new_one_counts_at_once(host: HostLimit, autojump_clock: MockClock) -> None:
    set_rate(host, 10_000)
    await move(host.receive, DEMAND, 40_000)
    waited: list[float] = []

    async def wait() -> None:
        waited.append(await move(host.receive, BACKGROUND, 100 * MIB))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.sleep(1)
        set_rate(host, 0)
    assert all(1 <= one <= 1.11 for one in waited)

    set_rate(host, RATE)
    assert await move(host.receive, PREFETCH, RATE) == pytest.approx(1, abs=0.05)


async def test_what_was_given_back_or_cancelled_is_not_lost(host: HostLimit, autojump_clock: MockClock) -> None:
    for _ in range(50):
        permit = await host.receive.take(MIB, lambda: DEMAND)
        host.receive.give_back(permit, permit.count)
    with trio.move_on_after(0.2):
        await move(host.receive, BACKGROUND, 10 * RATE)
    assert await move(host.receive, PREFETCH, RATE) == pytest.approx(1 - BURST_S, abs=0.03)


async def test_what_moved_unasked_is_counted(host: HostLimit, autojump_clock: MockClock) -> None:
    await move(host.receive, PREFETCH, SLICE)
    for _ in range(100):
        host.receive.charge(RATE // 100)
    assert await move(host.receive, PREFETCH, SLICE) == pytest.approx(1, abs=0.04)
    host.receive.charge(3)
    assert host.receive._owed == [3, 0, 0], "little is entered with the next grant"
    await move(host.receive, DEMAND, 1)
    assert host.receive._owed == [0, 0, 0]


async def test_whoever_keeps_the_lock_does_not_keep_others_from_going_on(tmp_path: Path, autojump_clock: MockClock) -> None:
    with processes(tmp_path / "limit", 2) as (stopped, one):
        set_rate(one, RATE)
        assert stopped.lock_nowait()
        permit = await one.receive.take(MIB, lambda: DEMAND)
        one.receive.give_back(permit, permit.count)
        one.receive.charge(SLICE + 1)
        assert one.receive._owed == [1, 0, 0], "what could not be entered is kept"
        took_s = await move(one.receive, DEMAND, 10 * SLICE)
        assert took_s < 2
        stopped.unlock()
        assert await move(one.receive, DEMAND, RATE) == pytest.approx(1, abs=0.05)


async def test_a_lock_that_comes_free_is_taken(tmp_path: Path, autojump_clock: MockClock) -> None:
    with processes(tmp_path / "limit", 2) as (owner, one):
        set_rate(one, RATE)
        assert owner.lock_nowait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(one.receive.take, MIB, lambda: DEMAND))
            await trio.sleep(0.01)
            owner.unlock()
        assert trio.current_time() < 0.02


async def test_a_limit_that_is_gone_by_the_time_the_lock_is_had_is_none(tmp_path: Path, autojump_clock: MockClock) -> None:
    with processes(tmp_path / "limit", 2) as (owner, one):
        set_rate(one, RATE)
        assert owner.lock_nowait()
        permits: list[Permit] = []

        async def take() -> None:
            permits.append(await one.receive.take(MIB, lambda: DEMAND))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.sleep(0.01)
            one.receive.charge(5 * SLICE)
            for word in (8, 16):
                one.words[word] = 0
            owner.unlock()
        assert permits == [Permit(MIB, None)]
        one.receive.give_back(Permit(4, DEMAND), 4)
        assert one.receive._owed[DEMAND] != 0, "kept until there is a limit again"
