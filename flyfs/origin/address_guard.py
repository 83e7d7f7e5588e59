"""Which addresses origins may have: the policy against server-side request forgery. Pure.

Link-local, metadata, unspecified, multicast and reserved addresses are always refused; loopback and the host's own addresses
are refused unless ``own_host`` is set (an embedded supernode); private ranges are refused unless ``private`` is set.
``allowed`` (the option ``--allow-origin``) opens any of them. IPv4 addresses inside IPv6 ones (mapped, translated, tunnelled)
are judged as what they lead to. Source: the special-purpose registries of RFC 6890 and the clouds' documentation.
"""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from flyfs.core.urls import split_authority

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network


class AddressKind(StrEnum):
    """What an address is to the policy; the value completes "… is a … address"."""

    METADATA = "cloud metadata"
    UNSPECIFIED = "unspecified"
    LINK_LOCAL = "link-local"
    MULTICAST = "multicast"
    RESERVED = "reserved"
    LOOPBACK = "loopback"
    OWN = "local (this host's own)"
    PRIVATE = "private"
    PUBLIC = "public"


#: First match wins, so that a metadata service inside a private range is named as what it is.
_KINDS: tuple[tuple[AddressKind, tuple[IpNetwork, ...]], ...] = tuple(
    (kind, tuple(ip_network(network) for network in networks.split()))
    for kind, networks in (
        # One address per cloud family: link-local for most, the others as their providers document them.
        (
            AddressKind.METADATA,
            "169.254.169.254/32 169.254.170.0/24 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32 fd00:ec2::/32",
        ),
        (AddressKind.UNSPECIFIED, "0.0.0.0/8 ::/128"),
        (AddressKind.LOOPBACK, "127.0.0.0/8 ::1/128"),
        (AddressKind.LINK_LOCAL, "169.254.0.0/16 fe80::/10"),
        (AddressKind.MULTICAST, "224.0.0.0/4 ff00::/8"),
        (AddressKind.PRIVATE, "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7 fec0::/10"),
        (AddressKind.RESERVED, "192.0.0.0/24 240.0.0.0/4 100::/64"),
    )
)
_TRANSLATED = ip_network("64:ff9b::/96")  # NAT64, RFC 6052
_COMPATIBLE = ip_network("::/96")  # IPv4-compatible, RFC 4291; ::1 and :: are matched before it is asked


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to, None for most."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _TRANSLATED or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def kind_of(address: IpAddress) -> AddressKind:
    """What an address is, without knowing whether it is this host's own."""
    if isinstance(address, IPv6Address):
        embedded = _embedded(address)
        if embedded is not None:
            return kind_of(embedded)
        address = IPv6Address(int(address))  # without the scope, which would match no network
    for kind, networks in _KINDS:
        if any(address in network for network in networks):  # of the other family: never in
            return kind
    return AddressKind.PUBLIC


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedOrigins:
    """What ``--allow-origin`` names.

    Attributes:
        networks: addresses that are allowed whatever they are.
        hosts: names, in lower case, all of whose addresses are allowed.
    """

    networks: tuple[IpNetwork, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, texts: tuple[str, ...] | list[str]) -> "AllowedOrigins":
        """The values of ``--allow-origin``: ``CIDR``, an address, or a host name.

        Raises:
            ValueError: one of them is none of these; the message names it.
        """
        networks: list[IpNetwork] = []
        hosts: set[str] = set()
        for text in texts:
            try:
                networks.append(ip_network(text.strip("[]"), strict=False))
                continue
            except ValueError:
                if "/" in text or ":" in text:
                    raise ValueError(f"not a network (10.0.0.0/8), address or host name: {text[:100]!r}") from None
            hosts.add(split_authority("http", text)[0])
        return cls(networks=tuple(networks), hosts=frozenset(hosts))

    def include(self, host: str, address: IpAddress) -> bool:
        """Whether a host or its address is named."""
        if host.lower().rstrip(".") in self.hosts:
            return True
        candidates: list[IpAddress] = [address]
        if isinstance(address, IPv6Address):
            embedded = _embedded(address)
            candidates += [] if embedded is None else [embedded]
        return any(candidate in network for candidate in candidates for network in self.networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """Which addresses may be connected to.

    Attributes:
        own_host: loopback and this host's own addresses are allowed (an embedded supernode).
        private: private ranges are allowed (the listener is loopback, or a token or TLS is set).
        allowed: what the operator opened.
    """

    own_host: bool = False
    private: bool = False
    allowed: AllowedOrigins = AllowedOrigins()

    def refusal(self, host: str, address: IpAddress, *, own: bool) -> str | None:
        """Why ``host`` must not be reached at ``address``, for people, with the option that would allow it; None where it may.

        Args:
            host: as the URL names it.
            address: one of its addresses.
            own: whether the address is one of this host's.
        """
        kind = kind_of(address)
        if kind in (AddressKind.PUBLIC, AddressKind.PRIVATE) and own:
            kind = AddressKind.OWN
        match kind:
            case AddressKind.PUBLIC:
                return None
            case AddressKind.PRIVATE if self.private:
                return None
            case AddressKind.LOOPBACK | AddressKind.OWN if self.own_host:
                return None
            case _:
                pass
        if self.allowed.include(host, address):
            return None
        place = f"{host} is" if host == str(address) else f"{host} is at {address},"
        return f"refused: {place} a {kind.value} address; --allow-origin {host} would allow it"


def literal_address(host: str) -> IpAddress | None:
    """The address that ``host`` spells, None where it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None
