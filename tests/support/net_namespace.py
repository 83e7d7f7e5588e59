"""A network of its own for programs, joined to the host's by one cable that can be cut, slowed and measured. Shell.

iproute2, as root. Only the network is another one: a FUSE mount that is made inside is seen outside. The cable runs through a
bridge in a network between the two: so a cut is one in its middle, where neither end hears of it, as when a switch dies. What is
sent is lost in silence, and no address and no route goes away.
"""

import json
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

_COMMAND_S = 30.0
_BURST, _LATENCY = "32kb", "50ms"
"""Of the token bucket: the queue is as long as a switch's."""


@dataclass(frozen=True, slots=True)
class NetNamespace:
    """``host`` is the host's end of the cable, ``own`` the programs'; ``nobody`` is an address that neither has."""

    name: str
    cable: str
    """The interface at the host's end."""
    host: str
    own: str
    nobody: str

    @property
    def enter(self) -> tuple[str, ...]:
        """Put before the words of a command, this runs it inside."""
        return ("nsenter", f"--net=/run/netns/{self.name}", "--")

    @classmethod
    @contextmanager
    def made(cls) -> "Generator[NetNamespace, None, None]":
        """A network that is gone after the block."""
        number = os.getpid() % 200 + 20  # 10.77.x.0/24, private, and another one for each process that runs tests
        outside = f"fly{os.getpid()}"
        network = cls(f"flyfs-{os.getpid()}", outside, *(f"10.77.{number}.{host}" for host in (1, 2, 3)))
        with _namespace(network.name), _namespace(network._between):
            _ip(network._between, "link add bridge type bridge", "link set bridge up")
            for port, other in (("near", f"{outside} netns {os.getpid()}"), ("far", f"eth0 netns {network.name}")):
                _ip(network._between, f"link add {port} type veth peer name {other}", f"link set {port} master bridge up")
            try:
                _ip("", f"address add {network.host}/24 dev {outside}", f"link set {outside} up")
                _ip(network.name, "link set lo up", f"address add {network.own}/24 dev eth0", "link set eth0 up")
                yield network
            finally:
                _ip("", f"link delete {outside}")  # at once; a network that goes takes its cables with it some time later

    @property
    def _between(self) -> str:
        return f"{self.name}-between"

    def cut(self) -> None:
        """From now on nothing gets through."""
        _ip(self._between, "link set near down")

    def mend(self) -> None:
        """Ends ``cut``."""
        _ip(self._between, "link set near up")

    def slow_down(self, rate_mbit_s: float) -> None:
        """From now on the cable carries that much, each way."""
        for port in ("near", "far"):
            _run("tc", self._between, f"qdisc add dev {port} root tbf rate {rate_mbit_s:g}mbit burst {_BURST} latency {_LATENCY}")

    def crossed_bytes(self) -> int:
        """What has gone through the cable so far, both ways, headers and all."""
        return sum(self._sent_bytes(port) for port in ("near", "far"))

    def _sent_bytes(self, port: str) -> int:
        words = ["ip", "-netns", self._between, "-json", "-stats", "link", "show", "dev", port]
        told = json.loads(subprocess.run(words, check=True, timeout=_COMMAND_S, capture_output=True).stdout)
        return int(told[0]["stats64"]["tx"]["bytes"])


@contextmanager
def _namespace(name: str) -> Generator[None, None, None]:
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=_COMMAND_S)
    try:
        yield
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True, timeout=_COMMAND_S)


def _ip(network: str, *lines: str) -> None:
    _run("ip", network, *lines)


def _run(program: str, network: str, *lines: str) -> None:
    """In a network, the host's where it is empty."""
    where = ["-netns", network] if network else []
    words = [program, *where, "-batch", "-"]
    subprocess.run(words, check=True, timeout=_COMMAND_S, input="\n".join(lines) + "\n", text=True, stdout=subprocess.DEVNULL)
