from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from flyfs.core.errors import FlyfsError, NotFound, Unavailable
from supernode.cdn.answers_cache import FAILURE_LASTS_S, JOIN_S, AnswersCache


class Oracle:
    """Something to ask: takes ``takes_s``, then answers with how often it was asked, or raises."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.takes_s = takes_s
        self.asked = 0
        self.raises: FlyfsError | None = None

    async def __call__(self) -> int:
        self.asked += 1
        answer = self.asked
        await trio.sleep(self.takes_s)
        if self.raises is not None:
            raise self.raises
        return answer


@asynccontextmanager
async def a_cache(most: int = 10) -> AsyncGenerator[AnswersCache[str, int], None]:
    async with trio.open_nursery() as nursery:
        yield AnswersCache(nursery, most)
        nursery.cancel_scope.cancel()


async def at_once(count: int, ask: Callable[[], Awaitable[object]]) -> list[object]:
    """What ``count`` tasks get that ask at the same time; an error as its text."""
    got: list[object] = []

    async def one() -> None:
        try:
            got.append(await ask())
        except FlyfsError as error:
            got.append(error.message)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return got


async def test_ten_thousand_that_want_to_know_are_one_question(autojump_clock: trio.testing.MockClock) -> None:
    oracle = Oracle(takes_s=0.05)
    async with a_cache() as cache:
        got = await at_once(10_000, lambda: cache.ask("a", 10, oracle))

    assert set(got) == {(1, 0.05)}
    assert oracle.asked == 1


async def test_a_fresh_answer_is_told_with_its_age_and_an_old_one_asked_anew(autojump_clock: trio.testing.MockClock) -> None:
    oracle = Oracle(takes_s=0.5)
    async with a_cache() as cache:
        assert await cache.ask("a", 10, oracle) == (1, 0.5)
        await trio.sleep(9)
        assert await cache.ask("a", 10, oracle) == (1, 9.5), "as old as its question"
        await trio.sleep(1)
        assert await cache.ask("a", 10, oracle) == (2, 0.5)
        assert await cache.ask("a", 0.2, oracle) == (3, 0.5), "others may want to know better"
        assert await cache.ask("b", 10, oracle) == (4, 0.5)


async def test_strict_questions_within_a_tenth_of_a_second_share_one(autojump_clock: trio.testing.MockClock) -> None:
    oracle = Oracle()
    async with a_cache() as cache:
        assert (await cache.ask("a", 0, oracle))[0] == 1
        await trio.sleep(JOIN_S - 0.01)
        assert (await cache.ask("a", 0, oracle))[0] == 1
        await trio.sleep(0.02)
        assert (await cache.ask("a", 0, oracle))[0] == 2


async def test_a_strict_question_takes_no_answer_to_one_that_was_asked_long_before_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    oracle = Oracle(takes_s=1)
    async with a_cache() as cache, trio.open_nursery() as nursery:
        nursery.start_soon(cache.ask, "a", 0.0, oracle)
        await trio.sleep(0.09)
        nursery.start_soon(cache.ask, "a", 0.0, oracle)
        await trio.sleep(0.41)
        began = trio.current_time()

        assert (await cache.ask("a", 0, oracle))[0] == 2
        assert trio.current_time() - began == pytest.approx(1.5)
        assert oracle.asked == 2


async def test_what_cannot_be_known_is_told_for_a_second_without_asking_again(autojump_clock: trio.testing.MockClock) -> None:
    oracle = Oracle(takes_s=5)
    oracle.raises = Unavailable("down")
    async with a_cache() as cache:
        assert await at_once(3, lambda: cache.ask("a", 100, oracle)) == ["down"] * 3
        await trio.sleep(FAILURE_LASTS_S - 0.01)
        with pytest.raises(Unavailable, match="down"):
            await cache.ask("a", 0, oracle)
        assert oracle.asked == 1

        await trio.sleep(0.02)
        oracle.raises = None
        assert (await cache.ask("a", 100, oracle))[0] == 2


async def test_who_asks_while_a_question_is_failing_hears_of_the_failure_and_asks_no_second_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    oracle = Oracle(takes_s=5)
    oracle.raises = Unavailable("down")
    async with a_cache() as cache, trio.open_nursery() as nursery:
        nursery.start_soon(at_once, 1, lambda: cache.ask("a", 0, oracle))
        await trio.sleep(4)

        with pytest.raises(Unavailable, match="down"):
            await cache.ask("a", 0, oracle)
        assert oracle.asked == 1


async def test_certainly_not_is_an_answer_as_any_other(autojump_clock: trio.testing.MockClock) -> None:
    oracle = Oracle()
    oracle.raises = NotFound("404")
    async with a_cache() as cache:
        for _ in range(2):
            with pytest.raises(NotFound):
                await cache.ask("a", 60, oracle)
            await trio.sleep(50)
        assert oracle.asked == 1

        oracle.raises = None
        assert (await cache.ask("a", 60, oracle))[0] == 2
        assert cache.peek("a") == 2


async def test_an_error_that_is_told_often_does_not_grow(autojump_clock: trio.testing.MockClock) -> None:
    oracle = Oracle()
    oracle.raises = NotFound("404")
    depths = set()
    async with a_cache() as cache:
        for _ in range(50):
            with pytest.raises(NotFound) as raised:
                await cache.ask("a", 60, oracle)
            depths.add(len(list(raised.traceback)))

    assert len(depths) == 1


async def test_an_asker_that_leaves_takes_nothing_away_from_the_others(autojump_clock: trio.testing.MockClock) -> None:
    oracle = Oracle(takes_s=1)
    async with a_cache() as cache:
        with trio.move_on_after(0.5):
            await cache.ask("a", 10, oracle)
        with trio.move_on_after(0.1):
            await cache.ask("a", 10, oracle)
        assert (await cache.ask("a", 10, oracle))[0] == 1
        assert oracle.asked == 1


async def test_an_asker_that_leaves_alone_still_leaves_an_answer(autojump_clock: trio.testing.MockClock) -> None:
    oracle = Oracle(takes_s=1)
    async with a_cache() as cache:
        with trio.move_on_after(0.5):
            await cache.ask("a", 10, oracle)
        await trio.sleep(1)

        assert cache.peek("a") == 1


async def test_what_is_forgotten_is_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    oracle = Oracle()
    async with a_cache() as cache:
        await cache.ask("a", 10, oracle)
        cache.forget("a")
        cache.forget("never known")
        assert cache.peek("a") is None

        assert (await cache.ask("a", 10, oracle))[0] == 2


async def test_an_error_is_no_good_answer_to_peek_at(autojump_clock: trio.testing.MockClock) -> None:
    oracle = Oracle()
    oracle.raises = Unavailable("down")
    async with a_cache() as cache:
        with pytest.raises(Unavailable):
            await cache.ask("a", 10, oracle)

        assert cache.peek("a") is None


async def test_no_more_than_so_many_answers_are_kept_and_the_oldest_goes(autojump_clock: trio.testing.MockClock) -> None:
    async with a_cache(most=3) as cache:
        for key in "abcd":
            await cache.ask(key, 10, Oracle())
        assert [cache.peek(key) for key in "abcd"] == [None, 1, 1, 1]


async def test_when_the_supernode_ends_everybody_who_waits_is_told(autojump_clock: trio.testing.MockClock) -> None:
    got: list[object] = []

    async def ask(cache: AnswersCache[str, int]) -> None:
        got.extend(await at_once(1, lambda: cache.ask("a", 10, Oracle(takes_s=100))))

    async with trio.open_nursery() as askers, trio.open_nursery() as owner:
        askers.start_soon(ask, AnswersCache[str, int](owner, 10))
        await trio.sleep(1)
        owner.cancel_scope.cancel()

    assert got == ["the supernode is going away"]


async def test_a_bug_in_a_question_costs_who_asks_and_nobody_else() -> None:
    async with trio.open_nursery() as nursery:
        cache: AnswersCache[str, int] = AnswersCache(nursery, 10)

        async def crash() -> int:
            raise ZeroDivisionError

        async def answer() -> int:
            return 7

        with pytest.raises(Unavailable, match="internal error"):
            await cache.ask("broken", 1.0, crash)
        assert (await cache.ask("whole", 1.0, answer))[0] == 7
