"""Losses of `gsnerf` against loops over pixels."""

import math

import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras
from semantic_ns.methods.gsnerf.losses import (
    TargetPoints,
    balanced_class_loss,
    depth_loss,
    is_textured,
    pseudo_depth_loss,
    reconstruction_loss,
    scalar_reconstruction_loss,
    smoothness_loss,
    ssim,
    structure_loss,
    unsupervised_depth_loss,
)
from support.ring_of_views import cameras_before_a_wall, frames_of_the_wall


def smooth_l1(x: float) -> float:
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("over_all", [False, True])
def test_the_depth_loss_is_smooth_l1_over_pixels_with_known_depth(over_all: bool) -> None:
    depth, truth = 4 * random(3, 5), 4 * random(3, 5, seed=1)
    truth[1] = 0
    errors = [smooth_l1(float(d - t)) for d, t in zip(depth.flatten(), truth.flatten(), strict=True) if t > 0]
    assert len(errors) == 10
    expected = sum(errors) / (15 if over_all else 10)
    assert float(depth_loss(depth, truth, over_all)) == pytest.approx(expected, rel=1e-5)


def test_without_a_known_depth_the_depth_loss_is_0() -> None:
    depth = torch.ones(3, requires_grad=True)
    loss = depth_loss(depth, torch.zeros(3))
    loss.backward()
    assert float(loss.detach()) == 0
    assert depth.grad is not None
    assert bool((depth.grad == 0).all())


@pytest.mark.parametrize("of_classes", [None, [0.8, 1.0, 0.8, 1.0, 2.0]])
def test_the_class_loss_weighs_each_class_as_it_is_told(of_classes: list[float] | None) -> None:
    logits, labels = 3 * random(9, 5), torch.tensor([0, 1, 2, 3, 4, -1, 2, 0, -1])
    total = weights = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label >= 0:
            weight = 1.0 if of_classes is None else of_classes[label]
            total += weight * (math.log(sum(math.exp(value) for value in row)) - row[label])
            weights += weight
    given = None if of_classes is None else torch.tensor(of_classes)
    assert float(balanced_class_loss(logits, labels, given)) == pytest.approx(total / weights, rel=1e-5)


def test_without_a_label_the_class_loss_and_its_gradient_are_0() -> None:
    logits = random(4, 3).requires_grad_()
    loss = balanced_class_loss(logits, torch.full((4,), -1))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert bool((logits.grad == 0).all())


def test_texture_is_a_standard_deviation_of_grey_above_a_twentieth() -> None:
    image = 0.5 + 0.25 * (random(3, 9, 12) - 0.5)
    image[:, :, 6:] = 0.5
    found = is_textured(image)
    grey = image.mean(dim=0)
    for row in range(2, 7):
        for column in range(2, 10):
            values = grey[row - 2 : row + 3, column - 2 : column + 3].flatten().tolist()
            mean = sum(values) / 25
            deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 25)
            if abs(deviation - 0.05) > 1e-4:
                assert bool(found[row, column]) == (deviation > 0.05)
    assert not bool(found[:, 9:].any())


def test_pseudo_depth_counts_right_rays_that_a_source_sees_alike() -> None:
    cameras = cameras_before_a_wall(1, turn=0.0, spread=0.0)
    target = ViewCameras(cameras.c2w.clone(), cameras.intrinsics)
    xy = torch.tensor([[0.3, 0.4], [0.5, 0.5], [0.6, 0.3], [0.7, 0.6], [0.4, 0.6]])
    truth = torch.full((5, 3), 0.5)
    rgb, warped = truth.clone(), truth.clone()[None]
    rgb[1] += 0.03  # the second ray has another colour than the truth
    warped[0, 2] -= 0.03  # the third is seen in another colour
    textured = torch.tensor([True, True, True, False, True])  # and the fourth has no texture
    depth = torch.tensor([2.0, 2.0, 2.0, 2.0, 3.5], requires_grad=True)
    predicted = torch.full((1, 6, 8), 2.4, requires_grad=True)
    points = TargetPoints.of(cameras, target, xy, rgb, depth)
    loss = pseudo_depth_loss(predicted, points, truth, warped, textured)
    assert float(loss.detach()) == pytest.approx((smooth_l1(0.4) + smooth_l1(1.1)) / 2, rel=1e-4)
    loss.backward()
    assert depth.grad is None  # the rendered depth is the teacher
    assert predicted.grad is not None


def slopes(image: Tensor, row: int, column: int) -> tuple[Tensor, Tensor]:
    height, width = image.shape[-2:]
    zero = torch.zeros(image.shape[:-2])
    right = image[..., row, column + 1] - image[..., row, column] if column + 1 < width else zero
    return right, image[..., row + 1, column] - image[..., row, column] if row + 1 < height else zero


def pair_errors(warped: Tensor, seen: Tensor, image: Tensor) -> Tensor:
    """Error [h, w] of one view: half the smooth L1 of masked colours and half that of their slopes."""
    first, second = warped * seen, image * seen
    errors = torch.zeros(image.shape[1:])
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            parts = [(first[:, row, column], second[:, row, column])]
            parts += list(zip(slopes(first, row, column), slopes(second, row, column), strict=True))
            for a, b in parts:
                errors[row, column] += 0.5 * sum(smooth_l1(x) for x in (a - b).tolist()) / 3
    return errors


