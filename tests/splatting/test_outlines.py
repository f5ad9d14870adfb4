"""Gaussians that follow the outlines of classes while they train."""

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_ns.splatting.classes import outlines_of
from semantic_ns.splatting.fit import View, fit
from semantic_ns.splatting.fit_config import FitConfig
from semantic_ns.splatting.outlines import Outlines, class_paints, outline_loss, painted
from semantic_ns.splatting.project import Gaussians, PinholeCamera
from semantic_ns.splatting.rasterize import rasterize

CAMERA = PinholeCamera(torch.eye(4)[:3], torch.tensor([40.0, 40.0, 20.0, 10.0]), height=20, width=40)


def two_squares() -> Gaussians:
    """Two opaque squares side by side, each of which reaches across the middle of the image."""
    return Gaussians(
        torch.tensor([[-0.5, 0.0, 2.0], [0.5, 0.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 2),
        torch.tensor([[0.4, 0.3, 0.01]] * 2), torch.tensor([0.95, 0.95]),
    )  # fmt: skip


def two_halves() -> Tensor:
    labels = torch.zeros((20, 40), dtype=torch.int32)
    labels[:, 20:] = 1
    return labels


def share_across(gaussians: Gaussians) -> float:
    """Of the light that the Gaussians stop, what each stops in the half of the other."""
    weights, _, _ = rasterize(gaussians, torch.eye(2), CAMERA)
    return float((weights[:, 20:, 0].sum() + weights[:, :20, 1].sum()) / weights.sum())


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_paints_are_far_from_each_other_and_the_same_each_time(count: int) -> None:
    paints = class_paints(count)
    assert paints.shape == (count, 3)
    assert bool(((paints >= 0) & (paints <= 1)).all())
    assert torch.equal(paints, class_paints(count))
    apart = torch.cdist(paints, paints)[~torch.eye(count, dtype=torch.bool)]
    assert count == 1 or float(apart.min()) > 0.25 * count ** (-1 / 3)


def test_a_gaussian_has_the_paint_of_most_of_its_votes_and_without_any_that_of_the_nearest_one() -> None:
    paints = class_paints(3)
    means = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0], [1.8, 0, 0]])
    gaussians = Gaussians(means, torch.ones(4, 4), torch.ones(4, 3), torch.ones(4))
    votes = torch.tensor([[0.0, 2, 1], [5.0, 0, 4], [0.0, 0, 0.1], [0.0, 0, 0]])
    torch.testing.assert_close(painted(gaussians, votes, paints), paints[[1, 0, 2, 2]])
    assert bool(painted(gaussians, torch.zeros(4, 3), paints).isfinite().all())


def test_the_loss_is_that_of_a_loop_over_pixels_and_so_are_its_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    summed = torch.rand((4, 5, 3), generator=generator, dtype=torch.float64).requires_grad_()
    opacity = torch.rand((4, 5), generator=generator, dtype=torch.float64).requires_grad_()
    labels, paints = torch.randint(-1, 3, (4, 5), generator=generator), class_paints(3).double()
    assert bool((labels == -1).any())
    outline_loss(summed, opacity, labels, paints).backward()
    expected = torch.zeros((), dtype=torch.float64)
    again = summed.detach().clone().requires_grad_(), opacity.detach().clone().requires_grad_()
    for row in range(4):
        for column in range(5):
            if labels[row, column] >= 0:
                for channel in range(3):
                    paint = paints[labels[row, column], channel]
                    expected = expected + (again[0][row, column, channel] - again[1][row, column] * paint) ** 2 / 60
    expected.backward()
    torch.testing.assert_close(outline_loss(summed, opacity, labels, paints), expected)
    for own, twin in zip((summed, opacity), again, strict=True):
        torch.testing.assert_close(own.grad, twin.grad)


def test_gaussians_of_one_color_end_where_their_classes_do_and_without_outlines_they_do_not() -> None:
    gaussians, colors = two_squares(), torch.full((2, 3), 0.5)
    view = View(CAMERA, torch.full((20, 40, 3), 0.5), torch.full((20, 40), 2.0))
    outlines = Outlines(class_paints(2), class_paints(2), [two_halves()])
    config = FitConfig(steps=120)
    without, _ = fit(gaussians, colors, [view], config)
    following, _ = fit(gaussians, colors, [view], config, outlines=outlines)
    assert share_across(following) < 0.7 * share_across(without)


def test_few_and_noisy_labels_have_no_outlines() -> None:
    few = torch.full((20, 40), -1, dtype=torch.int32)
    few[5, 5:9] = 1
    assert outlines_of(two_squares(), [CAMERA], [few], 2) is None
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (20, 40))).int()
    assert outlines_of(two_squares(), [CAMERA], [noise], 2) is None
