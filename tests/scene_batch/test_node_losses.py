"""Losses of machines: closed forms against a simulation, and the simulation against what can be said without one."""

import math
import statistics

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.scene_batch.node_losses import (
    Machines,
    Piece,
    Simulated,
    expected_seconds,
    pieces_of,
    share_given_up,
    simulate,
)

SCENE = (Piece(20.0), Piece(50.0), Piece(50.0, 15.0), Piece(30.0, 15.0), Piece(40.0))
"""Two checkpoints of a training between steps that have none."""
RATE = 1 / 120
"""So high that most scenes are lost at least once."""


def batches(retries: int | None, count: int = 300, num_scenes: int = 30) -> list[Simulated]:
    machines = Machines(4, 3, RATE, 25.0)
    return [simulate(SCENE, num_scenes, machines, seed, retries) for seed in range(count)]


def is_within_standard_errors(expected: float, found: list[float], most: float = 3.0) -> bool:
    error = statistics.stdev(found) / len(found) ** 0.5
    assert error < 0.05 * expected  # else anything would do
    return abs(statistics.fmean(found) - expected) < most * error


def test_the_expected_seconds_and_losses_of_a_scene_are_those_of_the_simulation() -> None:
    found = batches(None)
    expected = expected_seconds(SCENE, RATE)
    assert expected > 1.2 * sum(piece.seconds for piece in SCENE)
    assert is_within_standard_errors(expected, [run.busy_seconds / 30 for run in found])
    assert is_within_standard_errors(RATE * expected, [run.num_losses / 30 for run in found])
    assert all(run.num_given_up == 0 for run in found)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_the_share_of_scenes_that_are_given_up_is_that_of_the_simulation(retries: int) -> None:
    found = [run.num_given_up / 30 for run in batches(retries)]
    assert is_within_standard_errors(share_given_up(SCENE, RATE, retries), found)


def test_a_formula_without_restarts_would_not_pass() -> None:
    without = [Piece(piece.seconds) for piece in SCENE]
    assert not is_within_standard_errors(
        expected_seconds(without, RATE), [run.busy_seconds / 30 for run in batches(None)]
    )


def test_work_takes_places_so_that_a_batch_cannot_be_faster_and_losses_make_it_slower() -> None:
    found, places = batches(None, 50), 12
    for run in found:
        assert run.seconds * places >= run.busy_seconds
    calm = simulate(SCENE, 30, Machines(4, 3), 0)
    assert calm == Simulated(3 * 190.0, 30 * 190.0, 0, 0)  # thirty scenes on twelve places go in three rounds
    assert min(run.seconds for run in found) > calm.seconds / 1.01
    assert statistics.fmean(run.seconds for run in found) > 1.3 * calm.seconds


def test_many_scenes_take_the_work_over_the_places_that_are_up() -> None:
    machines = Machines(4, 3, RATE, 25.0)
    seconds = [simulate(SCENE, 2000, machines, seed).seconds for seed in range(4)]
    formula = 2000 * expected_seconds(SCENE, RATE) / (12 * machines.share_up)
    assert statistics.fmean(seconds) == pytest.approx(formula, rel=0.03)


def test_a_seed_gives_the_same_batch_and_another_one_another() -> None:
    machines = Machines(2, 1, RATE, 10.0)
    assert simulate(SCENE, 9, machines, 1) == simulate(SCENE, 9, machines, 1) != simulate(SCENE, 9, machines, 2)


def test_rare_losses_cost_half_a_piece_and_the_restart_each() -> None:
    """The first term of the series of the exponential function: what a person would guess."""
    rate = 1e-7
    guess = sum(rate * piece.seconds * (piece.seconds / 2 + piece.restart_seconds) for piece in SCENE)
    assert expected_seconds(SCENE, rate) - 190 == pytest.approx(guess, rel=1e-3)
    assert expected_seconds(SCENE, 0.0) == 190
    assert share_given_up(SCENE, 0.0, 0) == 0
    assert share_given_up(SCENE, rate, 0) == pytest.approx(-math.expm1(-rate * 190))


def test_a_training_is_a_piece_for_each_checkpoint_and_another_step_one() -> None:
    steps = [("doctor", 5.0), ("train", 25.0), ("eval", 30.0)]
    assert pieces_of(steps, 10.0, 3.0) == (Piece(5), Piece(10), Piece(10, 3), Piece(5, 3), Piece(30))
    assert pieces_of(steps, None, 3.0) == pieces_of(steps, 25.0, 3.0) == (Piece(5), Piece(25), Piece(30))
    assert pieces_of([("train", 0.0)], 10.0, 3.0) == (Piece(0.0),)


@pytest.mark.parametrize("between", [None, 50.0, 10.0, 2.0])
def test_a_training_cut_into_pieces_takes_as_long(between: float | None) -> None:
    assert sum(piece.seconds for piece in pieces_of([("train", 101.3)], between, 3.0)) == pytest.approx(101.3)


def test_more_checkpoints_leave_less_to_do_again() -> None:
    def redone(between: float) -> float:
        return expected_seconds(pieces_of([("train", 100.0)], between, 0.0), RATE)

    assert redone(100.0) > redone(50.0) > redone(10.0) > 100


def test_a_piece_that_never_ends_is_refused() -> None:
    with pytest.raises(SceneError, match=r"found one of 1000 s with a loss each 10 s, .*; lower --losses"):
        expected_seconds([Piece(1000.0)], 0.1)
