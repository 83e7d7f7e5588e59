"""The figures for people and programs: tables on the terminal, JSON in a file. Shell (writes a file and the terminal)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Judgement, Key, Sample

_WIDTH = 150
"""Where the output is no terminal."""


def show(
    figures: Mapping[Key, float], judgements: Sequence[Judgement], samples: Sequence[Sample], machine: Mapping[str, str]
) -> None:
    """Prints everything."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(_aims_table(judgements), _figures_table(figures), _cpu_table(figures))
    for sample in samples:
        if sample.failure:
            console.print(f"FAILED {sample.measure} · {sample.contender}: {sample.failure}", style="red", markup=False)
    console.print(" · ".join(f"{name} {value}" for name, value in machine.items()), style="dim", markup=False)


def _aims_table(judgements: Sequence[Judgement]) -> Table:
    table = Table("figure", "aim", "measured", "factor", "", title="Aims")
    for one in judgements:
        sign, unit = one.aim.direction, one.aim.unit
        table.add_row(
            one.aim.title,
            "-" if one.wanted is None else f"{sign} {_number(one.wanted)} {unit}",
            "-" if one.measured is None else f"{_number(one.measured)} {unit}",
            "-" if one.factor is None else f"{one.factor:.2f}",
            one.verdict,
            style="red" if one.verdict == "SHORT" else None,
        )
    return table


def _figures_table(figures: Mapping[Key, float]) -> Table:
    table = Table("measure", "contender", "medians", title="All figures")
    rows: dict[tuple[str, str], list[str]] = {}
    for key, value in figures.items():
        if not key.value.startswith("cpu_"):
            rows.setdefault((key.measure, key.contender), []).append(f"{key.value} {_number(value)}")
    for (measure, contender), told in rows.items():
        table.add_row(measure, contender, ", ".join(told))
    return table


def _cpu_table(figures: Mapping[Key, float]) -> Table:
    table = Table("measure", "contender", "CPU seconds per GiB, by process", title="CPU")
    rows: dict[tuple[str, str], list[str]] = {}
    for key, value in figures.items():
        if key.value.startswith("cpu_"):
            rows.setdefault((key.measure, key.contender), []).append(f"{key.value.removeprefix('cpu_s_per_gib_')} {value:.2f}")
    for (measure, contender), told in rows.items():
        table.add_row(measure, contender, ", ".join(told))
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_json(
    path: Path,
    figures: Mapping[Key, float],
    judgements: Sequence[Judgement],
    samples: Sequence[Sample],
    machine: Mapping[str, str],
) -> None:
    """Everything, with each round."""
    document = {
        "machine": dict(machine),
        "aims": [
            {"title": one.aim.title, "unit": one.aim.unit, "direction": one.aim.direction}
            | {"aim": one.wanted, "measured": one.measured, "factor": one.factor, "verdict": one.verdict}
            for one in judgements
        ],
        "medians": [asdict(key) | {"median": value} for key, value in figures.items()],
        "samples": [asdict(sample) for sample in samples],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
