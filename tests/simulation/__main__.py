"""``just simulate --peers N``: one run of the whole swarm in virtual time, as a table, JSON and a chart of completion times."""

import argparse
import json
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path

from tests.simulation.chart import chart
from tests.simulation.settings import Reading, Settings
from tests.simulation.swarm import Outcome, simulate


def arguments() -> argparse.ArgumentParser:
    """The command line; its names are those of ``Settings``."""
    parser = argparse.ArgumentParser(prog="just simulate", description=__doc__)
    parser.add_argument("--peers", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reading", type=Reading, choices=list(Reading), default=Reading.BULK)
    parser.add_argument("--pieces", type=int, default=200)
    parser.add_argument("--piece-bytes", type=int, default=1 << 20)
    parser.add_argument("--arrivals-s", type=float, default=0.05)
    parser.add_argument("--slow", type=float, default=0.0, help="this share sends at a hundredth of the rate")
    parser.add_argument("--liars", type=int, default=0)
    parser.add_argument("--deaths", type=int, default=0)
    parser.add_argument("--supernode-lost-s", type=float, default=None)
    parser.add_argument("--regions", type=int, default=1)
    parser.add_argument("--region-line", type=float, default=None, help="bytes per second between two regions")
    parser.add_argument("--json", type=Path, help="write the outcome there")
    parser.add_argument("--svg", type=Path, help="draw the completion times there")
    return parser


def table(outcome: Outcome) -> str:
    """What came of it, for people."""
    lines = [f"{one.name:>20}  {_shown(getattr(outcome, one.name))}" for one in fields(outcome) if one.name != "times"]
    return "\n".join(lines)


def _shown(value: object) -> str:
    match value:
        case float():
            return f"{value:.4f}"
        case dict():
            return ", ".join(f"{name} {count}" for name, count in value.items())
        case _:
            return str(value)


def main(words: list[str]) -> int:
    """Runs once; 1 where somebody did not finish."""
    parser = arguments()
    given = vars(parser.parse_args(words))
    json_path, svg_path = given.pop("json"), given.pop("svg")
    try:
        settings = Settings(**given)
    except ValueError as error:
        parser.error(str(error))
    began = time.monotonic()
    outcome = simulate(settings)
    print(table(outcome))
    print(f"{'took':>20}  {time.monotonic() - began:.1f} s")
    if json_path is not None:
        json_path.write_text(json.dumps({"settings": asdict(settings), "outcome": asdict(outcome)}, default=str, indent=1))
    if svg_path is not None:
        svg_path.write_text(chart(settings, outcome))
    return 0 if outcome.finished == settings.peers - settings.liars - settings.deaths else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
