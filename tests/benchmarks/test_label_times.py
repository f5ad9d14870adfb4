"""The benchmark of waiting in the labelling page: where it draws, and what it says of the times."""

import numpy as np

from benchmarks.label_times import LENGTH, shown, strokes


def test_strokes_lie_in_the_image_are_equally_long_and_follow_from_the_seed() -> None:
    found = strokes(200, (64, 48), seed=3)
    assert (found >= 0).all()
    assert (found[..., 0] <= 64).all()
    assert (found[..., 1] <= 48).all()
    np.testing.assert_allclose(np.linalg.norm(found[:, 1] - found[:, 0], axis=1), LENGTH)
    np.testing.assert_array_equal(found, strokes(200, (64, 48), seed=3))
    assert not np.array_equal(found, strokes(200, (64, 48), seed=4))


def test_the_median_the_ninetieth_percentile_and_the_worst_are_shown() -> None:
    assert shown([float(value) for value in range(1, 102)]) == "51, 91, 101 ms"
