"""Halves of Gaussians, and which of them are wanted."""

import math

import pytest
import torch
from torch import Tensor

from semantic_ns.splatting.project import Gaussians
from semantic_ns.splatting.rasterize import rasterize
from semantic_ns.splatting.splitting import SHRINKS_BY, halves, most_wanted, with_halves
from support.random_gaussians import CAMERA, random_gaussians


def covariance(quat: Tensor, scales: Tensor) -> Tensor:
    """R diag(s²) R^T, with the rotation of a quaternion w, x, y, z written out."""
    w, x, y, z = (quat / quat.norm()).tolist()
    rotation = torch.tensor([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
    return rotation @ torch.diag(scales**2) @ rotation.T


def test_two_halves_have_the_mean_of_the_whole_and_its_variance_along_the_longest_axis() -> None:
    gaussians, _ = random_gaussians(20)
    first, second, log_scales = halves(gaussians.means, gaussians.quats, gaussians.scales.log())
    torch.testing.assert_close((first + second) / 2, gaussians.means)
    for n in range(20):
        whole = covariance(gaussians.quats[n], gaussians.scales[n])
        apart = (first[n] - second[n]) / 2
        together = covariance(gaussians.quats[n], log_scales[n].exp()) + apart[:, None] * apart
        variances, axes = torch.linalg.eigh(whole)
        for k, expected in enumerate((*(variances[:2] / SHRINKS_BY**2), variances[2])):
            assert float(axes[:, k] @ together @ axes[:, k]) == pytest.approx(float(expected), rel=1e-3)


def test_what_is_drawn_right_after_a_split_changes_little() -> None:
    """A wall of round, opaque Gaussians that overlap, all of which are split."""
    places = torch.linspace(-1.5, 1.5, 25)
    means = torch.stack([*torch.meshgrid(places, places, indexing="xy"), torch.full((25, 25), 3.0)], dim=-1)
    means = means.view(-1, 3)
    quats = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(means), 1)
    scales = torch.tensor([0.1, 0.08, 0.002]).repeat(len(means), 1)
    wall = Gaussians(means, quats, scales, torch.full((len(means),), 0.95))
    colors = 0.5 + 0.4 * torch.sin(2 * means)
    rows = torch.arange(len(means))
    first, second, log_scales = halves(means[rows], quats[rows], scales[rows].log())
    for_all = means.clone(), scales.clone()
    for_all[0][rows], for_all[1][rows] = first, log_scales.exp()
    split = Gaussians(
        with_halves(for_all[0], rows, second),
        with_halves(quats, rows, quats[rows]),
        with_halves(for_all[1], rows, log_scales.exp()),
        with_halves(wall.opacities, rows, wall.opacities[rows]),
    )
    camera = CAMERA.__class__(torch.eye(4)[:3], torch.tensor([40.0, 40.0, 16.0, 16.0]), 32, 32)
    before, _, opacity = rasterize(wall, colors, camera)
    after, _, covered = rasterize(split, with_halves(colors, rows, colors[rows]), camera)
    inside = slice(4, 28)
    assert float(opacity[inside, inside].min()) > 0.98
    assert float(covered[inside, inside].min()) > 0.95
    changed = float((after - before)[inside, inside].abs().mean())
    lost, _, _ = rasterize(Gaussians(for_all[0], quats, for_all[1], wall.opacities), colors, camera)
    assert changed < 0.02
    assert changed < 0.6 * float((lost - before)[inside, inside].abs().mean())  # with the first halves alone


def wanted_one_by_one(square: Tensor, turns: Tensor, log_scales: Tensor, beta: float, count: int) -> list[int]:
    """The twin: the promise of each Gaussian, and the numbers of the largest ones in ascending order."""
    promise = {}
    for n in range(len(turns)):
        if float(turns[n]) == 0:
            continue
        mean_square = sum(square[n].tolist()) / (1 - beta ** float(turns[n]))
        promise[n] = math.sqrt(mean_square) * math.exp(max(log_scales[n].tolist()))
    best = sorted((n for n, value in promise.items() if 0 < value < math.inf), key=lambda n: -promise[n])
    return sorted(best[:count])


@pytest.mark.parametrize("count", [0, 1, 7, 40, 90])
def test_those_are_wanted_whose_loss_changes_most_if_they_move_by_their_size(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    square = torch.rand(50, 3, generator=generator) ** 4
    turns = torch.randint(0, 5, (50,), generator=generator).float()
    log_scales = torch.randn(50, 3, generator=generator)
    square[3] = 0.0
    found = most_wanted(square, turns, log_scales, 0.99, count)
    assert found.tolist() == wanted_one_by_one(square, turns, log_scales, 0.99, count)
    assert count < 90 or len(found) < 50  # what was not seen is not split


def test_a_gaussian_whose_gradient_is_no_number_is_not_split() -> None:
    square = torch.tensor([[1.0, 0.0, 0.0], [math.nan, 0.0, 0.0], [math.inf, 0.0, 0.0]])
    assert most_wanted(square, torch.ones(3), torch.zeros(3, 3), 0.99, 3).tolist() == [0]
