"""Where supernodes listen, as the DNS tells: one question for SRV records. Shell; the only place that knows dnspython.

Source: RFC 2782. The names that the records lead to are resolved where they are dialled, as any other HOST.
"""

from dataclasses import dataclass

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from flyfs.core.address import Address, SrvName, is_host_name
from flyfs.core.errors import Unavailable
from flyfs.core.rendezvous import Candidate

TIMEOUT_S = 4.0
"""For all name servers together; with the pause before the next question less than the 5 s in which a change is followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SrvAnswer:
    """What a name stands for, for the next ``ttl_s`` seconds."""

    candidates: tuple[Candidate, ...]
    ttl_s: float


async def ask_srv(name: SrvName, resolver: Address | None) -> SrvAnswer:
    """The supernodes behind a name, as ``resolver`` tells; None asks the servers in ``/etc/resolv.conf``.

    Raises:
        Unavailable: nobody answers, there is no such name, or it has no such records.
    """
    try:
        answer = await _resolver(resolver).resolve(
            name.owner, "SRV", lifetime=TIMEOUT_S, search=False, backend=dns.asyncbackend.get_backend("trio")
        )
    except (dns.exception.DNSException, OSError) as error:
        raise Unavailable(f"{name}: {_reason(error)}") from error
    found = [
        Candidate(Address(host, record.port), priority=record.priority, weight=record.weight)
        for record in answer
        if is_host_name(host := record.target.to_text(omit_final_dot=True))  # a lone dot says: not offered here
    ]
    return SrvAnswer(candidates=tuple(found), ttl_s=float(answer.chaining_result.minimum_ttl))


def _resolver(address: Address | None) -> dns.asyncresolver.Resolver:
    if address is None:
        return dns.asyncresolver.Resolver()
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [dns.nameserver.Do53Nameserver(address.host, address.port)]
    return resolver


def _reason(error: Exception) -> str:
    match error:
        case dns.resolver.NXDOMAIN():
            return "there is no such name in the DNS"
        case dns.resolver.NoAnswer():
            return "the name has no SRV record"
        case dns.exception.Timeout() | dns.resolver.NoNameservers():
            return f"no name server answers ({error})"
        case _:
            return str(error) or type(error).__name__
