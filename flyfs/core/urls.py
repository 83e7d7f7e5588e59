"""Canonical URLs: one spelling per remote name, because blob ids and caches are keyed by it. Pure (RFC 3986, 6.2)."""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import quote, unquote_to_bytes, urlsplit

SCHEMES = {"http": 80, "https": 443}
_PATH_SAFE = "!$&'()*+,;=:@-._~"
_QUERY_SAFE = _PATH_SAFE + "/?%"
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?\Z")
_IPV6 = re.compile(r"\[([0-9a-f:.]{2,45})\]\Z")


@dataclass(frozen=True, slots=True)
class RemoteUrl:
    """A canonical URL in parts.

    Attributes:
        scheme: ``http`` or ``https``.
        authority: host in lower case, with ``:PORT`` unless it is the scheme's default.
        segments: decoded path segments; a trailing empty one means a directory (``a/`` is ``("a", "")``, the root ``("",)``).
        query: raw query, empty for none.
    """

    scheme: str
    authority: str
    segments: tuple[str, ...]
    query: str = ""

    def __str__(self) -> str:
        path = "/".join(quote(segment.encode("utf-8", "surrogateescape"), safe=_PATH_SAFE) for segment in self.segments)
        return f"{self.scheme}://{self.authority}/{path}" + (f"?{self.query}" if self.query else "")

    @property
    def is_directory(self) -> bool:
        """Whether the path ends with a slash."""
        return self.segments[-1] == ""

    @property
    def host(self) -> str:
        """The host without brackets and port."""
        return split_authority(self.scheme, self.authority)[0]

    @property
    def port(self) -> int:
        """The port, the scheme's default where none is named."""
        return split_authority(self.scheme, self.authority)[1]

    def as_directory(self) -> "RemoteUrl":
        """The same name with a trailing slash and no query."""
        return self if self.is_directory else RemoteUrl(self.scheme, self.authority, (*self.segments, ""))

    def child(self, name: str, query: str = "") -> "RemoteUrl":
        """A name in this directory; slashes in ``name`` become path separators (a deep path as one component)."""
        above = self.segments[:-1] if self.is_directory else self.segments
        return RemoteUrl(self.scheme, self.authority, (*above, *name.split("/")), query)

    def redacted(self) -> str:
        """For people: without the query, which may hold a signature."""
        return str(RemoteUrl(self.scheme, self.authority, self.segments)) + ("?…" if self.query else "")


def parse_url(text: str) -> RemoteUrl:
    """``text`` in canonical form: lower-case host, no default port, no dot segments, no userinfo, no fragment.

    Raises:
        ValueError: it is no http(s) URL; the message says what is wrong.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {text[:200]!r} ({error})") from None
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        raise ValueError(f"not an http or https URL: {text[:200]!r}")
    if "@" in parts.netloc:
        raise ValueError("a URL must not carry a user name or password")
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc.removesuffix(":")
    authority = canonical_authority(scheme, host if port is None else f"{host}:{port}")
    query = quote(parts.query.encode("utf-8", "surrogateescape"), safe=_QUERY_SAFE)
    return RemoteUrl(scheme, authority, _segments(parts.path), query)


def _segments(path: str) -> tuple[str, ...]:
    """Decoded segments with dot segments resolved; empty inner segments are dropped."""
    raw = path.split("/")
    kept: list[str] = []
    for segment in raw:
        decoded = unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
        if decoded == "..":
            del kept[-1:]
        elif decoded not in ("", "."):
            kept.extend(part for part in decoded.split("/") if part not in ("", ".", ".."))
    if raw[-1] in ("", ".", "..") or not kept:
        kept.append("")
    if any("\0" in segment for segment in kept):
        raise ValueError("a URL path must not hold NUL")
    return tuple(kept)


def canonical_authority(scheme: str, text: str) -> str:
    """``HOST[:PORT]`` in canonical form: lower case, names as IDNA, IPv6 shortened, the default port dropped.

    Raises:
        ValueError: no host, or no port between 1 and 65535.
    """
    host, port = split_authority(scheme, text)
    shown = f"[{host}]" if ":" in host else host
    return shown if port == SCHEMES[scheme] else f"{shown}:{port}"


def split_authority(scheme: str, text: str) -> tuple[str, int]:
    """Host (lower case, IDNA, IPv6 without brackets) and port of ``HOST[:PORT]``.

    Raises:
        ValueError: as ``canonical_authority``.
    """
    host, colon, port_text = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port_text = text, str(SCHEMES[scheme])
    canonical = _canonical_host(host)
    if canonical is None:
        raise ValueError(f"not a host name: {host[:100]!r}")
    if not port_text.isascii() or not port_text.isdigit() or not 0 < int(port_text) < 65536:
        raise ValueError(f"not a port: {port_text[:20]!r}")
    return canonical, int(port_text)


def _canonical_host(text: str) -> str | None:
    try:
        host = (text if text.isascii() else text.encode("idna").decode("ascii")).lower()
        if literal := _IPV6.match(host):
            return str(IPv6Address(literal[1]))
    except ValueError:  # UnicodeError and AddressValueError are such
        return None
    return host.removesuffix(".") if _HOST.match(host) else None
