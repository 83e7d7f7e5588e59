import pytest

from flyfs.origin.breaker import FAILURES, OPEN_S, TRIAL_S, WITHIN_S, OriginBreaker


def broken(now: float = 0.0) -> OriginBreaker:
    breaker = OriginBreaker("http://o.test")
    isolated = [breaker.failed("refused", now) for _ in range(FAILURES)]
    assert isolated == [False] * (FAILURES - 1) + [True]
    return breaker


def test_an_origin_that_answers_nobody_is_left_alone_for_all() -> None:
    breaker = broken(10.0)

    assert breaker.isolated(10.0)
    assert (breaker.reason, breaker.since) == ("refused", 10.0)
    assert 0.75 * OPEN_S[0] <= breaker.wait_s(10.0) <= 1.25 * OPEN_S[0]
    assert breaker.failed("refused", 10.0) is False


@pytest.mark.parametrize(("files", "isolated"), [(("a", "a", "a", "a"), False), (("a", "a", "a", "b"), True)])
def test_a_file_that_cannot_be_served_says_nothing_of_the_others_and_several_do(files: tuple[str, ...], isolated: bool) -> None:
    breaker = OriginBreaker("http://o.test")

    assert [breaker.failed("500", 0.0, file) for file in files][-1] is isolated
    assert breaker.wait_s(0.0) == pytest.approx(breaker.until)


def test_failures_of_long_ago_and_before_an_answer_do_not_count() -> None:
    breaker = OriginBreaker("http://o.test")
    for now in range(FAILURES - 1):
        breaker.failed("refused", float(now))
    assert not breaker.failed("refused", WITHIN_S)
    breaker.answered()
    assert not breaker.failed("refused", WITHIN_S)
    assert breaker.wait_s(WITHIN_S) == 0.0


def test_after_its_time_one_request_finds_out() -> None:
    breaker = broken()
    until = breaker.until

    assert [breaker.wait_s(now) for now in (until, until + 1, until + TRIAL_S)] == [0.0, OPEN_S[0], 0.0]
    breaker.answered()
    assert [breaker.wait_s(until + TRIAL_S) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert not breaker.broken


def test_each_trial_that_fails_doubles_the_pause_to_its_bound() -> None:
    breaker, lasted = broken(), []
    for _ in range(6):
        lasted.append(breaker.until - breaker.since)
        assert breaker.wait_s(breaker.until) == 0.0
        assert breaker.failed("refused", breaker.until)

    assert lasted == sorted(lasted)
    assert lasted[-1] == pytest.approx(OPEN_S[1])
