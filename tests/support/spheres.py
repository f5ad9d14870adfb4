"""Cameras in a room of spheres whose depth is known in closed form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

ROOM = 3.0
"""Half the side of a cubic room around the origin."""


def look_at(position: Any, target: Any) -> Tensor:
    """OpenGL camera to world [3, 4] of an upright camera, z up."""
    back = np.subtract(position, target) / np.linalg.norm(np.subtract(position, target))
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    return torch.from_numpy(np.stack([right, np.cross(back, right), back, np.array(position)], axis=1)).float()


def cameras_at(poses: Sequence[Tensor]) -> Cameras:
    return Cameras(torch.stack(list(poses)), 32.0, 32.0, 32.0, 24.0, 64, 48, camera_type=CameraType.PERSPECTIVE)


def ring(radius: float = 1.5, count: int = 8, inward: bool = True) -> list[Tensor]:
    """Cameras on a circle that look across its middle, or away from it."""
    poses = []
    for angle in np.arange(count) * 2 * math.pi / count:
        position = np.array([radius * math.cos(angle), radius * math.sin(angle), 0.0])
        poses.append(look_at(position, [0.0, 0.0, 0.0] if inward else 2 * position))
    return poses


@dataclass
class Spheres:
    """Light stops at the first of some spheres in a room, a share of it at veils on the way.

    Attributes:
        balls: centre and radius of opaque balls.
        coats: centre, radius and share of the light that stops at balls that let some of it through.
    """

    balls: list[tuple[list[float], float]] = field(default_factory=list)
    coats: list[tuple[list[float], float, float]] = field(default_factory=list)
    num_rays: int = 0

    def hit(self, rays: RayBundle, centre: list[float], radius: float) -> Tensor:
        """Distance of a ball, infinite where it is missed; its inside is hollow, so that a camera there sees it."""
        offset = rays.origins - torch.tensor(centre)
        half = (rays.directions * offset).sum(-1)
        root = half**2 - (offset**2).sum(-1) + radius**2
        near, far = -half - root.clamp(min=0).sqrt(), -half + root.clamp(min=0).sqrt()
        return torch.where(root <= 0, math.inf, torch.where(near > 0, near, torch.where(far > 0, far, math.inf)))

    def surface(self, rays: RayBundle) -> Tensor:
        """Distance of what is opaque."""
        wall = ((ROOM * rays.directions.sign() - rays.origins) / rays.directions).nan_to_num(math.inf).amin(-1)
        return torch.stack([wall, *(self.hit(rays, *ball) for ball in self.balls)]).amin(0)

    def stops(self, rays: RayBundle) -> list[tuple[Tensor, Tensor]]:
        """Distance and weight of what stops light, the nearest first per kind."""
        left, found, end = torch.ones(len(rays)), [], self.surface(rays)
        for centre, radius, share in self.coats:
            distance = self.hit(rays, centre, radius)
            weight = torch.where(distance < end, share * left, 0.0)
            left = left - weight
            found.append((distance, weight))
        return [*found, (end, left)]

    def depth(self, rays: RayBundle) -> Tensor:
        self.num_rays += len(rays)
        distances, weights = (torch.stack(values) for values in zip(*self.stops(rays), strict=True))
        order = distances.argsort(dim=0)
        passed = weights.gather(0, order).cumsum(0)
        first = (passed >= 0.5).int().argmax(0, keepdim=True)
        return distances.gather(0, order).gather(0, first)[0]

    def stopped(self, rays: RayBundle) -> tuple[Tensor, Tensor]:
        return torch.ones(len(rays)), self.depth(rays)

    def near_weight(self, rays: RayBundle, end: float) -> tuple[Tensor, Tensor]:
        self.num_rays += len(rays)
        near = [(distance, torch.where(distance < end, weight, 0.0)) for distance, weight in self.stops(rays)]
        total: Any = sum(weight for _, weight in near)
        mean: Any = sum(torch.where(weight > 0, distance * weight, 0.0) for distance, weight in near)
        return total, mean / total.clamp(min=1e-10)
