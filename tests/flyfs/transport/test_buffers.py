from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flyfs.core.grid import MIB
from flyfs.limit.host_limit import HostLimit
from flyfs.transport.buffers import BufferPool


async def test_a_loan_is_writable_memory_of_exactly_the_size() -> None:
    pool = BufferPool(100)
    with await pool.lend(60) as view:
        view[:] = b"x" * 60
        assert (len(view), pool.lent_bytes) == (60, 60)
    assert pool.lent_bytes == 0


def test_prefetch_is_refused_where_the_budget_is_spent() -> None:
    pool = BufferPool(100)
    loan = pool.lend_nowait(60)
    assert loan is not None
    assert pool.lend_nowait(41) is None
    other = pool.lend_nowait(40)
    assert other is not None
    assert pool.lent_bytes == 100
    loan.give_back()
    other.give_back()
    assert pool.lent_bytes == 0


async def test_prefetch_leaves_the_last_quarter_to_demands() -> None:
    pool = BufferPool(100)
    prefetched = pool.lend_spare(70)
    assert prefetched is not None
    assert pool.lend_spare(6) is None
    more = pool.lend_spare(5)
    assert more is not None
    with await pool.lend(25):
        assert pool.lent_bytes == 100
    prefetched.give_back()
    more.give_back()
    assert pool.lent_bytes == 0


def test_what_no_reader_wants_gets_half_of_what_prefetches_may_have() -> None:
    pool = BufferPool(160)
    background = pool.lend_spare(30, background=True)
    more = pool.lend_spare(30, background=True)
    assert background is not None
    assert more is not None
    assert pool.lend_spare(1, background=True) is None
    assert pool.lend_spare(60) is not None, "which leaves the other half to them"
    assert pool.lend_spare(1) is None


def test_two_pieces_of_the_background_may_always_be_on_their_way() -> None:
    """One is written while the other comes."""
    pool = BufferPool(160)
    assert pool.lend_spare(50, background=True) is not None
    assert pool.lend_spare(50, background=True) is not None
    assert pool.lend_spare(50, background=True) is None


def test_under_a_limit_no_more_is_asked_for_ahead_than_comes_in_a_second(tmp_path: Path) -> None:
    with HostLimit.open([tmp_path / "run"], 8_000) as limit:
        pool = BufferPool(64_000, receiving=limit.receive)
        assert pool.lend_spare(2_000, background=True) is not None
        assert pool.lend_spare(2_000, background=True) is not None
        assert pool.lend_spare(2_000, background=True) is None
        assert pool.lend_spare(4_000) is not None
        assert pool.lend_spare(1) is None
        assert pool.lend_nowait(50_000) is not None, "a demand has all of it"


def test_under_a_low_limit_two_pieces_may_be_asked_for_all_the_same(tmp_path: Path) -> None:
    with HostLimit.open([tmp_path / "run"], 8_000) as limit:
        pool = BufferPool(64_000, receiving=limit.receive)
        assert pool.lend_spare(9_000) is not None
        assert pool.lend_spare(9_000) is not None
        assert pool.lend_spare(9_000) is None


def test_the_memory_is_reused() -> None:
    pool = BufferPool(100)
    with pool.lend_nowait(10) or pytest.fail("refused") as view:
        view[0] = 7
    with pool.lend_nowait(10) or pytest.fail("refused") as view:
        assert view[0] == 7, "the same memory, untouched"
    with pool.lend_nowait(11) or pytest.fail("refused") as view:
        assert view[0] == 0


def test_a_loan_ends_once_and_its_view_with_it() -> None:
    pool = BufferPool(100)
    loan = pool.lend_nowait(10)
    assert loan is not None
    view = loan.view
    loan.give_back()
    loan.give_back()
    assert pool.lent_bytes == 0
    with pytest.raises(ValueError, match="released"):
        view[0] = 1


def test_one_buffer_always_fits() -> None:
    pool = BufferPool(100)
    loan = pool.lend_nowait(1000)
    assert loan is not None
    assert pool.lend_nowait(1) is None
    loan.give_back()
    assert pool.lend_nowait(1) is not None


