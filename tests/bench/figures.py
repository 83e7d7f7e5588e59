"""What is measured, which figures come of it, and what they ought to be. Pure.

A sample is what one contender gave in one round of one measure; a figure is the median over the rounds of one key of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round.

    Attributes:
        load: the machine's load average (1 min) before it.
        busy: the part of the machine's CPU time that others used just before it, 0 to 1.
        failure: empty where it went well.
    """

    group: str
    measure: str
    contender: str
    round: int
    load: float
    busy: float = 0.0
    values: Mapping[str, float] = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """Names a figure: ``values[value]`` of a contender in a measure."""

    measure: str
    contender: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """``key`` shall be at least, or at most, ``factor`` times ``of`` plus ``constant``."""

    title: str
    key: Key
    unit: str
    direction: Literal[">=", "<="]
    factor: float = 0.0
    of: Key | None = None
    constant: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """An aim and what was measured; None where a contender did not run.

    Attributes:
        wanted: the aim in the figure's unit.
        factor: measured / reference where there is one without a constant, else measured / wanted.
    """

    aim: Aim
    wanted: float | None
    measured: float | None
    factor: float | None
    verdict: Literal["ok", "SHORT", "-"]


def medians(samples: Iterable[Sample]) -> dict[Key, float]:
    """The median over the rounds, of every value of every contender."""
    gathered: dict[Key, list[float]] = {}
    for sample in samples:
        for name, value in sample.values.items():
            gathered.setdefault(Key(sample.measure, sample.contender, name), []).append(value)
    return {key: median(values) for key, values in gathered.items()}


def judge(aims: Sequence[Aim], figures: Mapping[Key, float]) -> list[Judgement]:
    """Each aim against the figures."""
    return [_judged(aim, figures) for aim in aims]


def _judged(aim: Aim, figures: Mapping[Key, float]) -> Judgement:
    measured = figures.get(aim.key)
    reference = figures.get(aim.of) if aim.of is not None else 0.0
    if measured is None or reference is None:
        return Judgement(aim=aim, wanted=None, measured=measured, factor=None, verdict="-")
    wanted = aim.factor * reference + aim.constant
    good = measured >= wanted if aim.direction == ">=" else measured <= wanted
    base = reference if aim.of is not None and not aim.constant else wanted
    return Judgement(
        aim=aim, wanted=wanted, measured=measured, factor=measured / base if base else None, verdict="ok" if good else "SHORT"
    )
