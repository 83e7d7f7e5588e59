import trio

from flyfs.limit.bucket import Priority
from flyfs.limit.turns import Turns

DEMAND, PREFETCH, BACKGROUND = Priority


def test_the_first_one_goes_at_once_and_the_others_by_urgency_then_by_age() -> None:
    turns = Turns()
    kinds = [BACKGROUND, BACKGROUND, PREFETCH, BACKGROUND, DEMAND, PREFETCH]
    places = [turns.enter(lambda kind=kind: kind) for kind in kinds]  # type: ignore[misc]
    order = []
    for _ in places:
        (running,) = [number for number, place in enumerate(places) if place.has_turn and number not in order]
        order.append(running)
        places[running].leave()

    assert order == [0, 4, 2, 5, 1, 3]
    assert turns.urgency() is None


def test_who_became_urgent_while_waiting_goes_first() -> None:
    turns = Turns()
    now = {"late": BACKGROUND}
    with turns.enter(lambda: BACKGROUND):
        early, late = turns.enter(lambda: PREFETCH), turns.enter(lambda: now["late"])
        assert turns.urgency() is PREFETCH
        now["late"] = DEMAND
        assert turns.urgency() is DEMAND

    assert late.has_turn
    assert not early.has_turn


def test_who_gives_up_takes_no_turn_and_the_second_leaving_takes_nobody_elses() -> None:
    turns = Turns()
    first, second, third = (turns.enter(lambda: DEMAND) for _ in range(3))
    second.leave()
    first.leave()
    first.leave()
    second.leave()

    assert third.has_turn
    assert not second.has_turn
    third.leave()
    assert turns.enter(lambda: BACKGROUND).has_turn


async def test_a_cancelled_waiter_leaves(autojump_clock: trio.testing.MockClock) -> None:
    turns = Turns()
    with turns.enter(lambda: DEMAND):
        with trio.move_on_after(1), turns.enter(lambda: DEMAND) as place:
            await place.turn()
        assert turns.urgency() is None
    with turns.enter(lambda: DEMAND) as place, trio.fail_after(1):
        await place.turn()
