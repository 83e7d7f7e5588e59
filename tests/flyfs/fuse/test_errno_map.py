import errno

import pytest

from flyfs.core import errors
from flyfs.core.errors import FlyfsError, ProtocolError
from flyfs.fuse.errno_map import ERRNO_OF, UNFORESEEN, errno_of, is_absent, is_connection_gone


def leaves(kind: type[FlyfsError]) -> set[type[FlyfsError]]:
    below = kind.__subclasses__()
    return set().union(*map(leaves, below)) if below else {kind}


def test_every_leaf_of_the_error_tree_has_a_row() -> None:
    own = {leaf for leaf in leaves(FlyfsError) if leaf.__module__ == errors.__name__}

    assert own <= set(ERRNO_OF)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.NotFound("x"), errno.ENOENT),
        (errors.Denied("x"), errno.EACCES),
        (errors.Unavailable("x"), errno.EIO),
        (errors.Corrupt("x"), errno.EIO),
        (errors.Stale("x"), errno.ESTALE),
        (errors.TooLarge("x"), errno.EFBIG),
        (ProtocolError("x"), UNFORESEEN),
    ],
)
def test_what_a_caller_sees(error: FlyfsError, number: int) -> None:
    assert errno_of(error) == number


def test_what_errors_of_calls_mean() -> None:
    assert is_connection_gone(OSError(errno.ENOTCONN, ""))
    assert not is_connection_gone(OSError(errno.EACCES, ""))
    assert is_absent(FileNotFoundError(errno.ENOENT, ""))
    assert not is_absent(OSError(errno.EIO, ""))
