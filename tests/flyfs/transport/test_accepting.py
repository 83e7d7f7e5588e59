import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import trio
from structlog.testing import capture_logs

from flyfs.core.address import Address
from flyfs.transport.accepting import AT_ONCE, accept_connections, allow_many_connections
from flyfs.transport.greeting import listen

LOOPBACK = Address("127.0.0.1", 0)


@pytest.fixture
def standing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Failing(socket.socket):
    """A listener whose first calls of ``accept`` fail."""

    def __init__(self, listener: socket.socket, *numbers: int) -> None:
        super().__init__(fileno=listener.detach())
        self._numbers = list(numbers)

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self._numbers:
            number = self._numbers.pop(0)
            raise OSError(number, errno.errorcode[number])
        return super().accept()


def waiting_at(listener: socket.socket, count: int, standing: ExitStack) -> None:
    """Connections that nobody has accepted yet."""
    for _ in range(count):
        standing.enter_context(socket.create_connection(listener.getsockname(), timeout=5))


async def test_a_crowd_is_let_in_at_once_and_not_one_a_turn(standing: ExitStack) -> None:
    listener = standing.enter_context(listen(LOOPBACK))
    waiting_at(listener, AT_ONCE, standing)
    turn = 0
    came: list[int] = []

    async def session(sock: socket.socket, host: str) -> None:
        with sock:
            assert host == "127.0.0.1"
            came.append(turn)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_connections, listener, session, nursery)
        with trio.fail_after(5):
            while len(came) < AT_ONCE:
                turn += 1
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert max(came) - min(came) <= 1  # trio shuffles the tasks of a turn, and with them the one that counts


async def test_more_than_are_let_in_at_once_come_with_the_next_turn(standing: ExitStack) -> None:
    listener = standing.enter_context(listen(LOOPBACK))
    waiting_at(listener, AT_ONCE + 1, standing)
    came = 0

    async def session(sock: socket.socket, _: str) -> None:
        nonlocal came
        sock.close()
        came += 1
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept_connections, listener, session, nursery)
        with trio.fail_after(5):
            while came < AT_ONCE + 1:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("number", "pause_s", "told"),
    [(errno.EMFILE, 0.1, ["transport.accept.exhausted"]), (errno.ECONNABORTED, 0.0, ["transport.accept.failed"])],
)
async def test_a_failure_to_accept_is_told_and_the_next_one_is_let_in(
    number: int, pause_s: float, told: list[str], standing: ExitStack
) -> None:
    listener = standing.enter_context(Failing(listen(LOOPBACK), number))
    waiting_at(listener, 1, standing)
    came = trio.Event()

    async def session(sock: socket.socket, _: str) -> None:
        sock.close()
        came.set()
        await trio.lowlevel.checkpoint()

    start_s = trio.current_time()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_connections, listener, session, nursery)
            with trio.fail_after(5):
                await came.wait()
            nursery.cancel_scope.cancel()

    assert [line["event"] for line in logs] == told
    assert trio.current_time() - start_s >= pause_s


def test_as_many_descriptors_are_allowed_as_the_system_grants() -> None:
    before = soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1000), most))
    try:
        allow_many_connections()

        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
