"""Whole swarms of real pickers, upload slots and a coordinator, in virtual time.

The gates are those of the seed product's benchmark, 200 MiB to clients of 200 Mbit/s; ``just simulate`` runs larger ones.
"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tests.simulation.__main__ import main
from tests.simulation.settings import Reading, Settings
from tests.simulation.swarm import Outcome, simulate

SEED = 1


@cache
def run(settings: Settings) -> Outcome:
    """One run; several tests look at the same."""
    return simulate(settings)


def bulk(peers: int) -> Settings:
    return Settings(peers=peers, seed=SEED)


def in_lock_step(peers: int) -> Settings:
    return replace(bulk(peers), reading=Reading.SEQUENTIAL)


SMALL = Settings(peers=8, pieces=100, piece_bytes=256 * 1024)


# -- the gates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("peers", "mean", "p99"), [(100, 1.065, 1.10), (300, 1.085, 1.12)])
def test_a_flash_crowd_takes_little_longer_than_its_lines_do(peers: int, mean: float, p99: float) -> None:
    outcome = run(bulk(peers))

    assert outcome.finished == peers
    assert outcome.mean <= mean
    assert outcome.p99 <= p99


@pytest.mark.parametrize("peers", [100, 300])
def test_the_origin_is_read_once_and_the_supernode_has_little_to_do(peers: int) -> None:
    outcome = run(bulk(peers))

    assert outcome.origin_copies == 1.0
    assert outcome.supernode_copies <= 3.5
    assert outcome.messages_per_peer <= 15
    assert outcome.duplicates <= 0.02
    assert outcome.most_sent <= 1.5


@pytest.mark.parametrize("peers", [100, 300])
def test_readers_in_lock_step_take_hardly_longer_than_bulk(peers: int) -> None:
    outcome = run(in_lock_step(peers))

    assert outcome.finished == peers
    assert outcome.mean <= 1.05 * run(bulk(peers)).mean
    assert outcome.origin_copies == 1.0
    assert outcome.messages_per_peer <= 15


def test_a_crowd_that_opens_a_file_sees_its_first_piece_soon() -> None:
    outcome = run(in_lock_step(300))

    assert outcome.first_piece_p50_s <= 1.1
    assert outcome.first_piece_p99_s <= 1.6


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "longer"), [(bulk(100), 1.2), (in_lock_step(100), 1.35)])
def test_a_few_very_slow_peers_hold_nobody_up_for_long(settings: Settings, longer: float) -> None:
    outcome = run(replace(settings, slow=0.05))

    assert outcome.finished == 100
    assert outcome.p99 <= longer * run(settings).p99
    assert outcome.mean <= 1.06 * run(settings).mean
    assert outcome.isolated == 0


@pytest.mark.parametrize("settings", [bulk(100), in_lock_step(100)])
def test_one_liar_costs_each_of_its_victims_two_pieces_at_most(settings: Settings) -> None:
    outcome = run(replace(settings, liars=1))

    assert outcome.finished == 99
    assert outcome.most_rejected <= 2
    assert outcome.isolated == 1
    assert outcome.mean <= 1.15 * run(settings).mean


@pytest.mark.parametrize(("settings", "copies"), [(bulk(100), 1.05), (in_lock_step(100), 1.1)])
def test_a_supernode_that_is_lost_costs_three_seconds_at_most(settings: Settings, copies: float) -> None:
    outcome = run(replace(settings, supernode_lost_s=3.0))

    assert outcome.finished == 100
    assert (outcome.slowest - run(settings).slowest) * settings.line_time_s <= 3.0
    assert outcome.origin_copies <= copies


@pytest.mark.parametrize("settings", [bulk(100), in_lock_step(100)])
def test_peers_that_vanish_hold_nobody_up(settings: Settings) -> None:
    outcome = run(replace(settings, deaths=10))

    assert outcome.finished == 90
    assert outcome.p99 <= 1.2 * run(settings).p99
    assert outcome.origin_copies == 1.0


# -- other swarms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [bulk(100), in_lock_step(100)])
def test_those_who_come_one_after_the_other_are_as_quick(settings: Settings) -> None:
    outcome = run(replace(settings, arrivals_s=60.0))

    assert outcome.finished == 100
    assert outcome.mean <= 1.05
    assert outcome.slowest <= 1.2
    assert outcome.supernode_copies <= 2.5


@pytest.mark.parametrize("reading", list(Reading))
def test_two_regions_get_each_piece_over_the_line_between_them_about_once(reading: Reading) -> None:
    outcome = run(Settings(peers=20, pieces=80, piece_bytes=256 * 1024, regions=2, region_line=2_500_000, reading=reading))

    assert outcome.finished == 20
    assert outcome.crossed_copies <= 2.2
    assert outcome.origin_copies == 1.0


@pytest.mark.parametrize("reading", list(Reading))
@pytest.mark.parametrize("peers", [1, 2, 3, 5, 6, 8, 20, 50])
def test_swarms_of_every_size_are_about_as_quick_as_a_line(peers: int, reading: Reading) -> None:
    outcome = run(replace(SMALL, peers=peers, reading=reading))

    assert outcome.finished == peers
    assert outcome.mean <= 1.5
    assert outcome.origin_copies == 1.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("peers", "deaths"), [(2, 1), (8, 3), (50, 20)])
def test_small_swarms_survive_that_many_of_them_vanish(peers: int, deaths: int, seed: int) -> None:
    outcome = run(replace(SMALL, peers=peers, deaths=deaths, seed=seed, reading=Reading.SEQUENTIAL, arrivals_s=0.3))

    assert outcome.finished == peers - deaths
    assert outcome.slowest < 10


@pytest.mark.parametrize("settings", [SMALL, replace(SMALL, peers=30, deaths=3, liars=1, reading=Reading.SEQUENTIAL)])
def test_a_run_can_be_replayed_by_its_seed(settings: Settings) -> None:
    assert simulate(settings) == simulate(settings)
    assert simulate(replace(settings, seed=9)).times != simulate(settings).times


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_table_json_and_a_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--peers", "3", "--pieces", "10", "--json", str(tmp_path / "run.json"), "--svg", str(tmp_path / "run.svg")]

    assert main(words) == 0
    assert "origin_copies  1.0000" in capsys.readouterr().out
    told = json.loads((tmp_path / "run.json").read_text())
    assert (told["settings"]["peers"], told["outcome"]["finished"], len(told["outcome"]["times"])) == (3, 3, 3)
    assert (tmp_path / "run.svg").read_text().count("<polyline") == 1


@pytest.mark.parametrize("words", [["--peers", "none"], ["--peers", "0"], ["--slow", "2"], ["--liars", "5", "--peers", "5"]])
def test_the_command_refuses_what_cannot_be_simulated(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 2
    assert "simulate: error:" in capsys.readouterr().err
