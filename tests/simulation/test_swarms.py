import pytest

from tests.simulation.world import ORIGIN_S, Simulation

PIECES = 40


def a_run(readers: int, seed: int, *, stagger_s: float = 0.0, deaths: int = 0, liars: int = 0) -> Simulation:
    simulation = Simulation(readers=readers, pieces=PIECES, seed=seed, liars=liars)
    for number, reader in enumerate(simulation.readers.values()):
        simulation.start(reader, simulation.random.uniform(0, stagger_s) if stagger_s else 0.0)
        if number < deaths:
            simulation.die(reader, simulation.random.uniform(0.05, 0.6))
    simulation.run()
    return simulation


def check(simulation: Simulation, *, copies: float) -> None:
    """All that live have everything; no piece left the origin twice; the supernode sent ``copies`` of the file at most."""
    for reader in simulation.readers.values():
        if reader.alive:
            assert reader.have.complete
            assert reader.finished_s is not None
            assert reader.picker.idle, "nothing is left to do"
    assert len(simulation.origin_read) == PIECES
    assert sum(simulation.supernode_sent.values()) <= copies * PIECES


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("readers", "copies"), [(2, 1.1), (8, 1.3), (50, 3.0)])
def test_readers_in_lock_step_all_finish_and_share(readers: int, copies: float, seed: int) -> None:
    check(a_run(readers, seed), copies=copies)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("readers", "copies"), [(2, 1.1), (8, 1.2), (50, 3.0)])
def test_readers_that_come_one_after_the_other_are_served_by_those_before(readers: int, copies: float, seed: int) -> None:
    check(a_run(readers, seed, stagger_s=2.0), copies=copies)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("readers", "deaths"), [(2, 1), (8, 3), (50, 20)])
def test_peers_that_die_hold_nobody_up_for_good(readers: int, deaths: int, seed: int) -> None:
    simulation = a_run(readers, seed, stagger_s=0.3, deaths=deaths)

    check(simulation, copies=readers)
    assert max(reader.finished_s or 0 for reader in simulation.readers.values()) < 60


@pytest.mark.parametrize("seed", range(3))
def test_redirects_to_peers_that_have_nothing_cost_a_moment_each_and_no_more(seed: int) -> None:
    simulation = a_run(8, seed, liars=3)

    check(simulation, copies=8)
    assert max(reader.finished_s or 0 for reader in simulation.readers.values()) < PIECES * 0.4


def test_a_lone_reader_gets_each_piece_once_at_the_supernodes_pace() -> None:
    simulation = a_run(1, 0)

    check(simulation, copies=1)
    (reader,) = simulation.readers.values()
    assert (reader.finished_s or 0) < PIECES * ORIGIN_S, "read ahead, and not one by one"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_can_be_replayed_by_its_seed(seed: int) -> None:
    first, second = (a_run(8, seed, stagger_s=0.5, deaths=2, liars=1) for _ in range(2))

    assert first.log == second.log
    assert a_run(8, seed + 10, stagger_s=0.5, deaths=2, liars=1).log != first.log
