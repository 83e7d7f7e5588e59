from math import inf

import hypothesis.strategies as st
import pytest
from hypothesis import given

from flyfs.swarm.origin_budget import AT_ONCE, BURST, KEPT_FOR_DEMAND, PER_S, OriginBudget


def spend(budget: OriginBudget, now: float, count: int) -> None:
    for _ in range(count):
        assert budget.ask(now, demand=True) == 0.0
        budget.ended()


def test_a_few_requests_at_a_time() -> None:
    budget = OriginBudget(0.0)
    assert [budget.ask(0.0, demand=True) for _ in range(AT_ONCE + 1)] == [0.0] * AT_ONCE + [inf]

    budget.ended()
    assert budget.ask(0.0, demand=True) == 0.0


def test_a_burst_and_then_a_few_a_second() -> None:
    budget = OriginBudget(5.0)
    spend(budget, 5.0, BURST)

    assert budget.ask(5.0, demand=True) == pytest.approx(1 / PER_S)
    assert budget.ask(5.0 + 0.5 / PER_S, demand=True) == pytest.approx(0.5 / PER_S)
    assert budget.ask(5.0 + 1 / PER_S, demand=True) == 0.0


def test_prefetches_leave_half_of_the_burst_to_readers() -> None:
    budget = OriginBudget(0.0)
    spend(budget, 0.0, BURST - KEPT_FOR_DEMAND)

    assert budget.ask(0.0, demand=False) == pytest.approx(1 / PER_S)
    assert budget.ask(0.0, demand=True) == 0.0


def test_what_was_not_used_is_not_saved_up() -> None:
    budget = OriginBudget(0.0)
    spend(budget, 1e6, BURST)

    assert budget.ask(1e6, demand=True) > 0.0


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), max_size=200))
def test_never_more_than_the_burst_and_the_rate_and_whoever_waits_as_told_is_let_through(steps: list[tuple[float, bool]]) -> None:
    budget, now = OriginBudget(0.0), 0.0
    for sent, (pause_s, demand) in enumerate(steps, 1):
        now += pause_s
        wait_s = budget.ask(now, demand=demand)
        if wait_s:
            now += wait_s
            assert budget.ask(now, demand=demand) == 0.0
        budget.ended()
        assert sent <= BURST + now * PER_S + 1e-6
