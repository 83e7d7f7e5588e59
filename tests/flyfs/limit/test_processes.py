"""Three processes that receive over real connections under one limit, counted by the kernel of the sender; one is killed."""

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from flyfs.limit.limit_file import LimitFile
from tests.support.wire import Wire

BUDGET = 20_000_000
TRIES = 4
LONG_S = 2.5

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
        self.connections: list[socket.socket] = []

    def accept(self) -> None:
        """Serves one more, in a thread that ends with its connection."""
        connection, _ = self.listener.accept()
        self.connections.append(connection)
        threading.Thread(target=self._send, args=[connection]).start()

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
        told = [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AT + 8) for one in self.connections]
        return sum(struct.unpack_from("=Q", one, _ACKED_AT)[0] for one in told)

    @classmethod
    @contextmanager
    def serving(cls) -> "Generator[Source, None, None]":
        source = cls()
        threads = threading.active_count()
        try:
            yield source
        finally:
            for connection in source.connections:
                connection.shutdown(socket.SHUT_RDWR)
            while threading.active_count() > threads:
                time.sleep(0.01)
            for connection in (*source.connections, source.listener):
                connection.close()


def test_three_processes_share_a_budget_and_what_a_killed_one_leaves(tmp_path: Path) -> None:
    file = LimitFile.open(tmp_path / "limit")
    file.set_rates(receive=BUDGET)
    file.close()
    with Source.serving() as source, ExitStack() as stack:
        port = source.listener.getsockname()[1]
        processes = []
        for _ in range(3):
            process = subprocess.Popen([sys.executable, "-c", RECEIVE, str(tmp_path), str(port)])
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
            source.accept()
        with Wire.watched(source.acked) as wire:
            assert_within_five_per_cent(wire, time.monotonic() + 2)

            processes[0].kill()
            assert_within_five_per_cent(wire, time.monotonic() + 1)
        assert [process.poll() for process in processes[1:]] == [None, None]


def assert_within_five_per_cent(wire: Wire, start: float) -> None:
    """A machine that stalls for a moment is no fault of the limit: what is measured may be measured again."""
    told = []
    for _ in range(TRIES):
        time.sleep(max(0.0, start + LONG_S - time.monotonic()))
        leanest, fullest = (rate / BUDGET for rate in wire.rates(start, start + LONG_S))
        if leanest >= 0.95 and fullest <= 1.05:
            return
        told.append((round(leanest, 3), round(fullest, 3)))
        start = time.monotonic()
    pytest.fail(f"not every second within 5 %: {told}")
