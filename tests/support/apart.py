"""Mounts that no other process sees, or holds on to. Shell; needs root.

Whoever makes a mount namespace (a container, ``ip netns exec``) gets a copy of every mount of this host, and keeps their disks
busy, whatever is unmounted here. What is mounted in a namespace of its own cannot be copied, and ends with its last process.
"""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, ParamSpec, TypeVar

from tests.support.with_parent import end_with_parent

P = ParamSpec("P")
R = TypeVar("R")

_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 1 << 14, 1 << 18
_LIMIT_S, _END_S = 90.0, 20.0


def mount_apart() -> None:
    """From now on this process, and those that it starts, mount for themselves. Called before there are threads."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), f"no mounts of our own: {os.strerror(ctypes.get_errno())}")


def apart(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Calls a function of a module in a process with mounts of its own; gives or raises what it does."""
    process = subprocess.Popen([sys.executable, "-m", "tests.support.apart"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        answer, _ = process.communicate(pickle.dumps((function, arguments, named)), timeout=_LIMIT_S)
    except BaseException:
        process.terminate()  # it tears down what it has built
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    finally:
        process.wait()
    failure, result = pickle.loads(answer)
    if failure is not None:
        raise failure
    return result  # type: ignore[no-any-return]


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(1)


def _main() -> None:
    end_with_parent()
    signal.signal(signal.SIGTERM, _stop)
    mount_apart()
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever is printed meanwhile is no answer
    function, arguments, named = pickle.load(sys.stdin.buffer)
    failure: Exception | None = None
    result = None
    try:
        result = function(*arguments, **named)
    except Exception as error:  # raised again by who asked
        failure = error
    with os.fdopen(answers, "wb") as file:
        pickle.dump((failure, result), file)


if __name__ == "__main__":
    _main()
