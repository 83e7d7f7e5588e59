"""The times of a crowd, and their drawing."""

import xml.etree.ElementTree as ET

import pytest

from tests.bench.completion import crowd_measure, mean_by_crowd, summary
from tests.bench.curves import curves, grid_step
from tests.bench.figures import Key


def test_the_last_of_a_small_crowd_is_its_p99() -> None:
    told = summary([4.0, 1.0, 3.0, 2.0])

    assert told == {"mean_s": 2.5, "first_s": 1.0, "p99_s": 4.0, "max_s": 4.0}


def test_the_p99_of_two_hundred_leaves_two_out() -> None:
    told = summary([float(number) for number in range(1, 201)])

    assert (told["p99_s"], told["max_s"]) == (198.0, 200.0)


def test_means_are_sorted_by_the_size_of_the_crowd_and_nothing_else_is_taken() -> None:
    figures = {
        Key(crowd_measure(30), "wget", "mean_s"): 126.0,
        Key(crowd_measure(4), "wget", "mean_s"): 17.0,
        Key(crowd_measure(4), "wget", "max_s"): 18.0,
        Key(crowd_measure(4), "flyfs", "mean_s"): 9.0,
        Key("cold", "flyfs", "mean_s"): 1.0,
    }

    assert mean_by_crowd(figures) == {"wget": [(4, 17.0), (30, 126.0)], "flyfs": [(4, 9.0)]}


@pytest.mark.parametrize(("highest", "step"), [(8.4, 1.0), (10.0, 1.0), (10.1, 2.0), (126.0, 20.0), (0.004, 0.001)])
def test_a_grid_has_round_steps_and_at_most_ten_of_them(highest: float, step: float) -> None:
    assert grid_step(highest) == pytest.approx(step)


def test_a_drawing_is_well_formed_and_higher_times_lie_higher() -> None:
    drawn = ET.fromstring(curves({"wget": [(1, 8.0), (30, 126.0)], "flyfs": [(1, 8.0)]}, title="a < b", caption="c & d"))

    circles = [float(one.attrib["cy"]) for one in drawn.iter("{http://www.w3.org/2000/svg}circle")]
    assert circles[1] < circles[0] == circles[2]
