"""Runs groups: everything of a group stands at the same time, and the rounds of its contenders take turns. Shell.

What disturbs the machine for a while then disturbs all contenders alike.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from tests.bench.figures import Sample
from tests.bench.ground import Ground
from tests.bench.machine import wait_quiet
from tests.bench.neighbours import missing

Round = Callable[[], Mapping[str, float]]
"""One timed round; prepares and cleans up for itself, outside the time it tells."""
Contender = Callable[[Ground], AbstractContextManager[Mapping[str, Round]]]
"""Sets up, gives a round for each measure it takes part in, tears down."""
Teller = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Measures in their order, and who takes part.

    Attributes:
        most_rounds: for what takes long and varies little.
        left_out_when_quick: contenders that take long and are nobody's reference.
    """

    name: str
    measures: Sequence[str]
    contenders: Mapping[str, Contender]
    most_rounds: int = 1000
    left_out_when_quick: Collection[str] = ()


def run_group(group: Group, ground: Ground, *, rounds: int, patience_s: float = 0.0, tell: Teller) -> Iterator[Sample]:
    """The samples as they come. A contender that fails is out of the group; the failure is a sample, too.

    Each round waits for a quiet machine for ``patience_s`` at most.
    """
    with ExitStack() as standing:
        playing: dict[str, Mapping[str, Round]] = {}
        for name, contender in group.contenders.items():
            if (ground.quick and name in group.left_out_when_quick) or name.split(",")[0] in missing():
                continue
            start_s = time.monotonic()
            try:
                playing[name] = standing.enter_context(contender(ground))
                tell(f"set-up · {name} ({time.monotonic() - start_s:.1f} s)")
            except Exception as error:  # whatever one contender's trouble is, the others go on
                yield _failed(group.name, "set-up", name, 0, error)
        for measure in group.measures:
            for number in range(min(rounds, group.most_rounds)):
                yield from _one_round(group.name, measure, number, playing, patience_s=patience_s, tell=tell)


def _one_round(
    group: str, measure: str, number: int, playing: dict[str, Mapping[str, Round]], *, patience_s: float, tell: Teller
) -> Iterator[Sample]:
    names = [name for name in playing if measure in playing[name]]
    turn = number % len(names) if names else 0
    for name in names[turn:] + names[:turn]:
        load, busy = os.getloadavg()[0], wait_quiet(patience_s)
        start_s = time.monotonic()
        try:
            values = playing[name][measure]()
        except Exception as error:  # as above
            del playing[name]
            yield _failed(group, measure, name, number, error)
        else:
            shown = ", ".join(f"{key} {value:.4g}" for key, value in values.items() if not key.startswith("cpu_"))
            tell(f"{measure} · {name} · round {number + 1}: {shown} ({time.monotonic() - start_s:.1f} s; others {busy:.0%})")
            yield Sample(group=group, measure=measure, contender=name, round=number, load=load, busy=busy, values=values)


def _failed(group: str, measure: str, name: str, number: int, error: Exception) -> Sample:
    return Sample(
        group=group,
        measure=measure,
        contender=name,
        round=number,
        load=os.getloadavg()[0],
        failure=f"{type(error).__name__}: {error}",
    )
