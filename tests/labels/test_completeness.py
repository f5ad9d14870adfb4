"""Labels are consistent where neighbours share them, and complete where most pixels have one as well."""

import numpy as np
import pytest
from jaxtyping import Int16
from numpy import ndarray

from semantic_ns.labels.label_statistics import are_complete, are_consistent


def stripes(width: int, height: int = 24, columns: int = 40) -> Int16[ndarray, "height columns"]:
    return np.broadcast_to((np.arange(columns) // width % 3).astype(np.int16), (height, columns)).copy()


def slowly(labels: list[ndarray]) -> tuple[bool, bool]:
    """Whether they are complete and consistent, pixel by pixel."""
    pixels = labelled = pairs = agreeing = 0
    for image in labels:
        height, width = image.shape
        for row in range(height):
            for column in range(width):
                pixels += 1
                labelled += image[row, column] >= 0
                for other in ((row + 1, column), (row, column + 1)):
                    if other[0] < height and other[1] < width and min(image[row, column], image[other]) >= 0:
                        pairs += 1
                        agreeing += image[row, column] == image[other]
    agree = agreeing >= 0.9 * pairs
    return bool(labelled >= 0.5 * pixels and agree), bool(pairs >= 100 and agree)


@pytest.mark.parametrize("seed", range(12))
def test_it_counts_pixels_and_pairs_of_neighbours(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = [stripes(int(generator.integers(1, 30)), columns=int(generator.integers(1, 40))) for _ in range(2)]
    for image in labels:
        image[generator.random(image.shape) < generator.choice([0.0, 0.4, 0.6])] = -1
    assert (are_complete(labels), are_consistent(labels)) == slowly(labels)


def test_drawn_labels_are_complete_and_noisy_or_few_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    clean = stripes(20)
    noisy = np.where(generator.random(clean.shape) < 0.1, generator.integers(0, 9, clean.shape), clean)
    few = np.where(generator.random(clean.shape) < 0.6, -1, clean)
    assert are_complete([clean])
    assert not are_complete([noisy.astype(np.int16)])
    assert not are_complete([few.astype(np.int16)])
    assert not are_complete([clean, np.full((100, 40), -1, np.int16)])


def test_few_labels_are_consistent_if_their_neighbours_are_and_noisy_or_single_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    clean = stripes(20)
    noisy = np.where(generator.random(clean.shape) < 0.1, generator.integers(0, 9, clean.shape), clean)
    few, clicks = clean.copy(), np.full_like(clean, -1)
    few[6:] = -1
    clicks[::5, ::5] = clean[::5, ::5]
    assert are_consistent([clean])
    assert are_consistent([few])
    assert not are_consistent([noisy.astype(np.int16)])
    assert not are_consistent([clicks])
    assert not are_consistent([np.full((3, 4), -1, np.int16)])


def test_nothing_but_void_is_not_complete_and_one_labelled_pixel_is() -> None:
    assert not are_complete([np.full((3, 4), -1, np.int16)])
    assert are_complete([np.zeros((1, 1), np.int16)])