def views() -> tuple[Tensor, Tensor, Tensor]:
    seen = random(3, 5, 6, seed=2) > 0.4
    seen[:, 0, 0] = False
    return random(3, 3, 5, 6), seen, random(3, 5, 6, seed=1)


def test_reconstruction_takes_the_best_view_of_each_pixel() -> None:
    warped, seen, image = views()
    errors = [pair_errors(warped[view], seen[view], image) for view in range(3)]
    best = []
    for row in range(5):
        for column in range(6):
            found = [float(errors[view][row, column]) for view in range(3) if seen[view, row, column]]
            if found:
                best.append(min(found))
    assert len(best) < 30
    assert float(reconstruction_loss(warped, seen, image)) == pytest.approx(sum(best) / len(best), rel=1e-5)


def test_released_reconstruction_has_one_error_for_each_view() -> None:
    warped, seen, image = views()
    errors = [float(pair_errors(warped[view], seen[view], image).mean()) for view in range(3)]
    total = 0.0
    for row in range(5):
        for column in range(6):
            total += min((errors[view] for view in range(3) if seen[view, row, column]), default=0.0)
    assert float(scalar_reconstruction_loss(warped, seen, image)) == pytest.approx(total / 30, rel=1e-5)


def test_ssim_is_that_of_windows_of_3x3() -> None:
    x, y = random(3, 5, 6), random(3, 5, 6, seed=1)
    found = ssim(x, y)
    for row in range(1, 4):
        for column in range(1, 5):
            for channel in range(3):
                a = x[channel, row - 1 : row + 2, column - 1 : column + 2].double().flatten()
                b = y[channel, row - 1 : row + 2, column - 1 : column + 2].double().flatten()
                cross = float(((a - a.mean()) * (b - b.mean())).mean())
                expected = (2 * a.mean() * b.mean() + 1e-4) * (2 * cross + 9e-4)
                expected /= (a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (a.var(correction=0) + b.var(correction=0) + 9e-4)
                assert float(found[channel, row, column]) == pytest.approx(float(expected), abs=1e-4)
    torch.testing.assert_close(ssim(x, x), torch.ones_like(x), atol=1e-3, rtol=0)


def test_structure_counts_the_first_two_views_where_they_see() -> None:
    warped, seen, image = views()
    expected = 0.0
    for view in range(2):
        errors = ((1 - ssim(warped[view], image)) / 2).clamp(0, 1).mean(dim=0)
        expected += float(errors[seen[view]].mean())
    assert float(structure_loss(warped, seen, image)) == pytest.approx(expected, rel=1e-5)


def test_smoothness_is_the_slope_of_depth_where_colour_has_none() -> None:
    depth, image = 3 * random(5, 6), random(3, 5, 6, seed=1)
    total = 0.0
    for row in range(5):
        for column in range(6):
            edges = slopes(image, row, column)
            for slope, edge in zip(slopes(depth, row, column), edges, strict=True):
                total += abs(float(slope)) * math.exp(-float(edge.abs().mean()))
    assert float(smoothness_loss(depth, image)) == pytest.approx(total / 30, rel=1e-5)


@pytest.mark.parametrize("scalar", [False, True])
def test_the_unsupervised_loss_is_least_at_the_true_depth(scalar: bool) -> None:
    frames = frames_of_the_wall(cameras_before_a_wall(4, turn=0.02), (32, 48))
    assert frames.depths_m is not None
    losses = [
        float(unsupervised_depth_loss(factor * frames.depths_m, frames.images, frames.cameras, scalar))
        for factor in (0.8, 0.9, 1.0, 1.1, 1.25)
    ]
    assert losses == sorted(losses[:3], reverse=True) + sorted(losses[3:])
    assert losses[2] < 0.3 * min(losses[0], losses[4])


def test_the_unsupervised_loss_does_not_depend_on_the_order_of_the_views_and_moves_depth() -> None:
    frames = frames_of_the_wall(cameras_before_a_wall(4), (16, 24))
    assert frames.depths_m is not None
    depth = (1.1 * frames.depths_m).requires_grad_()
    loss = unsupervised_depth_loss(depth, frames.images, frames.cameras)
    order = torch.tensor([3, 1, 0, 2])
    other = unsupervised_depth_loss(depth[order], frames.images[order], frames.cameras[order])
    torch.testing.assert_close(loss, other)
    loss.backward()
    assert depth.grad is not None
    # Smaller depth is closer to the truth nearly everywhere.
    assert float(depth.grad.sum()) > 0


def test_gradients_of_the_photometric_losses_are_slopes() -> None:
    warped, seen, image = views()
    warped, image = warped.double().requires_grad_(), image.double()
    depth = random(5, 6, seed=4).double().requires_grad_()
    for function in (reconstruction_loss, scalar_reconstruction_loss, structure_loss):
        assert torch.autograd.gradcheck(lambda x, f=function: f(x, seen, image), (warped,), atol=1e-4)
    assert torch.autograd.gradcheck(lambda x: smoothness_loss(x, image), (depth,), atol=1e-4)
