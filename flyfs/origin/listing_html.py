"""Listings as HTML: nginx, Apache with and without fancy indexing, Python's ``http.server``, and whoever looks like them. Pure.

A page is a listing where its title says so ("Index of", "Directory listing for") or where it has Apache's links for sorting.
Every link to a name directly in the directory is an entry; what else links do is left aside. Only nginx tells sizes and times
that can be relied on (``listing_nginx.py``): Apache rounds sizes and writes times in a time zone that it does not name.

Each pattern stops at the next ``<``, so that reading takes linear time whatever the page.
"""

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import unquote_to_bytes

from flyfs.core.remote import EntryKind
from flyfs.core.urls import RemoteUrl, parse_url
from flyfs.origin.entry_collector import EntryCollector, OriginListing
from flyfs.origin.listing_nginx import NginxColumns, is_nginx

_TITLE = re.compile(r"<(?:title|h1)>\s*(?:index of|directory listing for)\b", re.IGNORECASE)
_SORT_LINK = re.compile(r'<a href="\?C=[NMSD];O=[AD]">')
_START = 64 * 1024
"""Title and sort links stand within this."""

_LINK = re.compile(
    r"""<a\s(?:[^<>]*?\s)?href\s*=\s*(?:"([^"<>]*)"|'([^'<>]*)')[^<>]*>([^<]*)(?:</a>([^<]*))?""",
    re.IGNORECASE,
)
_SLICE = 64 * 1024
_PLAIN_NAME = re.compile(r"[^/?#&:%.][^/?#&:%]*/?\Z")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def parse_html(page: bytes, directory: RemoteUrl, place: str) -> OriginListing:
    """The names in ``page``, found at ``directory``; not listed where it is no listing.

    Raises:
        Unavailable: it has too many names.
    """
    text = page.decode("utf-8", "surrogateescape")
    start = text[:_START]
    if not (_TITLE.search(start) or _SORT_LINK.search(start)):
        return OriginListing()
    collector = EntryCollector(place)
    nginx = NginxColumns() if is_nginx(start) else None
    for double, single, label, columns in _links(text):
        if label == "&nbsp;" or not label or label.isspace():
            continue  # an icon that links to what the next link names
        link = _name_of(double or single, directory)
        if link is None:
            continue
        name, query, is_directory = link
        modified_s, size = (None, None) if nginx is None else nginx.read(columns)
        if is_directory:
            collector.add(name, EntryKind.DIRECTORY, modified_s=modified_s)
        else:
            collector.add(name, EntryKind.FILE, query=query, size=size, modified_s=modified_s)
    return collector.listing()


def _links(text: str) -> Iterator[tuple[str, str, str, str]]:
    """All links: target in double quotes, or else in single ones; label; the text after it.

    Searched slice by slice, so that a long listing in a thread leaves the interpreter to others in between.
    """
    start = 0
    while start < len(text):
        stop = text.find("<a", start + _SLICE)
        stop = len(text) if stop < 0 else stop
        yield from _LINK.findall(text, start, stop)
        start = stop


def _name_of(href: str, directory: RemoteUrl) -> tuple[str, str, bool] | None:
    """Decoded name, raw query, and whether it ends with a slash; None for a link to anything but a name in the directory."""
    if _PLAIN_NAME.match(href):
        return href.rstrip("/"), "", href.endswith("/")
    reference = unescape(href).partition("#")[0]
    path, mark, query = reference.partition("?")
    if not path or path in (".", "./", "..", "../"):
        return None  # the page itself, sorted otherwise, or the directory above
    if _SCHEME.match(path) or path.startswith("//"):
        relative = _within_origin(path, directory)
    elif path.startswith("/"):
        relative = _below(path, directory)
    else:
        relative = path.removeprefix("./")
    if relative is None:
        return None
    is_directory = relative.endswith("/")
    raw = relative.removesuffix("/")
    if not raw or "/" in raw:
        return None  # the directory itself, or deeper below or above
    name = _decoded(raw)
    return name, parse_url(f"http://{directory.authority}/?{query}").query if mark else "", is_directory


def _within_origin(reference: str, directory: RemoteUrl) -> str | None:
    """What an absolute reference names below ``directory``; None where it leads elsewhere."""
    absolute = f"{directory.scheme}:{reference}" if reference.startswith("//") else reference
    scheme, _, rest = absolute.partition("://")
    authority, slash, path = rest.partition("/")
    try:
        target = parse_url(f"{scheme}://{authority}/")
    except ValueError:
        return None
    if (target.scheme, target.authority) != (directory.scheme, directory.authority):
        return None
    return _below(slash + path, directory)


def _below(path: str, directory: RemoteUrl) -> str | None:
    """The part of an absolute path below ``directory``, still encoded; None where it is not below."""
    parts = path.split("/")[1:]
    above = directory.segments[:-1]
    if len(parts) <= len(above) or tuple(_decoded(part) for part in parts[: len(above)]) != above:
        return None
    return "/".join(parts[len(above) :])


def _decoded(raw: str) -> str:
    return unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
