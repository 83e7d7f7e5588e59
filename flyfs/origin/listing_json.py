"""nginx's ``autoindex_format json``: an array of objects with name, type, mtime and size. Pure.

Source: ngx_http_autoindex_module. Sizes are exact, times are to the second; bytes that are no UTF-8 come as they are.
"""

import json
import re
from typing import cast

from flyfs.core.remote import EntryKind
from flyfs.origin.answers import date_s
from flyfs.origin.entry_collector import EntryCollector, OriginListing

_BETWEEN = re.compile(r"[\s,]*")
_KINDS = {"file": EntryKind.FILE, "directory": EntryKind.DIRECTORY}
_DECODER = json.JSONDecoder()


def parse_json(page: bytes, place: str) -> OriginListing:
    """The names in ``page``; not listed where it is other JSON.

    Objects are decoded one by one, so that a long listing in a thread leaves the interpreter to others in between.

    Raises:
        Unavailable: it has too many names.
    """
    text = page.decode("utf-8", "surrogateescape").strip()
    if not (text.startswith("[") and text.endswith("]")):
        return OriginListing()
    collector = EntryCollector(place)
    times: dict[str, int | None] = {}  # many names share a time, and dates are slow to read
    at = _BETWEEN.match(text, 1).end()  # type: ignore[union-attr]  # matches everywhere
    while text[at] != "]":
        try:
            found, at = cast("tuple[object, int]", _DECODER.raw_decode(text, at))
        except (ValueError, RecursionError):
            return OriginListing()
        if not _add(collector, found, times):
            return OriginListing()
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # as above
    return collector.listing() if at == len(text) - 1 else OriginListing()


def _add(collector: EntryCollector, found: object, times: dict[str, int | None]) -> bool:
    """Takes one element; False where it is no listing's."""
    if not isinstance(found, dict):
        return False
    members = cast("dict[str, object]", found)
    name, kind_text = members.get("name"), members.get("type")
    if not isinstance(name, str) or not isinstance(kind_text, str):
        return False
    kind = _KINDS.get(kind_text)
    if kind is None:  # "other": a socket, a device
        collector.skip()
        return True
    size, mtime = members.get("size"), members.get("mtime")
    modified_s = None
    if isinstance(mtime, str):
        if mtime not in times:
            times[mtime] = date_s(mtime)
        modified_s = times[mtime]
    known = size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 and kind is EntryKind.FILE else None
    collector.add(name, kind, size=known, modified_s=modified_s, exact=modified_s is not None)
    return True