async def test_who_waits_is_served_first_come_first_served() -> None:
    pool = BufferPool(100)
    order: list[str] = []
    gate = trio.Event()

    async def take(name: str, size: int) -> None:
        with await pool.lend(size):
            order.append(name)
            await gate.wait()

    first = pool.lend_nowait(100)
    assert first is not None
    async with trio.open_nursery() as nursery:
        for name, size in (("large", 90), ("small", 10), ("also small", 1)):
            nursery.start_soon(take, name, size)
            await wait_all_tasks_blocked()
        assert order == []
        first.give_back()
        await wait_all_tasks_blocked()
        assert sorted(order) == ["large", "small"], "nobody overtakes, and what fits goes together"
        assert pool.lent_bytes == 100
        gate.set()
    assert order[2:] == ["also small"]
    assert pool.lent_bytes == 0


async def test_prefetch_is_refused_while_somebody_waits_though_it_would_fit() -> None:
    pool = BufferPool(100)
    first = pool.lend_nowait(60)
    assert first is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.lend, 50)
        await wait_all_tasks_blocked()
        assert pool.lend_nowait(10) is None
        first.give_back()
    assert pool.lent_bytes == 50
    assert pool.lend_nowait(10) is not None


async def test_giving_up_a_place_in_the_queue_lets_the_next_one_in() -> None:
    pool = BufferPool(100)
    first = pool.lend_nowait(60)
    assert first is not None
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as impatient:
            nursery.start_soon(_cancel_when_blocked, impatient)
            await pool.lend(90)
        assert impatient.cancelled_caught
        with trio.fail_after(1):
            (await pool.lend(40)).give_back()
    assert pool.lent_bytes == 60


async def _cancel_when_blocked(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def test_giving_up_wakes_a_smaller_one_behind() -> None:
    pool = BufferPool(100)
    first = pool.lend_nowait(60)
    assert first is not None
    scope = trio.CancelScope()

    async def impatient() -> None:
        with scope:
            await pool.lend(90)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await wait_all_tasks_blocked()
        nursery.start_soon(pool.lend, 40)
        await wait_all_tasks_blocked()
        assert pool.lent_bytes == 60
        scope.cancel()
    assert pool.lent_bytes == 100


async def test_who_gives_up_when_the_turn_was_given_already_keeps_nothing() -> None:
    pool = BufferPool(100)
    first = pool.lend_nowait(100)
    assert first is not None
    scope = trio.CancelScope()
    got: list[int] = []

    async def impatient() -> None:
        with scope:
            await pool.lend(90)
            got.append(90)

    async def patient() -> None:
        await pool.lend(80)
        got.append(80)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await wait_all_tasks_blocked()
        nursery.start_soon(patient)
        await wait_all_tasks_blocked()
        scope.cancel()  # before the turn is given: trio delivers the cancellation, not the event
        first.give_back()
    assert got in ([80], [90, 80])
    assert pool.lent_bytes == 80 + 90 * (90 in got)


async def test_idle_memory_is_bounded_and_the_common_size_stays() -> None:
    pool = BufferPool(8 * MIB)
    loans = [pool.lend_nowait(MIB) for _ in range(8)]
    for loan in loans:
        assert loan is not None
        loan.give_back()
    assert pool._idle_bytes == 4 * MIB
    assert len(pool._idle[MIB]) == 4, "one too many costs one, not all"
    for _ in range(3):
        with await pool.lend(3 * MIB):
            pass
    assert pool._idle_bytes <= 4 * MIB
    assert sum(size * len(idle) for size, idle in pool._idle.items()) == pool._idle_bytes


def test_an_oversize_buffer_drives_the_others_out() -> None:
    pool = BufferPool(100)
    for size in (10, 20, 1000):
        loan = pool.lend_nowait(size)
        assert loan is not None
        loan.give_back()
    assert set(pool._idle) == {1000}
    loan = pool.lend_nowait(5)
    assert loan is not None
    loan.give_back()
    assert set(pool._idle) == {5}
