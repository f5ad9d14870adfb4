"""An evaluation that several processes share comes to what one process finds."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from semantic_ns.evaluation.accumulator import SceneAccumulator
from semantic_ns.evaluation.image_means import mean_of_images
from semantic_ns.evaluation.worst_images import NamedImages

NUM_CLASSES, NUM_IMAGES = 4, 7
NAMES = [f"class {number}" for number in range(NUM_CLASSES)]


def add_image(state: SceneAccumulator, number: int) -> None:
    """A random image of a name of its own; every third one has no labels, and every other one no depth."""
    generator = torch.Generator().manual_seed(number)
    size = (5 + number, 6, 1)
    state.begin_image(f"image {number}")
    if number % 3:
        labels, target = (torch.randint(-1, NUM_CLASSES, size, generator=generator) for _ in range(2))
        state.add_labels(labels.clamp(min=0), target, torch.rand(size, generator=generator))
    if number % 2:
        state.add_depth(torch.rand(size, generator=generator), torch.rand(size, generator=generator))
    state.add_color(torch.rand(5, 6, 3, generator=generator), torch.rand(5, 6, 3, generator=generator))


def state_of(numbers: range) -> SceneAccumulator:
    state = SceneAccumulator(NUM_CLASSES, 2.0)
    for number in numbers:
        add_image(state, number)
    return state


@pytest.mark.parametrize("world", [1, 2, 3, 9])
def test_pooled_sums_are_those_of_all_images_in_their_order(world: int) -> None:
    whole = state_of(range(NUM_IMAGES))
    pooled = state_of(range(2))  # what was there before is forgotten
    pooled.pool([state_of(range(rank, NUM_IMAGES, world)) for rank in range(world)])
    assert torch.equal(pooled._confusion, whole._confusion)
    assert torch.equal(pooled.calibration.num_pixels, whole.calibration.num_pixels)
    assert pooled._depth.num_pixels == whole._depth.num_pixels
    assert pooled.image_scores() == whole.image_scores()
    expected = whole.result(NAMES)
    assert {"miou", "miou_per_image", "ece", "psnr_pooled", "depth_l1"} <= expected.keys()
    assert pooled.result(NAMES) == pytest.approx(expected, rel=1e-9)


def test_a_state_may_be_one_of_its_own_parts() -> None:
    first, second = state_of(range(0, NUM_IMAGES, 2)), state_of(range(1, NUM_IMAGES, 2))
    first.pool([first, second])
    assert first.result(NAMES) == pytest.approx(state_of(range(NUM_IMAGES)).result(NAMES), rel=1e-9)


@pytest.mark.parametrize("world", [1, 2, 3, 9])
def test_means_over_shared_images_are_those_of_one_process_to_the_last_bit(world: int) -> None:
    images = [{"psnr": 10.0 + 0.1 * number**2, "ssim": 1 / (3 + number)} for number in range(NUM_IMAGES)]
    parts = [images[rank::world] for rank in range(world)]
    assert mean_of_images(parts) == {
        name: float(torch.mean(torch.tensor([image[name] for image in images]))) for name in ("psnr", "ssim")
    }


def test_no_images_have_no_means() -> None:
    assert mean_of_images([[], []]) == {}


class Loader:
    """Images that are read one by one."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return NUM_IMAGES

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self.images(0, 1)

    def images(self, first: int, step: int) -> Iterator[tuple[Any, Any]]:
        for number in range(first, NUM_IMAGES, step):
            self.read.append(number)
            yield number, {"image_idx": number}


class DivisibleLoader(Loader):
    """Images of which some can be had alone."""

    def part(self, first: int, step: int) -> Iterator[tuple[Any, Any]]:
        return self.images(first, step)


@pytest.mark.parametrize("kind", [Loader, DivisibleLoader])
@pytest.mark.parametrize("world", [1, 2, 9])
def test_each_image_goes_to_one_process_under_its_own_name(kind: type[Loader], world: int) -> None:
    found, counts = {}, []
    for rank in range(world):
        state = SceneAccumulator(NUM_CLASSES, 1.0)
        images = NamedImages(kind(), state).shared_by(rank, world)
        own = [number for number, _ in images]
        counts.append(len(images))
        assert len(own) == len(images)
        assert not set(own) & set(found)
        found |= zip(own, (scores.image for scores in state.image_scores()), strict=True)
    assert found == {number: f"image {number}" for number in range(NUM_IMAGES)}
    assert max(counts) - min(counts) <= 1


def test_images_of_others_are_not_read_where_they_can_be_left_out() -> None:
    loader = DivisibleLoader()
    list(NamedImages(loader, SceneAccumulator(NUM_CLASSES, 1.0)).shared_by(1, 3))
    assert loader.read == [1, 4]
