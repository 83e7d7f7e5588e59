from flyfs.core.errors import Unavailable
from flyfs.fs.circuit import HOLD_S, REMEMBERED_S, SHORT_S, Circuit, RecentFailures


def test_after_a_time_out_patience_is_short_for_a_while() -> None:
    circuit = Circuit[str](deadline_s=30.0)

    assert circuit.patience_s("a", 0, 100.0) == 30.0
    circuit.timed_out("a", 0, 130.0)

    assert circuit.patience_s("a", 0, 131.0) == SHORT_S
    assert circuit.patience_s("b", 0, 131.0) == 30.0
    assert circuit.patience_s("a", 0, 130.0 + HOLD_S) == 30.0


def test_anything_that_moves_brings_patience_back() -> None:
    circuit = Circuit[str](deadline_s=30.0)
    circuit.timed_out("a", 3, 130.0)
    circuit.timed_out("b", 0, 130.0)
    circuit.answered("b")
    circuit.answered("never heard of")

    assert circuit.patience_s("a", 3, 131.0) == SHORT_S
    assert circuit.patience_s("a", 4, 131.0) == 30.0
    assert circuit.patience_s("b", 0, 131.0) == 30.0


def test_patience_is_never_longer_than_the_deadline() -> None:
    circuit = Circuit[str](deadline_s=0.2)
    circuit.timed_out("a", 0, 0.0)

    assert circuit.patience_s("a", 0, 0.1) == 0.2


def test_many_time_outs_are_forgotten_rather_than_kept() -> None:
    circuit = Circuit[int](deadline_s=30.0)
    for number in range(3000):
        circuit.timed_out(number, 0, 0.0)
    circuit.timed_out(-1, 0, 0.0)

    assert circuit.patience_s(-1, 0, 1.0) == SHORT_S
    for number in range(3000):
        circuit.timed_out(number, 0, number * 1.0)  # the old ones are over: only those leave
    assert circuit.patience_s(2999, 0, 3000.0) == SHORT_S


def test_a_failure_is_told_again_for_a_second() -> None:
    failures = RecentFailures[str]()
    error = Unavailable("planted")

    assert failures.recall("a", 10.0) is None
    failures.failed("a", error, 10.0)

    assert failures.recall("a", 10.5) is error
    assert failures.recall("a", 10.0 + REMEMBERED_S) is None
    assert failures.recall("a", 10.5) is None


def test_failures_are_bounded() -> None:
    failures = RecentFailures[int]()
    for number in range(5000):
        failures.failed(number, Unavailable(str(number)), 0.0)

    assert failures.recall(0, 0.5) is None
    assert failures.recall(4999, 0.5) is not None
