"""Names in the DNS, asked of a real server on loopback."""

import socket
from collections.abc import Iterator

import dns.nameserver
import dns.resolver
import pytest
import trio

from flyfs.core.address import Address, SrvName
from flyfs.core.errors import Unavailable
from flyfs.core.rendezvous import Candidate
from flyfs.transport import srv
from flyfs.transport.srv import SrvAnswer, ask_srv
from tests.support.dns_server import DnsServer

NAME = SrvName("swarm.test")
OWNER = "_flyfs._tcp.swarm.test"


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer.serving() as running:
        yield running


async def test_records_become_supernodes_with_their_priorities_and_weights(server: DnsServer) -> None:
    server.records[OWNER] = ["30 IN SRV 1 5 7400 a.test.", "30 IN SRV 2 0 7401 b.test."]

    assert await ask_srv(NAME, server.address) == SrvAnswer(
        candidates=(Candidate(Address("a.test", 7400), 1, 5), Candidate(Address("b.test", 7401), 2, 0)), ttl_s=30.0
    )


async def test_a_lone_dot_says_that_there_is_none(server: DnsServer) -> None:
    server.records[OWNER] = ["30 IN SRV 0 0 0 ."]

    assert (await ask_srv(NAME, server.address)).candidates == ()


async def test_a_whole_name_is_asked_as_it_is(server: DnsServer) -> None:
    server.srv("_other._tcp.test", 7400)

    answer = await ask_srv(SrvName("_other._tcp.test"), server.address)

    assert [one.address for one in answer.candidates] == [Address("localhost", 7400)]


async def test_a_name_that_is_another_one_lives_as_long_as_the_shortest_link(server: DnsServer) -> None:
    server.records[OWNER] = ["5 IN CNAME _flyfs._tcp.real.test.", "_flyfs._tcp.real.test. 60 IN SRV 0 0 7400 a.test."]

    assert await ask_srv(NAME, server.address) == SrvAnswer(candidates=(Candidate(Address("a.test", 7400), 0, 0),), ttl_s=5.0)


@pytest.mark.parametrize(("lines", "reason"), [(None, "there is no such name"), ([], "has no SRV record")])
async def test_a_name_without_an_answer_says_why(server: DnsServer, lines: list[str] | None, reason: str) -> None:
    if lines is not None:
        server.records[OWNER] = lines

    with pytest.raises(Unavailable, match=f"srv://swarm.test: .*{reason}"):
        await ask_srv(NAME, server.address)


async def test_a_server_that_is_silent_or_gone_is_given_up_in_time(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(srv, "TIMEOUT_S", 0.2)
    server.silent = True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = Address(*probe.getsockname())

    with trio.fail_after(3):
        for address in (server.address, nobody):
            with pytest.raises(Unavailable, match="no name server answers"):
                await ask_srv(NAME, address)


async def test_without_a_resolver_the_hosts_own_are_asked(monkeypatch: pytest.MonkeyPatch, server: DnsServer) -> None:
    def configure(self: dns.resolver.BaseResolver, path: str) -> None:
        assert path == "/etc/resolv.conf"
        self.nameservers = [dns.nameserver.Do53Nameserver(server.address.host, server.address.port)]

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", configure)
    server.srv(OWNER, 7400)

    assert len((await ask_srv(NAME, None)).candidates) == 1
