import pytest

from flyfs.core.errors import (
    WIRE_ERRORS,
    Denied,
    FlyfsError,
    NotFound,
    Unanswered,
    Unavailable,
    error_from_wire,
    told_error,
)


@pytest.mark.parametrize("kind", sorted(WIRE_ERRORS))
def test_a_kind_crosses_the_wire(kind: str) -> None:
    error = error_from_wire(kind, "so it is", 2.5)
    assert type(error) is WIRE_ERRORS[kind]
    assert (error.kind, error.message, str(error)) == (kind, "so it is", "so it is")


def test_every_error_has_a_kind_of_its_own() -> None:
    kinds = [one.kind for one in WIRE_ERRORS.values()]
    assert len(set(kinds)) == len(kinds)
    assert Unanswered.kind == Unavailable.kind


@pytest.mark.parametrize("kind", ["unavailable", "local_protocol", "config", "error", "", "of a later version"])
def test_a_kind_that_nobody_knows_is_unavailable(kind: str) -> None:
    error = error_from_wire(kind, "later", 2.5)
    assert type(error) is Unavailable
    assert error.retry_after_s == 2.5


def test_an_expected_failure_is_found_in_nested_groups() -> None:
    wanted = NotFound("gone")
    group = BaseExceptionGroup("", [ExceptionGroup("", [wanted, Denied("no")])])
    assert told_error(group) is wanted


@pytest.mark.parametrize("group", [
    BaseExceptionGroup("", [NotFound("gone"), KeyboardInterrupt()]),
    ExceptionGroup("", [ExceptionGroup("", [NotFound("gone"), ZeroDivisionError()])]),
    ExceptionGroup("", [ZeroDivisionError()]),
])  # fmt: skip
def test_a_group_with_anything_unexpected_stays_whole(group: BaseExceptionGroup[BaseException]) -> None:
    assert told_error(group) is group


def test_the_tree_has_one_root() -> None:
    assert all(issubclass(error, FlyfsError) for error in WIRE_ERRORS.values())
