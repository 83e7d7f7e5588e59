"""When the readers of one file were done, all having started together. Pure."""

import math
from collections.abc import Mapping, Sequence

from tests.bench.figures import Key

_PREFIX = "crowd of "


def crowd_measure(size: int) -> str:
    """The name of the measure with so many readers."""
    return f"{_PREFIX}{size}"


def summary(ends_s: Sequence[float]) -> dict[str, float]:
    """What the chart and the aims need; the p99 is the value of a reader, so it is the last one's up to a hundred of them."""
    ordered = sorted(ends_s)
    return {
        "mean_s": sum(ordered) / len(ordered),
        "first_s": ordered[0],
        "p99_s": ordered[math.ceil(0.99 * len(ordered)) - 1],
        "max_s": ordered[-1],
    }


def mean_by_crowd(figures: Mapping[Key, float]) -> dict[str, list[tuple[int, float]]]:
    """For each contender its mean times over the crowds' sizes."""
    found: dict[str, list[tuple[int, float]]] = {}
    for key, value in figures.items():
        if key.measure.startswith(_PREFIX) and key.value == "mean_s":
            found.setdefault(key.contender, []).append((int(key.measure.removeprefix(_PREFIX)), value))
    return {contender: sorted(points) for contender, points in found.items()}
