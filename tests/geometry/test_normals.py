"""Normals by differences of opacity: those of planes and spheres, of a linear opacity exactly, and never backwards."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.normals import surface_normals

RAYS = 40
STEPS = torch.full((RAYS, 1), 0.02)


def unit_vectors(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(RAYS, 3, generator=generator), dim=-1)


def in_front(normals: Tensor, seed: int = 7) -> Tensor:
    """Directions of rays that see surfaces of these normals."""
    directions = unit_vectors(seed)
    return torch.where((directions * normals).sum(-1, keepdim=True) > 0, -directions, directions)


def by_loop(density: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor, step: float) -> Tensor:
    total = torch.zeros(3)
    for x in (-1.0, 1.0):
        for y in (-1.0, 1.0):
            corner = torch.tensor([x, y, x * y])  # an even number of signs
            opacity = 1 - torch.exp(-density((point + step * corner)[None])[0, 0] * step)
            total -= opacity * corner
    normal = total / total.norm()
    return -normal if normal @ direction > 0 else normal


def test_the_normal_of_a_linear_opacity_is_its_negative_gradient_exactly() -> None:
    normals = unit_vectors(0)
    points = 0.01 * unit_vectors(1)
    for ray in range(RAYS):
        place = slice(ray, ray + 1)

        def density(x: Tensor, normal: Tensor = normals[ray]) -> Tensor:
            opacity = 0.5 - x @ normal[:, None]  # falls along the normal
            return -torch.log(1 - opacity) / 0.02

        found = surface_normals(density, points[place], in_front(normals)[place], STEPS[place])
        torch.testing.assert_close(found, normals[place], atol=1e-4, rtol=0)


def test_normals_of_a_ball_point_away_from_its_centre() -> None:
    points = unit_vectors(2)
    found = surface_normals(
        lambda x: 60 * torch.sigmoid(30 * (1 - x.norm(dim=-1, keepdim=True))), points, -points, STEPS
    )
    assert (found * points).sum(-1).min() > 0.99  # the step is not small against the radius
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(RAYS))


def test_the_vectors_are_those_of_a_loop_over_corners() -> None:
    points, directions = unit_vectors(3), unit_vectors(4)

    def density(x: Tensor) -> Tensor:
        return 20 + 15 * torch.sin(3 * x).sum(-1, keepdim=True)

    found = surface_normals(density, points, directions, STEPS)
    slow = torch.stack([by_loop(density, points[i], directions[i], 0.02) for i in range(RAYS)])
    torch.testing.assert_close(found, slow, atol=1e-4, rtol=0)


def test_normals_never_look_away_from_their_rays() -> None:
    directions = unit_vectors(6)
    found = surface_normals(lambda x: x[:, :1] + 5, unit_vectors(5), directions, STEPS)
    assert (found * directions).sum(-1).max() <= 0


@pytest.mark.parametrize("density", [0.0, 3.0, 1e30])
@pytest.mark.parametrize("step", [0.0, 0.02])
def test_where_density_says_nothing_the_normal_is_towards_the_ray(density: float, step: float) -> None:
    directions = unit_vectors(8)
    steps = torch.full((RAYS, 1), step)
    found = surface_normals(lambda x: torch.full_like(x[:, :1], density), unit_vectors(9), directions, steps)
    torch.testing.assert_close(found, -directions)
