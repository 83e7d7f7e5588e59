"""Sizes, rates and durations as people write them. Pure."""

import re

_POWERS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\Z", re.IGNORECASE)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?(b|bit)/s\Z", re.IGNORECASE)


_TOO_MUCH = 1 << 63


def parse_size(text: str) -> int:
    """Bytes in ``500MiB``, ``20GB``, ``4096``.

    Raises:
        ValueError: anything else.
    """
    found = _SIZE.match(text.strip())
    if not found:
        raise ValueError(f"not a size: {text!r} (write 500MiB or 20GB)")
    size = float(found[1]) * _POWERS[(found[2] or "").lower()]
    if size >= _TOO_MUCH:
        raise ValueError(f"more than any disk holds: {text[:40]!r}")
    return int(size)


def parse_rate(text: str) -> int:
    """Bytes per second in ``20MB/s`` or ``100Mbit/s``.

    Raises:
        ValueError: anything else, and a rate of nothing.
    """
    found = _RATE.match(text.strip())
    if not found:
        raise ValueError(f"not a rate: {text!r} (write 20MB/s or 100Mbit/s)")
    per_s = float(found[1]) * _POWERS[(found[2] or "").lower()] / (8 if found[3].lower() == "bit" else 1)
    if not 1 <= per_s < _TOO_MUCH:
        raise ValueError(f"a rate must not be nothing, or more than any network carries: {text[:40]!r}")
    return int(per_s)


def show_rate(rate: int) -> str:
    """Bytes per second for people, as ``parse_rate`` reads it: ``20MB/s``."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if rate >= factor:
            return f"{rate / factor:.3f}".rstrip("0").rstrip(".") + f"{unit}/s"
    return f"{rate}B/s"


def show_size(size: float) -> str:
    """Bytes for people: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
