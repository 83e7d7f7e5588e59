"""Medians, aims and bars: what the benchmarks say when they have measured."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import pytest

from tests.bench.aims import AIMS
from tests.bench.drawing import bars
from tests.bench.figures import Aim, Key, Sample, judge, medians
from tests.bench.ground import Ground
from tests.bench.runner import Contender, Group, Round, run_group

OURS, THEIRS = Key("cold", "flyfs", "mb_per_s"), Key("cold", "rclone", "mb_per_s")


def a_sample(contender: str, value: float, *, number: int = 0) -> Sample:
    return Sample(group="g", measure="cold", contender=contender, round=number, load=0.0, values={"mb_per_s": value})


def test_a_figure_is_the_median_of_its_rounds() -> None:
    samples = [a_sample("flyfs", value, number=number) for number, value in enumerate((100.0, 900.0, 110.0))]

    assert medians(samples) == {OURS: 110.0}


@pytest.mark.parametrize(("measured", "verdict"), [(120.0, "ok"), (119.0, "SHORT")])
def test_a_relative_aim_is_judged_against_the_neighbour_and_tells_the_factor(measured: float, verdict: str) -> None:
    aim = Aim(title="t", key=OURS, unit="MB/s", direction=">=", factor=1.2, of=THEIRS)

    (found,) = judge([aim], {OURS: measured, THEIRS: 100.0})

    assert (found.wanted, found.factor, found.verdict) == (120.0, measured / 100, verdict)


@pytest.mark.parametrize(("measured", "verdict"), [(130.0, "ok"), (131.0, "SHORT")])
def test_an_aim_of_round_trips_and_a_grace_is_judged_against_their_sum(measured: float, verdict: str) -> None:
    aim = Aim(title="t", key=OURS, unit="ms", direction="<=", factor=2, of=THEIRS, constant=30)

    (found,) = judge([aim], {OURS: measured, THEIRS: 50.0})

    assert (found.wanted, found.factor, found.verdict) == (130.0, measured / 130, verdict)


def test_what_did_not_run_is_not_judged() -> None:
    found = judge(AIMS, {})

    assert {one.verdict for one in found} == {"-"}


def test_the_drawing_is_xml_and_shows_every_contender() -> None:
    drawing = bars({OURS: 200.0, Key("cold", "a < b", "mb_per_s"): 0.0}, caption="a & b")

    words = {element.text for element in ET.fromstring(drawing).iter() if element.text}
    assert {"flyfs", "a < b", "200", "a & b"} <= words


def a_contender(log: list[str], name: str, *, fails: bool = False) -> Contender:
    @contextmanager
    def contender(ground: Ground) -> Iterator[Mapping[str, Round]]:
        def one() -> Mapping[str, float]:
            log.append(name)
            if fails:
                raise OSError("no room")
            return {"mb_per_s": 1.0}

        yield {"cold": one}
        log.append(f"{name} ended")

    return contender


class FullGround:
    quick = False


def test_rounds_take_turns_and_one_failure_stops_nobody_else() -> None:
    log: list[str] = []
    names = {name: a_contender(log, name, fails=name == "b") for name in ("a", "b", "c")}
    group = Group(name="g", measures=["cold"], contenders=names)

    samples = list(run_group(group, cast("Ground", FullGround()), rounds=2, tell=lambda line: None))

    assert log == ["a", "b", "c", "c", "a", "c ended", "b ended", "a ended"]
    assert [(sample.contender, sample.failure) for sample in samples if sample.failure] == [("b", "OSError: no room")]
