"""One rate limit over several real programs of a host, counted on its only cable: a network namespace is the host.

The figures that are asked for are those that are promised. A machine that stalls for a moment is no fault of the limit, so what
is measured may be measured again.
"""

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Mount, Supernode, wait_until
from tests.support.net_namespace import NetNamespace
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader
from tests.support.wire import Wire

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(180)]

MIB = 1024 * 1024
BUDGET = 20_000_000
PIECE_S = MIB / BUDGET
FILE_BYTES = 600 * MIB
TRIES = 3
LONG_S = 4.0
"""Enough for a few hundred different seconds that begin one after the other."""


@dataclass
class Host:
    """A host with one cable, its programs, and what is outside."""

    network: NetNamespace
    fleet: Fleet
    origin: NginxOrigin
    supernode: Supernode
    mount: Mount

    def start(self, command: str, name: str, *options: str) -> "subprocess.Popen[bytes]":
        """A command inside, about a file of the origin."""
        words = self.fleet.words(command, f"http://{self.origin.authority}/{name}", *options)
        return subprocess.Popen([*self.network.enter, *words], env=self.fleet.environment, stderr=subprocess.DEVNULL)

    def received(self) -> int:
        """Bytes that went over the cable to the host, by the kernel."""
        return int(Path(f"/sys/class/net/{self.network.cable}/statistics/tx_bytes").read_text())


@pytest.fixture
def host(fleet: Fleet, root: Path, origin: NginxOrigin, tmp_path: Path) -> Iterator[Host]:
    for name in ("bulk0", "bulk1", "bulk2", "read"):
        (root / name).touch()
        os.truncate(root / name, FILE_BYTES)
    with NetNamespace.made() as network:
        # Outside means: under no limit of this host's.
        supernode = fleet.planned_supernode("supernode", "--insecure", "--runtime-dir", str(tmp_path / "elsewhere"))
        supernode.address = f"{network.host}:0"
        supernode.start()
        mount = fleet.planned_mount("m", "--rate-limit", "20MB/s", supernode=supernode)
        mount.enter = network.enter
        mount.start()
        yield Host(network, fleet, origin, supernode, mount)
        mount.close()


def measured(what: str, holds: Callable[[], tuple[bool, object]]) -> None:
    """Fails where something is so in none of a few tries."""
    told = []
    for _ in range(TRIES):
        is_so, figures = holds()
        if is_so:
            return
        told.append(figures)
    pytest.fail(f"{what}: {told}")


def test_three_programs_receive_what_is_allowed_and_a_demand_goes_before_it_all(
    host: Host, reader: Reader, tmp_path: Path
) -> None:
    fetch = ("--supernode", host.supernode.address, "-o", "/dev/null", "--cache")
    with Wire.watched(host.received) as wire, ExitStack() as stack:
        before = host.received()
        commands = [
            stack.enter_context(host.start("warm", "bulk0")),
            stack.enter_context(host.start("get", "bulk1", *fetch, str(tmp_path / "c1"))),
            stack.enter_context(host.start("get", "bulk2", *fetch, str(tmp_path / "c2"))),
        ]
        stack.callback(lambda: [command.kill() for command in commands])
        wait_until(lambda: host.received() - before > BUDGET, "bulk comes", timeout_s=60)
        began = time.monotonic()

        def within_five_per_cent(start: float) -> tuple[bool, object]:
            time.sleep(max(0.0, start + LONG_S - time.monotonic()))
            leanest, fullest = (rate / BUDGET for rate in wire.rates(start, start + LONG_S))
            return (leanest >= 0.95 and fullest <= 1.05), (round(leanest, 3), round(fullest, 3))

        measured("every second within 5 %", lambda: within_five_per_cent(max(began + 2, time.monotonic())))

        path = host.mount.path(host.origin.authority, "read")
        pieces = list(range(1, FILE_BYTES // MIB - 1))
        random.Random(4).shuffle(pieces)
        reader.get("stat", path=path)

        def demands_go_first() -> tuple[bool, object]:
            took = sorted(
                reader.ask("read", path=path, offset=pieces.pop() * MIB, size=4096).seconds / PIECE_S for _ in range(11)
            )
            return took[5] <= 2.0, [round(one, 2) for one in took]

        measured("a demanded piece comes within two piece times", demands_go_first)
        assert all(command.poll() is None for command in commands), "bulk went on meanwhile"

        killed_at = time.monotonic()
        commands.pop().kill()
        measured(
            "what one leaves the others take within a second", lambda: within_five_per_cent(max(killed_at + 1, time.monotonic()))
        )
        assert all(command.poll() is None for command in commands)


def test_a_limit_is_set_for_programs_that_run_and_the_last_one_counts(host: Host, tmp_path: Path) -> None:
    limit = host.fleet.run("limit")
    assert limit.stdout.splitlines()[:2] == ["receive 20MB/s", "send    20MB/s"]
    assert f"by process {host.mount.pid}" in limit.stdout

    with Wire.watched(host.received) as wire, host.start("warm", "bulk0") as command:
        before = host.received()
        wait_until(lambda: host.received() - before > BUDGET, "it comes", timeout_s=60)
        assert host.fleet.run("limit", "--receive", "5MB/s").stdout.startswith("receive 5MB/s\nsend    20MB/s\n")
        since = time.monotonic() + 1
        time.sleep(3.2)
        _, fullest = wire.rates(since, since + 2)
        assert fullest < 0.75 * BUDGET
        assert host.fleet.run("limit", "--receive", "off", "--send", "off").stdout.startswith("receive off\nsend    off\n")
        wait_until(lambda: command.poll() is not None, "without a limit the rest comes fast", timeout_s=60)
        assert command.returncode == 0
    wait_until(lambda: "limit.rates.changed" in host.mount.log_text(), "the daemon tells of it")
