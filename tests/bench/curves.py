"""Mean times over the number of readers, in SVG, as in the chart of Dragonfly's README. Pure."""

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 860, 460, 60, 60, 110, 50
_OURS, _THEIRS = "#2563a8", "#a3aab5"
_FONT = 'font-family="sans-serif" font-size="12"'
_STEPS = (1, 2, 5)


def curves(series: Mapping[str, Sequence[tuple[int, float]]], *, title: str, caption: str) -> str:
    """One line per contender from its points (readers, seconds); ours is blue. Each point tells its value."""
    most_readers = max(readers for points in series.values() for readers, _ in points)
    step = grid_step(max(seconds for points in series.values() for _, seconds in points))
    highest = step * (int(max(seconds for points in series.values() for _, seconds in points) / step) + 1)

    def x(readers: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * readers / most_readers

    def y(seconds: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * seconds / highest

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="10" y="24" font-family="sans-serif" font-size="16">{escape(title)}</text>',
        f'<text x="10" y="42" font-family="sans-serif" font-size="10" fill="#666">{escape(caption)}</text>',
    ]
    for number in range(round(highest / step) + 1):
        line = number * step
        parts.append(f'<path d="M{_LEFT} {y(line):.1f}H{_WIDTH - _RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y(line) + 4:.1f}" {_FONT} text-anchor="end">{line:g} s</text>')
    parts += [
        f'<text x="{x(readers):.1f}" y="{_HEIGHT - _BOTTOM + 18}" {_FONT} text-anchor="middle">{readers}</text>'
        for readers in sorted({readers for points in series.values() for readers, _ in points})
    ]
    parts.append(f'<text x="{_WIDTH / 2:.0f}" y="{_HEIGHT - 10}" {_FONT} text-anchor="middle">readers at once</text>')
    for name, points in series.items():
        colour = _OURS if name.startswith("flyfs") else _THEIRS
        places = [(x(readers), y(seconds)) for readers, seconds in points]
        line_of = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
        parts.append(f'<polyline points="{line_of}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (left, top), (_, seconds) in zip(places, points, strict=True):
            parts.append(f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{colour}"/>')
            parts.append(
                f'<text x="{left:.1f}" y="{top - 8:.1f}" {_FONT} fill="{colour}" text-anchor="middle">{seconds:.1f}</text>'
            )
        parts.append(
            f'<text x="{places[-1][0] + 24:.1f}" y="{places[-1][1] + 4:.1f}" {_FONT} fill="{colour}">{escape(name)}</text>'
        )
    return "\n".join(parts) + "\n</svg>\n"


def grid_step(highest: float) -> float:
    """The least round step (1, 2 or 5 times a power of ten) that needs at most ten lines."""
    power = 10.0**-3
    while True:
        for step in _STEPS:
            if highest <= 10 * step * power:
                return step * power
        power *= 10
