"""Three processes that receive over real connections under one limit, counted by the kernel of the sender; one is killed."""

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from flyfs.limit.limit_file import LimitFile
from tests.support.wire import Wire

pytestmark = pytest.mark.timeout(120)

RATE = 20_000_000
TOO_MUCH = 1.08
"""In any second, as in ``tests/e2e/test_limit.py``."""
TOO_MUCH_OF_SECONDS = 1.03
ENOUGH = 0.95
ENOUGH_OF_SECONDS = 0.7

_ACKED_AT = 120
"""linux/tcp.h: ``tcpi_bytes_acked`` in ``struct tcp_info``."""

RECEIVE = """
import socket, sys
from pathlib import Path
import trio
from flyfs.limit.bucket import Priority
from flyfs.limit.host_limit import HostLimit
from flyfs.limit.intake import Intake
from flyfs.transport.bulk import receive_body, tune

class Sink:
    into = memoryview(bytearray(1 << 20))

async def main():
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    tune(sock)
    with HostLimit.open([Path(sys.argv[1])]) as limit:
        intake = Intake(sock, limit.receive, lambda: Priority.PREFETCH)
        while True:
            await receive_body(sock, Sink(), 0, 1 << 20, intake)

trio.run(main)
"""


class Source:
    """Sends zeros to whoever connects, as fast as they are taken."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self._served: list[tuple[socket.socket, threading.Thread]] = []

    def accept(self) -> None:
        """Serves one more, in a thread that ends with its connection."""
        connection, _ = self.listener.accept()
        connection.settimeout(20)
        thread = threading.Thread(target=self._send, args=[connection])
        self._served.append((connection, thread))
        thread.start()

    @staticmethod
    def _send(connection: socket.socket) -> None:
        zeros = bytes(1 << 20)
        try:
            while True:
                connection.sendall(zeros)
        except OSError:
            return

    def acked(self) -> int:
        """Bytes that arrived at the other ends."""
        told = [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AT + 8) for one, _ in self._served]
        return sum(struct.unpack_from("=Q", one, _ACKED_AT)[0] for one in told)

    @classmethod
    @contextmanager
    def serving(cls) -> "Generator[Source, None, None]":
        source = cls()
        try:
            yield source
        finally:
            for connection, thread in source._served:
                with suppress(OSError):  # the other end is gone, and the thread with it
                    connection.shutdown(socket.SHUT_RDWR)
                thread.join()
                connection.close()
            source.listener.close()


def test_three_processes_share_a_budget_and_two_what_a_killed_one_leaves(tmp_path: Path) -> None:
    """As ``tests/e2e/test_limit.py`` does with whole programs, without any of their parts but the limit."""
    with closing(LimitFile.open(tmp_path / "limit")) as file:
        file.set_rates(receive=RATE)
    with Source.serving() as source, ExitStack() as stack:
        port = source.listener.getsockname()[1]
        processes = []
        for _ in range(3):
            process = subprocess.Popen([sys.executable, "-c", RECEIVE, str(tmp_path), str(port)])
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
            source.accept()
        with Wire.watched(source.acked) as wire:
            since = used_from(wire)
            time.sleep(2)
            processes[0].kill()
            used_from(wire)
            time.sleep(2)
            assert [process.poll() for process in processes[1:]] == [None, None]
            throughout = wire.rates(since, time.monotonic())

    print(f"of the limit: {throughout.leanest / RATE:.3f} to {throughout.fullest / RATE:.3f} in a second")
    assert throughout.fullest <= TOO_MUCH * RATE
    assert throughout.mean <= TOO_MUCH_OF_SECONDS * RATE
    assert throughout.mean >= ENOUGH_OF_SECONDS * RATE


def used_from(wire: Wire) -> float:
    """Returns once a whole second carried what is allowed, and says when that was."""
    time.sleep(1.3)  # a second has to be over to be judged
    until = time.monotonic() + 30
    while wire.rates(time.monotonic() - 1.2, time.monotonic()).fullest < ENOUGH * RATE:
        assert time.monotonic() < until, "the budget is not used"
        time.sleep(0.02)
    return time.monotonic()
