"""Bars in SVG, one panel per measure. Pure."""

from collections.abc import Mapping, Sequence
from html import escape

from tests.bench.figures import Key

_SHOWN = (
    "mb_per_s",
    "reads_per_s",
    "cold_s",
    "warm_s",
    "ms",
    "read_p99_ms",
    "toy_read_p99_ms",
    "loop_lag_p99_ms",
    "upload_mb_per_s",
    "fetch_mb_per_s",
    "idle_p99_ms",
    "busy_p99_ms",
)
_UNITS = {"mb_per_s": "MB/s", "reads_per_s": "reads/s", "ms": "ms", "cold_s": "s", "warm_s": "s"}
_OURS, _THEIRS = "#2563a8", "#a3aab5"
_WIDTH, _LABEL, _BAR, _GAP, _HEAD = 860, 190, 18, 6, 40
_FONT = 'font-family="sans-serif" font-size="12"'


def bars(figures: Mapping[Key, float], *, caption: str) -> str:
    """A drawing of what can be compared by length; ours are blue."""
    panels = _panels(figures)
    y = 50
    parts: list[str] = []
    for title, rows in panels:
        parts.append(f'<text x="10" y="{y + 18}" {_FONT} font-weight="bold">{escape(title)}</text>')
        y += _HEAD - 12
        most = max(value for _, value in rows) or 1.0
        for name, value in rows:
            length = max(1.0, value / most * (_WIDTH - _LABEL - 110))
            colour = _OURS if name.startswith("flyfs") else _THEIRS
            parts.append(f'<text x="{_LABEL - 8}" y="{y + 13}" {_FONT} text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="{_LABEL}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>')
            shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
            parts.append(f'<text x="{_LABEL + length + 6:.1f}" y="{y + 13}" {_FONT}>{shown}</text>')
            y += _BAR + _GAP
        y += 14
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}">'
        f'<rect width="{_WIDTH}" height="{y}" fill="white"/>'
        f'<text x="10" y="26" font-family="sans-serif" font-size="16">flyfs beside its neighbours (medians)</text>'
        f'<text x="10" y="44" font-family="sans-serif" font-size="10" fill="#666">{escape(caption)}</text>'
    )
    return head + "".join(parts) + "</svg>\n"


def _panels(figures: Mapping[Key, float]) -> Sequence[tuple[str, list[tuple[str, float]]]]:
    panels: dict[str, list[tuple[str, float]]] = {}
    for key, value in figures.items():
        # Lags of cold reads are in the tables; a panel of one bar says little, but under load it is all there is.
        if key.value in _SHOWN and not (key.measure == "cold" and key.value != "mb_per_s"):
            unit = _UNITS.get(key.value, key.value)
            kind = {"cold_s": ", cold", "warm_s": ", warm"}.get(key.value, "")
            panels.setdefault(f"{key.measure}{kind} [{unit}]", []).append((key.contender, value))
    return list(panels.items())
