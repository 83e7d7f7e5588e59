"""Where a redirect leads, and what may travel along. Pure.

Source: RFC 9110, 15.4. Redirects are followed by hand because each hop is judged: a name that is sent to itself with a slash
is a directory, fields given for one origin never reach another, and nothing leads from https back to http.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from flyfs.core.errors import Denied, Unavailable
from flyfs.core.urls import RemoteUrl, parse_url

REDIRECTS_MAX = 5
REDIRECTS = frozenset((301, 302, 303, 307, 308))

#: What a caller must not set: fields that decide framing, ranges and routing are ours, and a metadata service answers only
#: to fields that a browser-like client cannot be made to send, so we cannot be made to either.
_FORBIDDEN = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "forwarded",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "metadata",
        "metadata-flavor",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    )
)
_FORBIDDEN_STARTS = ("x-forwarded-", "x-aws-ec2-metadata-", "x-google-metadata-", "x-real-ip")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")


@dataclass(frozen=True, slots=True)
class Hop:
    """The next URL to ask, with the caller's fields that may go there."""

    url: RemoteUrl
    headers: Mapping[str, str]


def check_caller_headers(headers: Mapping[str, str]) -> None:
    """Returns where every field may be sent to an origin.

    Raises:
        Denied: one may not; the message names it.
    """
    for name, value in headers.items():
        lower = name.lower()
        if lower in _FORBIDDEN or lower.startswith(_FORBIDDEN_STARTS):
            raise Denied(f"the request field {name} must not be given: flyfs sets it itself, or nobody may")
        if not _FIELD_NAME.match(name) or not _FIELD_VALUE.match(value):
            raise Denied(f"not a request field: {name[:40]!r}")


def next_hop(url: RemoteUrl, location: str | None, headers: Mapping[str, str]) -> Hop:
    """Where ``url`` is sent by a Location field.

    Raises:
        Unavailable: there is no usable Location.
        Denied: it leads from https to http.
    """
    place = url.redacted()
    if location is None:
        raise Unavailable(f"{place}: the origin redirects to nowhere")
    try:
        target = parse_url(_absolute(url, location))
    except ValueError as error:
        raise Unavailable(f"{place}: the origin redirects to no usable URL ({error})") from error
    if url.scheme == "https" and target.scheme == "http":
        raise Denied(f"{place}: refused: the origin redirects from https to http ({target.redacted()})")
    same_origin = (url.scheme, url.authority) == (target.scheme, target.authority)
    return Hop(target, headers if same_origin else {})


def _absolute(url: RemoteUrl, location: str) -> str:
    """A Location as absolute text: raw bytes (it came as Latin-1) escaped, user name and password dropped."""
    escaped = quote(location.encode("latin-1", "replace"), safe="!#$%&'()*+,/:;=?@[]~")
    parts = urlsplit(urljoin(str(url), escaped))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def leads_to_directory(url: RemoteUrl, target: RemoteUrl) -> bool:
    """Whether a redirect from ``url`` to ``target`` says that the name is a directory: the same name, with a slash.

    Scheme and port may differ: many add the slash and go to https in one step, and a server behind a mapped port names its own.
    """
    if url.is_directory or not target.is_directory or target.segments[:-1] != url.segments:
        return False
    return url.host == target.host


def stays_directory(url: RemoteUrl, target: RemoteUrl) -> bool:
    """Whether a directory's URL that was sent to ``target`` is still a directory: that has a slash too, or lies below."""
    above = url.segments[:-1]
    return target.is_directory or (target.segments[: len(above)] == above and len(target.segments) > len(above))
