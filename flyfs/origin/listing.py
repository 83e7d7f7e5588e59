"""The names in a directory, from whatever page its origin shows for it. Pure.

A page that is no known listing makes a directory that is not listed: it may be entered, but its names are not known.
"""

from flyfs.core.urls import RemoteUrl
from flyfs.origin.entry_collector import OriginListing
from flyfs.origin.listing_html import parse_html
from flyfs.origin.listing_json import parse_json


def parse_listing(page: bytes, content_type: str, directory: RemoteUrl, place: str) -> OriginListing:
    """The listing in ``page``.

    Args:
        page: the body of the directory's URL.
        content_type: its Content-Type, as it came.
        directory: where the page was found, after redirects: links are relative to it.
        place: the URL for people.

    Raises:
        Unavailable: it has too many names.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        return parse_html(page, directory, place)
    if kind == "application/json":
        return parse_json(page, place)
    return OriginListing()
