"""How the values of options are written by people, and read. Pure."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Generic, TypeVar

from flyfs.core.address import Address, is_host_name, parse_address, parse_supernode
from flyfs.core.units import parse_rate, parse_size
from flyfs.core.verify import Verify

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Consistency:
    """How old an answer about a remote name may be: 0 is ``strict``, infinity ``immutable``."""

    max_age_s: float

    def __str__(self) -> str:
        if self.max_age_s == 0:
            return "strict"
        return "immutable" if math.isinf(self.max_age_s) else f"ttl={self.max_age_s:g}"


def _boolean(text: str) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.strip().lower()]


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value


def _octal(text: str) -> int:
    value = int(text, 8)
    if not 0 <= value <= 0o777 or "_" in text:
        raise ValueError(text)
    return value


def _matching(pattern: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return parse


def _consistency(text: str) -> Consistency:
    named = {"strict": 0.0, "immutable": math.inf}
    if text in named:
        return Consistency(named[text])
    if not text.startswith("ttl="):
        raise ValueError(text)
    return Consistency(_seconds(text[4:]))


def _origin(text: str) -> str:
    if "/" in text or ":" in text or text.replace(".", "").isdigit():
        return str(ip_network(text.strip("[]"), strict=False))
    if not is_host_name(text):
        raise ValueError(text)
    return text.lower().rstrip(".")


def _piece_size(text: str) -> int:
    size = parse_size(text)
    if not 2**10 <= size <= 2**26 or size & (size - 1):
        raise ValueError(text)
    return size


def _ip_address(text: str) -> Address:
    address = parse_address(text)
    ip_address(address.host)
    return address


LEAST_RATE = 8_000
"""64 kbit/s: at less, no piece comes before its reader has given up."""


def _rate(text: str) -> int:
    """Bytes per second, 0 for no limit."""
    if text.strip().lower() == "off":
        return 0
    rate = parse_rate(text)
    if rate < LEAST_RATE:
        raise ValueError(text)
    return rate


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How one kind of value is written.

    Attributes:
        metavar: what stands for the value in usage texts; empty for a switch.
        accepts: what a person may write, for errors.
        parse: the value of a text; raises ValueError or KeyError.
        toml: which TOML types may stand for the text.
    """

    metavar: str
    accepts: str
    parse: Callable[[str], T]
    toml: tuple[type, ...] = (str,)


SWITCH = Kind("", "true or false", _boolean, (bool,))
TEXT = Kind("TEXT", "text that is not empty", _matching(r"[^\0]+"))
PATH = Kind("PATH", "a path", _matching(r"[^\0]+"))
SIZE = Kind("SIZE", "a size such as 500MiB or 20GB", parse_size, (str, int))
RATE = Kind("RATE", "a rate of at least 8kB/s, such as 20MB/s or 100Mbit/s, or off", _rate)
SECONDS = Kind("SECONDS", "a number of seconds above 0", _seconds, (str, int, float))
ADDRESS = Kind("HOST:PORT", "HOST:PORT", parse_address)
IP_ADDRESS = Kind("IP:PORT", "IP:PORT", _ip_address)
SUPERNODE = Kind("HOST:PORT|srv://NAME", "HOST:PORT or srv://NAME", parse_supernode)
OCTAL = Kind("OCTAL", "an octal mask between 000 and 777, in quotes in a file", _octal)
CONSISTENCY = Kind("POLICY", "strict, ttl=SECONDS or immutable", _consistency)
LOCATION = Kind("A|B|C", "one to three names, as in region|zone|rack", _matching(r"[\w.-]{1,64}(\|[\w.-]{1,64}){0,2}"))
ORIGIN = Kind("CIDR|HOST", "an address, a network such as 10.0.0.0/8, or a host name", _origin)
SHA256 = Kind("HEX", "64 hexadecimal digits", lambda text: _matching("[0-9a-f]{64}")(text.lower()))
LEVEL = Kind("LEVEL", "debug, info, warning or error", _matching("debug|info|warning|error"))
PIECE_SIZE = Kind("SIZE", "a power of two between 1KiB and 64MiB", _piece_size, (str, int))
VERIFY = Kind("WHEN", "first-use, always or never", Verify)
DESCRIPTOR = Kind("FD", "an open file descriptor", int)
