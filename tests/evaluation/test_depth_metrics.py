"""Depth scores: pooled over pixels, in metres, against a loop."""

import math

import pytest
import torch
from torch import Tensor

from semantic_ns.evaluation.accumulator import SceneAccumulator
from semantic_ns.evaluation.depth import DepthSums, depth_sums


def random_depths(seed: int, count: int = 60) -> tuple[Tensor, Tensor]:
    """Prediction and truth in metres, some of the truth unknown (0)."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(count, generator=generator) * 5 + 0.1
    prediction = target * (0.6 + torch.rand(count, generator=generator))
    target[::7] = 0
    return prediction, target


def scores_by_loop(prediction: Tensor, target: Tensor) -> dict[str, float]:
    pairs = [(p, t) for p, t in zip(prediction.tolist(), target.tolist(), strict=True) if t > 0]
    return {
        "depth_l1": sum(abs(p - t) for p, t in pairs) / len(pairs),
        "depth_rel": sum(abs(p - t) / t for p, t in pairs) / len(pairs),
        "depth_delta1": sum(max(p / t, t / p) < 1.25 for p, t in pairs) / len(pairs),
    }


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_a_loop_over_pixels(seed: int) -> None:
    prediction, target = random_depths(seed)
    assert depth_sums(prediction, target).scores() == pytest.approx(scores_by_loop(prediction, target))


def test_sums_of_two_images_are_the_sums_of_both_sets_of_pixels() -> None:
    (p1, t1), (p2, t2) = random_depths(0, 11), random_depths(1, 40)
    pooled = (depth_sums(p1, t1) + depth_sums(p2, t2)).scores()
    assert pooled == pytest.approx(scores_by_loop(torch.cat([p1, p2]), torch.cat([t1, t2])))


def test_exact_depth_scores_zero_error_and_full_delta() -> None:
    target = torch.tensor([1.0, 2.0, 0.0])
    assert depth_sums(target, target).scores() == {"depth_l1": 0.0, "depth_rel": 0.0, "depth_delta1": 1.0}


def test_pixels_of_unknown_depth_never_count() -> None:
    prediction, target = random_depths(2)
    changed = torch.where(target == 0, prediction + 100, prediction)
    assert depth_sums(changed, target) == depth_sums(prediction, target)


def test_relative_error_and_delta_do_not_depend_on_the_unit() -> None:
    prediction, target = random_depths(3)
    metres, millimetres = depth_sums(prediction, target).scores(), depth_sums(prediction * 1000, target * 1000).scores()
    assert millimetres["depth_rel"] == pytest.approx(metres["depth_rel"], rel=1e-5)
    assert millimetres["depth_delta1"] == pytest.approx(metres["depth_delta1"])
    assert millimetres["depth_l1"] == pytest.approx(1000 * metres["depth_l1"], rel=1e-5)


def test_a_prediction_of_zero_is_an_error_and_not_within_delta() -> None:
    assert depth_sums(torch.zeros(1), torch.tensor([2.0])) == DepthSums(1, 2.0, 1.0, 0)


def test_no_known_depth_gives_nan() -> None:
    assert all(math.isnan(value) for value in depth_sums(torch.ones(3), torch.zeros(3)).scores().values())


def test_the_accumulator_turns_scene_units_into_metres() -> None:
    accumulator = SceneAccumulator(1, metres_per_unit=4.0)
    accumulator.add_depth(torch.full((1, 2, 1), 0.5), torch.tensor([[[2.5], [0.0]]]))
    assert accumulator.result(["wall"])["depth_l1"] == pytest.approx(0.5)


def test_what_was_not_added_is_not_reported() -> None:
    accumulator = SceneAccumulator(1, metres_per_unit=1.0)
    assert accumulator.result(["wall"]) == {}
    accumulator.add_labels(torch.zeros(1, 2, 1, dtype=torch.int64), torch.zeros(1, 2, 1, dtype=torch.int64))
    assert not any(name.startswith("depth") for name in accumulator.result(["wall"]))
