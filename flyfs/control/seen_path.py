"""Where a URL is seen below a mountpoint. Pure."""

from flyfs.core.errors import NotFound
from flyfs.core.names import read_name, show_name
from flyfs.core.urls import RemoteUrl


def seen_path(url: RemoteUrl) -> str:
    """The path of ``url`` relative to a mountpoint.

    One component where that fits into a file name, because it needs no listing on the way; else a component per segment.

    Raises:
        NotFound: one segment alone is too long for a file name, so only a listing can name it.
    """
    place = f"{url.scheme}/{url.authority}"
    segments = [segment for segment in url.segments if segment]
    if not segments and not url.query:
        return place
    deep = "/".join(segments)
    if _fits(deep, url.query):
        return f"{place}/{show_name(deep, url.query)}"
    *above, last = segments or [""]
    if not all(_fits(segment, "") for segment in above) or not _fits(last, url.query):
        raise NotFound(f"{url.redacted()} has a name that is too long for a path; find it in the listing of its directory")
    return "/".join([place, *map(show_name, above), show_name(last, url.query)])


def _fits(name: str, query: str) -> bool:
    """Whether the name is shown whole: a shortened one has the form ``start~HASH`` and cannot be read back."""
    shown = show_name(name, query)
    return shown[-17:-16] != "~" or read_name(shown) == (name, query)
