"""Which scene and target a step sees is a pure function of the step."""

import numpy as np
import pytest

from semantic_ns.many_scenes.pairs import Draw, pair

NUM_FRAMES = (3, 1, 5)


def stream(count: int, world: int = 1, seed: int = 7, start: int = 0) -> list[Draw]:
    """The draws of all ranks of some steps, in the order of the steps and in each of the ranks."""
    return [pair(step, rank, world, seed, NUM_FRAMES) for step in range(start, count) for rank in range(world)]


@pytest.mark.parametrize("world", [2, 3])
def test_several_ranks_draw_together_what_one_rank_draws_in_as_many_steps(world: int) -> None:
    assert stream(10, world) == stream(10 * world)


def test_every_pair_of_scene_and_target_comes_once_in_each_epoch() -> None:
    every = {(scene, target) for scene, count in enumerate(NUM_FRAMES) for target in range(count)}
    for epoch in range(4):
        drawn = [(draw.scene, draw.target) for draw in stream(9 * (epoch + 1), start=9 * epoch)]
        assert len(drawn) == 9
        assert set(drawn) == every


def test_an_epoch_is_a_random_order_of_the_frames_scene_after_scene() -> None:
    every = [(scene, target) for scene, count in enumerate(NUM_FRAMES) for target in range(count)]
    for epoch in range(3):
        order = np.random.default_rng([7, epoch]).permutation(9)
        drawn = [(draw.scene, draw.target) for draw in stream(9 * (epoch + 1), start=9 * epoch)]
        assert drawn == [every[number] for number in order]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [tuple((draw.scene, draw.target) for draw in stream(9 * e + 9, start=9 * e)) for e in range(5)]
    orders += [tuple((draw.scene, draw.target) for draw in stream(9, seed=seed)) for seed in range(5)]
    assert len(set(orders)) == 10


def test_a_resumed_stream_goes_on_as_the_whole_one_also_with_another_number_of_ranks() -> None:
    whole = stream(24)
    assert stream(24, start=13) == whole[13:]
    assert stream(12, world=2, start=6) == whole[12:]


def test_every_step_of_every_seed_draws_with_a_seed_of_its_own() -> None:
    seeds = [draw.seed for seed in (0, 1) for draw in stream(200, seed=seed)]
    assert len(set(seeds)) == 400
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_scene_without_frames_is_never_drawn() -> None:
    drawn = {(draw.scene, draw.target) for draw in (pair(step, 0, 1, 0, (0, 2, 0, 1)) for step in range(3))}
    assert drawn == {(1, 0), (1, 1), (3, 0)}
