"""One rate limit over several real programs of a host, counted on its only cable: a network namespace is the host.

What a busy machine cannot change is asserted: how much goes over some seconds, and how much more any single one may carry,
which is what the receive buffers hold. That all of the budget is used is waited for, and then judged over seconds, because a busy
machine can make it less for a while. What a quiet machine shows, ``just bench limit`` tells.
"""

import os
import random
import statistics
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Mount, Supernode, wait_until
from tests.support.net_namespace import NetNamespace
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader
from tests.support.wire import Rates, Wire

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(180)]

MIB = 1024 * 1024
RATE = 20_000_000
LOW_RATE = 5_000_000
"""At which a piece takes 0.2 s, far more than a busy machine is late."""
FILE_BYTES = 600 * MIB
"""Large enough for pieces of 1 MiB, and to last longer than a test."""
TOO_MUCH = 1.08
"""In any second, however late programs are: a burst of 2 %, and three receive buffers of 12 ms that fill in it."""
TOO_MUCH_OF_LOW_RATE = 1.15
"""Likewise, with four connections' buffers of 128 KiB, the least there is: 2.6 % of the low rate each."""
TOO_MUCH_OF_SECONDS = 1.03
ENOUGH = 0.95
ENOUGH_OF_SECONDS = 0.7
"""Two of three that do not take what the third has left would make it 0.67."""


@dataclass
class Host:
    """A host with one cable, its programs, and what is outside."""

    network: NetNamespace
    fleet: Fleet
    origin: NginxOrigin
    supernode: Supernode
    mount: Mount
    caches: Path

    @contextmanager
    def running(self, command: str, name: str, *options: str) -> "Generator[subprocess.Popen[bytes], None, None]":
        """A command inside, about a file of the origin; it has begun to receive, and is killed afterwards."""
        words = [*self.network.enter, *self.fleet.words(command, f"http://{self.origin.authority}/{name}", *options)]
        before = self.mount.status()["bytes"]["supernode"]
        with subprocess.Popen(words, env=self.fleet.environment, stderr=subprocess.DEVNULL) as process:
            try:
                if command == "get":
                    wait_until(lambda: list(self.caches.glob(f"{name}/blobs/*/*/data")), "the command fetches")
                else:
                    wait_until(lambda: self.mount.status()["bytes"]["supernode"] > before, "the daemon fetches")
                yield process
            finally:
                process.kill()

    def getting(self, name: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
        """``flyfs get`` by itself, past the daemon."""
        own = ("--supernode", self.supernode.address, "--cache", str(self.caches / name))
        return self.running("get", name, *own, "-o", "/dev/null")

    def warming(self, name: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
        """``flyfs warm``, through the daemon."""
        return self.running("warm", name)

    def limit(self, *options: str) -> str:
        """What ``flyfs limit`` says."""
        finished = self.fleet.run("limit", *options)
        assert finished.status == 0, finished.stderr
        return finished.stdout

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
        yield Host(network, fleet, origin, supernode, mount, tmp_path / "caches")
        mount.close()


def wait_until_all_is_used(wire: Wire, rate: int) -> None:
    """Returns once a whole second carried what is allowed."""

    def is_used() -> bool:
        now = time.monotonic()
        return wire.rates(now - 1.2, now).fullest >= ENOUGH * rate

    time.sleep(1.3)  # a second has to be over to be judged
    wait_until(is_used, f"a second that carries {rate} bytes", timeout_s=30)


def told(rates: Rates, rate: int) -> str:
    return f"{rates.leanest / rate:.3f} to {rates.fullest / rate:.3f} in a second, {rates.mean / rate:.3f} on the whole"


def test_three_programs_receive_together_what_is_allowed_and_two_what_one_leaves(host: Host) -> None:
    with Wire.watched(host.received) as wire, host.warming("bulk0") as warm, host.getting("bulk1") as get:
        with host.getting("bulk2"):
            wait_until_all_is_used(wire, RATE)
            since = time.monotonic()
            time.sleep(5)
            three = wire.rates(since, time.monotonic())
        killed_at = time.monotonic()
        wait_until_all_is_used(wire, RATE)
        time.sleep(3)
        two = wire.rates(killed_at + 1, time.monotonic())
        everything = wire.rates(since, time.monotonic())

        assert warm.poll() is None
        assert get.poll() is None
        print(f"of the limit: three programs {told(three, RATE)}, two {told(two, RATE)}, throughout {told(everything, RATE)}")
        assert everything.fullest <= TOO_MUCH * RATE
        assert everything.mean <= TOO_MUCH_OF_SECONDS * RATE
        assert three.mean >= ENOUGH_OF_SECONDS * RATE
        assert two.mean >= ENOUGH_OF_SECONDS * RATE


def test_a_demanded_piece_takes_two_piece_times_whatever_else_takes_all_of_the_budget(host: Host, reader: Reader) -> None:
    host.limit("--receive", "5MB/s")
    path = host.mount.path(host.origin.authority, "read")
    pieces = list(range(1, FILE_BYTES // MIB - 1))
    random.Random(4).shuffle(pieces)

    def piece_times() -> float:
        answer = reader.ask("read", path=path, offset=pieces.pop() * MIB, size=4096)
        assert not answer.error
        return answer.seconds * LOW_RATE / MIB

    with Wire.watched(host.received) as wire, host.warming("bulk0") as warm, host.getting("bulk1") as get:
        wait_until_all_is_used(wire, LOW_RATE)
        piece_times()  # the first one opens the file too
        since = time.monotonic()
        took = sorted(piece_times() for _ in range(15))
        throughout = wire.rates(since, time.monotonic())

        print(f"piece times: {' '.join(f'{one:.2f}' for one in took)}; of the limit: {told(throughout, LOW_RATE)}")
        assert warm.poll() is None
        assert get.poll() is None
    assert statistics.median(took) <= 2
    assert throughout.fullest <= TOO_MUCH_OF_LOW_RATE * LOW_RATE
    assert throughout.mean >= ENOUGH_OF_SECONDS * LOW_RATE, "all of the budget was taken, or it shows nothing"


def test_a_limit_is_set_for_programs_that_run_and_the_last_one_counts(host: Host) -> None:
    first = host.limit()
    assert first.startswith("receive 20MB/s\nsend    20MB/s\n")
    assert f"by process {host.mount.pid}" in first
    assert host.mount.status()["limit"] == {"receive_bytes_per_s": RATE, "send_bytes_per_s": RATE}

    with Wire.watched(host.received) as wire, host.warming("bulk0") as command:
        wait_until_all_is_used(wire, RATE)
        assert host.limit("--receive", "5MB/s").startswith("receive 5MB/s\nsend    20MB/s\n")
        since = time.monotonic() + 1
        time.sleep(2)
        wait_until_all_is_used(wire, LOW_RATE)
        slower = wire.rates(since, time.monotonic())
        print(f"of the lower limit: {told(slower, LOW_RATE)}")
        assert slower.fullest <= TOO_MUCH_OF_LOW_RATE * LOW_RATE

        assert host.limit("--receive", "off", "--send", "off").startswith("receive off\nsend    off\n")
        wait_until(lambda: command.poll() is not None, "without a limit the rest comes fast", timeout_s=60)
        assert command.returncode == 0
    assert host.mount.status()["limit"] == {"receive_bytes_per_s": None, "send_bytes_per_s": None}
    wait_until(lambda: "limit.rates.changed" in host.mount.log_text(), "the daemon tells of it")
