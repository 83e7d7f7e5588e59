"""How remote names are shown in the mounted tree, and back. Pure.

Shown names are decoded, except ``/`` → ``%2F``, NUL → ``%00``, ``?`` → ``%3F``, and ``%`` → ``%25`` where two hex digits
follow. A shown name with a literal ``?`` is a name with a query, which is shown raw, so that it may be pasted: only ``/`` →
``%2F``, NUL → ``%00``, and ``%`` → ``%25`` where it would be read as one of these. What exceeds 255 bytes is shown as
``start~HASH``.
"""

import re
from hashlib import blake2b

NAME_MAX = 255
_HASH_DIGITS = 16
_ESCAPE = re.compile(r"[/\0?]|%(?=[0-9A-Fa-f]{2})")
_UNESCAPE = re.compile(r"%(2[Ff]|00|3[Ff]|25)")
_QUERY_ESCAPE = re.compile(r"[/\0]|%(?=(?:25)*(?:2[Ff]|00))")
_QUERY_UNESCAPE = re.compile(r"%(2[Ff]|00|25(?=(?:25)*(?:2[Ff]|00)))")


def show_name(name: str, query: str = "") -> str:
    """The file name under which a decoded path segment is shown; never longer than 255 bytes."""
    shown = _ESCAPE.sub(_escaped, name)
    if query:
        shown += "?" + _QUERY_ESCAPE.sub(_escaped, query)
    raw = shown.encode("utf-8", "surrogateescape")
    return shown if len(raw) <= NAME_MAX else _shorten(raw)


def _shorten(raw: bytes) -> str:
    digest = blake2b(raw, digest_size=_HASH_DIGITS // 2).hexdigest()
    start = raw[: NAME_MAX - _HASH_DIGITS - 1].decode("utf-8", "ignore")  # never half a character
    return f"{start}~{digest}"


def read_name(shown: str) -> tuple[str, str]:
    """The decoded name and the raw query that a shown name stands for; slashes in the name are path separators.

    A shortened name cannot be read back: only its listing knows it.
    """
    name, _, query = shown.partition("?")
    return _UNESCAPE.sub(_character, name), _QUERY_UNESCAPE.sub(_character, query)


def _escaped(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def _character(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))
