"""Where somebody listens: host and port, or a name in the DNS that tells; and who may listen where. Pure."""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from flyfs.core.errors import ConfigError

_SRV = "srv://"
_SERVICE = "_flyfs._tcp."
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)\w([\w-]{0,61}\w)?(\.\w([\w-]{0,61}\w)?)*\.?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Where somebody listens: a host name or IP address (IPv6 without brackets) and a port, 0 for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this host can reach it; a name other than ``localhost`` may be anywhere."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class SrvName:
    """A name whose SRV records (RFC 2782) say where supernodes listen."""

    name: str

    def __str__(self) -> str:
        return f"{_SRV}{self.name}"

    @property
    def owner(self) -> str:
        """The record's whole name: a bare one is that of the service ``_flyfs._tcp`` in its domain."""
        return self.name if self.name.startswith("_") else _SERVICE + self.name


def parse_supernode(text: str) -> Address | SrvName:
    """``HOST:PORT`` or ``srv://NAME``.

    Raises:
        ValueError: anything else.
    """
    if not text.startswith(_SRV):
        return parse_address(text)
    name = text.removeprefix(_SRV)
    if not is_host_name(name):
        raise ValueError(f"not a host name: {name!r}")
    return SrvName(name.lower().rstrip("."))


def is_host_name(text: str) -> bool:
    """Whether ``text`` is a host name (or an IPv4 address), as far as its form tells."""
    return _HOST_NAME.match(text) is not None


def parse_address(text: str) -> Address:
    """``HOST:PORT``, IPv6 in brackets, port 0 to 65535.

    Raises:
        ValueError: anything else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"not HOST:PORT: {text!r}")
    if host.startswith("[") and host.endswith("]"):
        return Address(str(ip_address(host[1:-1])), int(port))
    if not is_host_name(host):
        raise ValueError(f"not a host: {host!r}")
    return Address(host, int(port))


def require_protection(listen: Address, *, insecure: bool, source: str) -> None:
    """Raises ConfigError where ``listen`` can be reached from other hosts and nothing protects it."""
    if not listen.loopback and not insecure:
        raise ConfigError(
            f"{source}: {listen} can be reached from other hosts, which needs a token, TLS or --insecure;"
            " add --insecure where the network is trusted, or listen on 127.0.0.1"
        )
