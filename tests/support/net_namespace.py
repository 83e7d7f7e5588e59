"""A network of its own for a program, joined to the host's by one cable. Shell: iproute2, as root.

Only the network is another one: a FUSE mount that is made inside is seen outside.
"""

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetNamespace:
    """``host`` is the host's end of the cable, ``own`` the program's; ``nobody`` is an address that neither has."""

    name: str
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
        name, outside, inside = f"flyfs-{os.getpid()}", f"fly{os.getpid()}", f"in{os.getpid()}"
        network = cls(name, *(f"10.77.{number}.{host}" for host in (1, 2, 3)))
        _ip("netns", "add", name)
        try:
            _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
            _ip("address", "add", f"{network.host}/24", "dev", outside)
            _ip("link", "set", outside, "up")
            _ip("-netns", name, "link", "set", "lo", "up")
            _ip("-netns", name, "address", "add", f"{network.own}/24", "dev", inside)
            _ip("-netns", name, "link", "set", inside, "up")
            yield network
        finally:
            _ip("netns", "delete", name)  # and the cable with it


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=10)
