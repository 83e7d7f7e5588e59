"""The columns of nginx's HTML listing: time to the minute in UTC, exact size. Pure.

Source: ngx_http_autoindex_module. After ``</a>`` comes ``23-Nov-2026 15:40`` and a size in bytes; directories have ``-``, and
with ``autoindex_exact_size off`` sizes may be rounded (``5M``), which are not taken. With ``autoindex_localtime on`` times are in
an unnamed zone; that cannot be seen, so what a listing tells of times is only ever a hint.
"""

import re
from datetime import UTC, datetime

_TIME = re.compile(r"(\d\d)-([A-Z][a-z]{2})-(\d{4}) (\d\d):(\d\d)\Z", re.ASCII)
_MONTHS = {
    name: number
    for number, name in enumerate(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)
}


def is_nginx(start: str) -> bool:
    """Whether a listing that begins with ``start`` is nginx's: only there the names follow the heading at once."""
    return "</h1><hr><pre><a href" in start


class NginxColumns:
    """Reads the columns; remembers times, because most names of a directory share a few."""

    def __init__(self) -> None:
        self._times: dict[str, int | None] = {}

    def read(self, columns: str) -> tuple[int | None, int | None]:
        """The time in seconds since 1970, cut to the minute, and the size in bytes; None for what ``columns`` does not tell."""
        words = columns.split()
        if len(words) != 3:
            return None, None
        day, clock, size = words
        time = f"{day} {clock}"
        if time not in self._times:
            self._times[time] = _time_s(time)
        return self._times[time], int(size) if len(size) < 20 and size.isascii() and size.isdigit() else None


def _time_s(text: str) -> int | None:
    found = _TIME.match(text)
    if found is None:
        return None
    day, month, year, hour, minute = found.groups()
    try:
        return int(datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), tzinfo=UTC).timestamp())
    except (KeyError, ValueError):
        return None
