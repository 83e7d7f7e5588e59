"""A DNS server on loopback that answers as told. Shell: a thread with a UDP socket."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from flyfs.core.address import Address


class DnsServer:
    """``records`` holds zone lines by lower-case owner, such as ``1 IN SRV 0 1 7400 localhost.``; it may change at any time.

    A line with an owner of its own in front is of that owner.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.records: dict[str, list[str]] = {}
        self.silent = False
        self.asked = 0
        self.address = Address(*sock.getsockname())
        self._sock = sock

    @classmethod
    @contextmanager
    def serving(cls) -> "Generator[DnsServer, None, None]":
        """While the block lasts."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            server = cls(sock)
            thread = threading.Thread(target=server._serve)
            thread.start()
            try:
                yield server
            finally:
                sock.sendto(b"", sock.getsockname())  # the end
                thread.join()

    def srv(self, name: str, *ports: int, ttl_s: int = 1, priority: int = 0) -> None:
        """From now on ``name`` leads to these ports of this host."""
        self.records[name] = [f"{ttl_s} IN SRV {priority} 1 {port} localhost." for port in ports]

    def _serve(self) -> None:
        while True:
            packet, sender = self._sock.recvfrom(4096)
            if not packet:
                return
            self.asked += 1
            if not self.silent:
                self._sock.sendto(self._answer(packet), sender)

    def _answer(self, packet: bytes) -> bytes:
        question = dns.message.from_wire(packet)
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        (asked,) = question.question
        lines = self.records.get(asked.name.to_text(omit_final_dot=True).lower())
        if lines is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        for line in lines or ():
            owner, ttl, _, kind, data = (line if line.startswith("_") else f"{asked.name} {line}").split(None, 4)
            answer.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))
        return answer.to_wire()
