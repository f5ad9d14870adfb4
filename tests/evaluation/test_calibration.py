"""Calibration: against loops over pixels, and the theorems that follow from the definitions."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_ns.evaluation.accumulator import SceneAccumulator
from semantic_ns.evaluation.calibration import (
    CalibrationSums,
    LikelihoodSums,
    calibration_sums,
    likelihood_sums,
    reliability_diagram,
)

CLASSES = 4


def random_pixels(seed: int, count: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    """Confidence, whether right, whether scored."""
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(count, generator=generator)
    confidence[:3] = torch.tensor([0.0, 1.0, 1 / 3])
    return confidence, torch.rand(count, generator=generator) < 0.6, torch.rand(count, generator=generator) < 0.8


def error_by_loop(confidence: Tensor, is_right: Tensor, is_scored: Tensor) -> float:
    """Mean |accuracy - mean confidence| of bins (low, high], weighted by their share of the pixels."""
    pixels = [(float(c), bool(r)) for c, r, s in zip(confidence.double(), is_right, is_scored, strict=True) if bool(s)]
    total = 0.0
    for m in range(15):
        inside = [(c, r) for c, r in pixels if m / 15 < c <= (m + 1) / 15 or (m == 0 and c == 0)]
        if inside:
            accuracy = sum(r for _, r in inside) / len(inside)
            total += len(inside) / len(pixels) * abs(accuracy - sum(c for c, _ in inside) / len(inside))
    return total


@pytest.mark.parametrize("seed", range(5))
def test_the_expected_error_is_that_of_a_loop_over_pixels(seed: int) -> None:
    pixels = random_pixels(seed)
    assert calibration_sums(*pixels).expected_error() == pytest.approx(error_by_loop(*pixels))


def test_sums_of_two_images_are_those_of_one_image_of_both() -> None:
    first, second = random_pixels(0), random_pixels(1, 90)
    both = calibration_sums(*(torch.cat(pair) for pair in zip(first, second, strict=True)))
    added = CalibrationSums() + calibration_sums(*first) + calibration_sums(*second)
    for name in ("num_pixels", "num_right", "confidence"):
        assert getattr(added, name).tolist() == pytest.approx(getattr(both, name).tolist())


def test_a_predictor_that_is_as_often_right_as_it_says_has_no_error() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(200_000, generator=generator)
    is_right = torch.rand(200_000, generator=generator) < confidence
    assert calibration_sums(confidence, is_right, torch.ones_like(is_right)).expected_error() < 0.01


@pytest.mark.parametrize(("confidence", "num_right"), [(0.9, 50), (0.3, 80), (0.5, 50), (1.0, 0)])
def test_constant_confidence_gives_its_distance_from_the_accuracy(confidence: float, num_right: int) -> None:
    is_right = torch.arange(100) < num_right
    sums = calibration_sums(torch.full((100,), confidence), is_right, torch.ones(100, dtype=torch.bool))
    assert sums.expected_error() == pytest.approx(abs(confidence - num_right / 100), abs=1e-6)


def test_the_order_of_pixels_changes_nothing() -> None:
    pixels = random_pixels(2)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    permuted = calibration_sums(*(values[order] for values in pixels))
    assert permuted.expected_error() == pytest.approx(calibration_sums(*pixels).expected_error())


def test_nothing_scored_has_no_error() -> None:
    confidence, is_right, _ = random_pixels(0)
    sums = calibration_sums(confidence, is_right, torch.zeros(500, dtype=torch.bool))
    assert not sums.has_pixels
    assert math.isnan(sums.expected_error())


def image(*values: float) -> Tensor:
    return torch.tensor(values)[None, :, None]


def test_the_accumulator_reports_the_error_beside_the_other_scores_and_ignores_void() -> None:
    accumulator = SceneAccumulator(2, metres_per_unit=1.0)
    labels, target = image(0, 0, 1, 1), image(0, 1, 1, -1)
    accumulator.add_labels(labels.long(), target.long(), image(0.8, 0.8, 0.8, 0.1))
    assert accumulator.result(["a", "b"])["ece"] == pytest.approx(0.8 - 2 / 3)
    accumulator.add_labels(labels.long(), torch.full_like(target, -1).long(), image(0.1, 0.2, 0.3, 0.4))
    assert accumulator.result(["a", "b"])["ece"] == pytest.approx(0.8 - 2 / 3)
    accumulator.reset()
    accumulator.add_labels(labels.long(), target.long())
    assert "ece" not in accumulator.result(["a", "b"])


def likelihood_by_loop(probabilities: Tensor, target: Tensor) -> float:
    terms = [
        -math.log(max(float(p[t]), 1e-6))
        for p, t in zip(probabilities.reshape(-1, CLASSES), target.flatten().tolist(), strict=True)
        if t != -1
    ]
    return sum(terms) / len(terms)


def test_the_likelihood_is_that_of_a_loop_over_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = (4 * torch.randn(6, 5, CLASSES, generator=generator)).softmax(-1)
    target = torch.randint(-1, CLASSES, (6, 5), generator=generator)
    probabilities[0, 0], target[0, 0] = torch.tensor([1.0, 0, 0, 0]), 2
    halves = [likelihood_sums(probabilities[rows], target[rows]) for rows in (slice(0, 2), slice(2, 6))]
    expected = likelihood_by_loop(probabilities, target)
    assert likelihood_sums(probabilities, target).mean() == pytest.approx(expected)
    assert (halves[0] + halves[1]).mean() == pytest.approx(expected)


def test_the_likelihood_of_even_odds_is_the_logarithm_of_the_number_of_classes() -> None:
    sums = likelihood_sums(torch.full((9, CLASSES), 1 / CLASSES), torch.arange(9) % CLASSES)
    assert sums.mean() == pytest.approx(math.log(CLASSES))
    assert math.isnan(LikelihoodSums().mean())


def test_the_diagram_has_bars_up_to_the_accuracy() -> None:
    confidence = torch.full((100,), 0.97)
    scored = torch.ones(100, dtype=torch.bool)
    low, high = (
        reliability_diagram(calibration_sums(confidence, torch.arange(100) < right, scored)) for right in (10, 90)
    )
    assert low.dtype == np.uint8
    assert low.shape == high.shape == (600, 480, 3)
    blue = [int(((picture[..., 2] > 150) & (picture[..., 0] < 60)).sum()) for picture in (low, high)]
    assert 0 < 5 * blue[0] < blue[1]
