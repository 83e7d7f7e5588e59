"""What ``flyfs cache`` tells people. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from flyfs.cli.table import in_columns
from flyfs.core.units import show_size
from flyfs.store.holdings import SHORT_ID_DIGITS

Row = Mapping[str, Any]

_ID_DIGITS = SHORT_ID_DIGITS + 4
"""Enough that two of a million blobs seldom begin alike."""


def tabulate(directory: str, rows: Sequence[Row], answer: Row) -> str:
    """One cache: a line of sums, and a line per blob, the most recently used first."""
    limit = "" if answer["limit_bytes"] is None else f" of {show_size(answer['limit_bytes'])}"
    head = f"{directory}: {show_size(answer['used_bytes'])}{limit} in {count(len(rows), 'blob')}\n"
    if not rows:
        return head
    cells = [("BLOB", "HELD", "SIZE", "PIECES", "USED", "", "URL")]
    cells += [
        (
            row["id"][:_ID_DIGITS],
            show_size(row["held_bytes"]),
            show_size(row["size"]),
            f"{row['held_pieces']}/{row['pieces']}",
            row["used_at"],
            "in use" if row["in_use"] else "",
            row["url"],
        )
        for row in reversed(rows)
    ]
    return head + in_columns(cells)


def tell_removed(rows: Sequence[Row]) -> str:
    """What was dropped, a line per blob."""
    return "".join(f"dropped {row['id'][:_ID_DIGITS]} ({show_size(row['held_bytes'])}) {row['url']}\n" for row in rows)


def tell_collected(directory: str, answer: Row) -> str:
    """What a collection came to."""
    freed = f"freed {show_size(answer['freed_bytes'])} of {count(answer['blobs'], 'blob')}"
    return f"{directory}: {freed}; {show_size(answer['used_bytes'])} are left\n"


def tell_damage(row: Row) -> str:
    """One piece, or a whole blob, that was damaged."""
    what = f"blob {row['id'][:_ID_DIGITS]}" if row["piece"] is None else f"piece {row['piece']} of blob {row['id'][:_ID_DIGITS]}"
    return f"damaged: {what}: {row['reason']}; dropped ({row['url']})\n"


def tell_verified(directory: str, answer: Row) -> str:
    """What a verification came to."""
    looked = f"{count(answer['pieces'], 'piece')} of {count(answer['blobs'], 'blob')}, {show_size(answer['bytes'])}"
    return f"{directory}: {looked}: {'all right' if not answer['damaged'] else str(answer['damaged']) + ' damaged'}\n"


def count(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
