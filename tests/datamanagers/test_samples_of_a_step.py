"""Samples that one step takes, whichever processes take them: all of them have the same number of sources."""

from pathlib import Path
from typing import Any

import pytest

from semantic_ns.many_scenes.pairs import num_sources_of_step, pair
from semantic_ns.many_scenes.samples import TargetSample, draw_sample
from support.rooms import NUM_FRAMES
from support.scene_managers import are_equal, manager_of

RANGE = (2, 5)
"""Least and largest number of sources: the smaller scene has exactly so many frames beside a target."""
NUM_STEPS = 12


def manager(rooms: Path, counts: tuple[int, int] = RANGE, rank: int = 0, world: int = 1) -> Any:
    return manager_of(rooms, rank, world, {"train_sources": counts}, split="all")


def num_sources(sample: TargetSample) -> int:
    return len(sample.sources.cameras)


def step_of(manager: Any, step: int, samples_per_step: int) -> list[TargetSample]:
    """The samples of a step, as one process takes them."""
    numbers = range(step * samples_per_step, (step + 1) * samples_per_step)
    return [manager.numbered_sample(number, samples_per_step)[0] for number in numbers]


@pytest.mark.parametrize("samples_per_step", [2, 3, 8])
def test_all_samples_of_a_step_have_the_number_of_sources_of_the_step(samples_per_step: int, rooms: Path) -> None:
    one, found = manager(rooms), []
    for step in range(NUM_STEPS):
        counts = {num_sources(sample) for sample in step_of(one, step, samples_per_step)}
        assert len(counts) == 1
        found += counts
    assert found == [num_sources_of_step(step, one.config.seed, RANGE) for step in range(NUM_STEPS)]
    assert set(found) == set(range(RANGE[0], RANGE[1] + 1))


def test_a_sample_has_fewer_sources_than_its_step_only_where_its_scene_has_no_more_frames(rooms: Path) -> None:
    one, limited = manager(rooms, (3, 8)), 0
    for step in range(NUM_STEPS):
        wanted = num_sources_of_step(step, one.config.seed, (3, 8))
        for number in range(4 * step, 4 * step + 4):
            sample, _, _ = one.numbered_sample(number, 4)
            scene = pair(number, 0, 1, one.config.seed, one.shelf.num_training_frames).scene
            others = one.shelf.num_training_frames[scene] - 1
            assert num_sources(sample) == min(wanted, others)
            assert sample.least_sources == 3  # that of the option: fewer are told to a person once
            limited += others < wanted
    assert limited > 0


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_samples_of_a_step_do_not_depend_on_the_number_of_processes(world: int, rooms: Path) -> None:
    alone = manager(rooms)
    ranks = [manager(rooms, rank=rank, world=world) for rank in range(world)]
    for step in reversed(range(4)):  # also where a run is resumed, and has drawn nothing before
        expected = step_of(alone, step, 4)
        for place, sample in enumerate(expected):
            found, _, seed = ranks[place % world].numbered_sample(4 * step + place, 4)
            assert are_equal(found, sample)
            assert seed == alone.numbered_sample(4 * step + place, 4)[2]


def test_a_sample_of_a_step_is_the_one_that_a_run_with_that_number_of_sources_alone_draws(rooms: Path) -> None:
    one = manager(rooms)
    fixed = {count: manager(rooms, (count, count)) for count in range(RANGE[0], RANGE[1] + 1)}
    for step in range(NUM_STEPS):
        for place, sample in enumerate(step_of(one, step, 2)):
            assert are_equal(sample, fixed[num_sources(sample)].next_train(2 * step + place)[0])


NUMBERS_OF_SOURCES = [2, 3, 5, 2, 4, 2, 2, 2, 2, 2, 4, 2]
"""Of the first steps of one sample with the default seed, as all trainings so far have drawn them."""


def test_a_run_with_one_sample_a_step_draws_as_before(rooms: Path) -> None:
    one = manager(rooms)
    assert one.shelf.num_training_frames == tuple(NUM_FRAMES.values())
    for step, expected in enumerate(NUMBERS_OF_SOURCES):
        draw = pair(step, 0, 1, one.config.seed, one.shelf.num_training_frames)
        augmentation = one.config.augmentation
        alone = draw_sample(one.shelf.training(draw.scene), draw.target, draw.seed, 2, RANGE, augmentation)
        assert num_sources(alone) == expected
        for sample in (one.next_train(step)[0], *step_of(one, step, 1)):
            assert are_equal(sample, alone)
