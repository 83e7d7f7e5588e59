import hypothesis.strategies as st
import pytest
from hypothesis import given

from flyfs.swarm.pulse import ANSWER_S, IDLE_S, PING_EVERY_S, QUIET_S, GiveUp, Pulse, SendPing


def test_a_question_that_is_answered_soon_costs_no_ping() -> None:
    pulse = Pulse(0.0)
    assert pulse.asked(5.0)
    pulse.heard(5.3)
    pulse.answered()

    assert pulse.next_commands(5.0 + QUIET_S) == []
    assert pulse.next_deadline() == 5.3 + IDLE_S


def test_silence_while_an_answer_is_due_ends_the_session_within_two_seconds() -> None:
    pulse = Pulse(0.0)
    pulse.asked(5.0)

    assert pulse.next_deadline() == 5.0 + QUIET_S
    assert pulse.next_commands(5.49) == []
    assert pulse.next_commands(5.5) == [SendPing()]
    assert pulse.next_commands(6.49) == []
    assert pulse.next_commands(6.5) == [GiveUp(6.5)]


def test_a_long_wait_costs_a_ping_a_second_and_silence_in_it_is_found_out_in_two() -> None:
    pulse = Pulse(0.0)
    pulse.asked(0.0)
    assert pulse.next_commands(0.5) == [SendPing()]
    pulse.heard(0.6)

    assert pulse.next_deadline() == 0.6 + PING_EVERY_S
    assert pulse.next_commands(1.6) == [SendPing()]
    assert pulse.next_commands(1.6 + ANSWER_S) == [GiveUp(2.0)]


def test_the_next_wait_begins_with_the_short_pause_again() -> None:
    pulse = Pulse(0.0)
    pulse.asked(0.0)
    pulse.next_commands(0.5)
    pulse.heard(0.6)
    pulse.answered()
    assert pulse.asked(3.0)

    assert pulse.next_deadline() == 3.0 + QUIET_S


def test_more_questions_change_no_deadline() -> None:
    pulse = Pulse(0.0)
    assert pulse.asked(1.0)
    assert not pulse.asked(1.4)
    pulse.answered()

    assert pulse.next_deadline() == 1.0 + QUIET_S


def test_what_comes_was_not_sent_in_answer_to_a_later_ping() -> None:
    pulse = Pulse(0.0)
    pulse.asked(0.0)
    pulse.next_commands(0.5)
    pulse.heard(0.4)

    assert pulse.next_commands(1.5) == [GiveUp(1.1)]


def test_with_nothing_due_it_is_asked_now_and_then() -> None:
    pulse = Pulse(0.0, idle_s=7.0)

    assert pulse.next_deadline() == 7.0
    assert pulse.next_commands(7.0) == [SendPing()]
    pulse.heard(7.1)
    assert pulse.next_deadline() == 14.1
    assert pulse.next_commands(14.1) == [SendPing()]
    assert pulse.next_commands(15.1) == [GiveUp(pytest.approx(8.0))]


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from(["ask", "answer", "hear", "nothing"])), max_size=60))
def test_whoever_is_heard_of_in_time_is_never_given_up_and_whoever_is_not_always_is(steps: list[tuple[float, str]]) -> None:
    pulse, now, waiting, heard = Pulse(0.0), 0.0, 0, 0.0
    pinged: float | None = None
    for pause_s, what in steps:
        now += pause_s
        for command in pulse.next_commands(now):
            if isinstance(command, GiveUp):
                assert pinged is not None
                assert now - pinged >= ANSWER_S
                assert now - heard >= QUIET_S + ANSWER_S
                return
            pinged = now
        if what == "ask":
            pulse.asked(now)
            waiting += 1
        elif what == "answer" and waiting:
            pulse.answered()
            waiting -= 1
        elif what == "hear":
            pulse.heard(now)
            heard, pinged = now, None
    assert pulse.next_deadline() <= max(now, heard) + max(IDLE_S, ANSWER_S)
