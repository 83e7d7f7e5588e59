"""Hosts with network cards of a given rate, on one switch: a namespace each, `tc tbf` on both ends of each cable. Shell.

iproute2, as root. Nothing of it is seen from the host's own network: the switch is a bridge in a namespace, too, so several of
them may stand at the same time with the same addresses. Only the network is another one: a FUSE mount that is made inside is
seen outside.
"""

import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count

NETWORK = "10.78.0.0/16"
"""Private, and nobody else's here."""
_BURST, _LATENCY = "32kb", "50ms"
"""Of the token buckets. One packet of the largest kind that a card takes is cut by the qdisc; a queue of 50 ms is a switch's."""
_CONGESTION_CONTROL = "cubic"
"""What Linux takes by default, whatever this machine was told: figures shall not hang on it."""
_CLONE_NEWNET = 0x40000000
_COMMAND_S = 30.0
_NUMBERS = count()


@dataclass(frozen=True, slots=True)
class ShapedHost:
    """One host; ``sent_bytes`` counts what left its card, headers and all."""

    name: str
    address: str
    namespace: str

    @property
    def enter(self) -> tuple[str, ...]:
        """Put before the words of a command, this runs it there."""
        return ("nsenter", f"--net=/run/netns/{self.namespace}", "--")

    def tcp_socket(self) -> socket.socket:
        """A TCP socket of this host, for who runs elsewhere."""
        with ThreadPoolExecutor(1) as thread:  # a thread of its own, because it stays in that network
            return thread.submit(_socket_in, self.namespace).result()

    def sent_bytes(self) -> int:
        """From the counter of its card."""
        words = ["ip", "-netns", self.namespace, "-json", "-stats", "link", "show", "dev", "eth0"]
        told = json.loads(subprocess.run(words, check=True, timeout=_COMMAND_S, capture_output=True).stdout)
        return int(told[0]["stats64"]["tx"]["bytes"])


def _socket_in(namespace: str) -> socket.socket:
    with open(f"/run/netns/{namespace}", "rb") as place:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(place.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"{namespace}: {os.strerror(ctypes.get_errno())}")
    return socket.socket()


@contextmanager
def a_shaped_network(rates_mbit_s: Mapping[str, float]) -> Generator[dict[str, ShapedHost], None, None]:
    """Hosts by name, each with its rate, the same both ways; all gone after the block."""
    prefix = f"flyfs-{os.getpid()}-{next(_NUMBERS)}"
    switch = f"{prefix}-switch"
    with ExitStack() as standing:
        standing.enter_context(_a_namespace(switch))
        _batch("ip", switch, ["link add switch type bridge", "link set switch up"])
        hosts = {}
        for number, (name, rate_mbit_s) in enumerate(rates_mbit_s.items()):
            host = ShapedHost(name, f"10.78.{number // 250}.{number % 250 + 1}", f"{prefix}-{number}")
            standing.enter_context(_a_namespace(host.namespace))
            _plug(switch, f"port{number}", host, rate_mbit_s)
            hosts[name] = host
        yield hosts


@contextmanager
def _a_namespace(name: str) -> Generator[None, None, None]:
    _run(["ip", "netns", "add", name])
    try:
        yield
    finally:
        _run(["ip", "netns", "delete", name])  # and the cables that end in it


def _plug(switch: str, port: str, host: ShapedHost, rate_mbit_s: float) -> None:
    bucket = f"root tbf rate {rate_mbit_s:g}mbit burst {_BURST} latency {_LATENCY}"
    _batch(
        "ip",
        switch,
        [
            f"link add {port} type veth peer name eth0 netns {host.namespace}",
            f"link set {port} master switch",
            f"link set {port} up",
        ],
    )
    _batch("tc", switch, [f"qdisc add dev {port} {bucket}"])
    _batch(
        "ip",
        host.namespace,
        [
            "link set lo up",
            f"address add {host.address}/16 dev eth0 noprefixroute",
            "link set eth0 up",
            f"route add {NETWORK} dev eth0 congctl lock {_CONGESTION_CONTROL}",
        ],
    )
    _batch("tc", host.namespace, [f"qdisc add dev eth0 {bucket}"])


def _batch(program: str, namespace: str, lines: list[str]) -> None:
    _run([program, "-netns", namespace, "-batch", "-"], given="\n".join(lines) + "\n")


def _run(words: list[str], *, given: str = "") -> None:
    subprocess.run(words, check=True, timeout=_COMMAND_S, input=given, text=True, stdout=subprocess.DEVNULL)
