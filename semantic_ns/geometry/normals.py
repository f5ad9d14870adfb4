"""Normals of a density field, by differences of its values: any field, on any device, without gradients."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.nn import functional as F

# Every other corner of a cube; the sum of their outer products is four times the identity.
_CORNERS = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))
_FLAT = 1e-6
"""Length of the sum of opacities below which they say nothing about a direction."""

_STEP = 0.06
"""Step as a share of the distance: the surface of a field that trained for a few minutes is that rough. It was the best
of nine on rendered/room_0, see docs/results/data.md."""


def normals_of_rays(
    density: Callable[[Float[Tensor, "points 3"]], Float[Tensor, "points 1"]],
    ray_bundle: RayBundle,
    distances: Float[Tensor, "rays 1"],
) -> Float[Tensor, "rays 3"]:
    """Unit normals where rays meet surfaces, see :func:`surface_normals`.

    Args:
        density: Density per scene unit at points in scene units.
        ray_bundle: Rays, of any length.
        distances: Those of the surfaces, in lengths of the rays' directions.
    """
    points = ray_bundle.origins + ray_bundle.directions * distances
    return surface_normals(density, points, F.normalize(ray_bundle.directions, dim=-1), _STEP * distances)


@torch.no_grad()
def surface_normals(
    density: Callable[[Float[Tensor, "points 3"]], Float[Tensor, "points 1"]],
    points: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    steps: Float[Tensor, "rays 1"],
) -> Float[Tensor, "rays 3"]:
    """Unit normals at points on surfaces, towards the rays that see them.

    A normal is the direction of -sum_k k a(x + h k) over the four corners k of a tetrahedron, with the opacity
    a = 1 - exp(-density h) of one step: where a is linear, the sum is 4 h times its gradient. Opacity, unlike density,
    is bounded, so that the densest of the four does not decide alone. A step as long as the surface is thick gives a
    smoother normal than the gradient at one point (as Li et al. 2023, section 3.2, found of signed distances).

    Args:
        density: Density per scene unit at points in scene units.
        points: Points on surfaces, scene units.
        directions: Unit directions of the rays; where the opacities say nothing, the normal is their opposite.
        steps: Distance h of the corners along each axis, scene units.
    """
    corners = points.new_tensor(_CORNERS)
    around = points[:, None] + steps[:, None] * corners  # [rays, 4, 3]
    values = density(around.reshape(-1, 3)).reshape(len(points), len(_CORNERS), 1)
    opacities = 1 - torch.exp(-values.float() * steps[:, None])
    outwards = -(opacities * corners).sum(dim=1)
    is_flat = outwards.norm(dim=-1, keepdim=True) < _FLAT
    normals = F.normalize(torch.where(is_flat, -directions, outwards), dim=-1)
    is_behind = (normals * directions).sum(dim=-1, keepdim=True) > 0
    return torch.where(is_behind, -normals, normals)
