"""Flat Gaussians on a wall, cameras beside each other that look at it, and a few labels on its left and right."""

from dataclasses import replace

import torch
from torch import Tensor

from semantic_ns.splatting.fit import View
from semantic_ns.splatting.project import Gaussians
from support.random_gaussians import CAMERA

DISTANCE = 2.0


def wall(count: int) -> tuple[Gaussians, Tensor]:
    """Flat Gaussians on a wall that the cameras look at, and their colours."""
    generator = torch.Generator().manual_seed(0)
    seen = torch.cat([2 * torch.rand((count, 2), generator=generator) - 1, torch.full((count, 1), DISTANCE)], dim=1)
    turn, shift = CAMERA.w2c[:, :3], CAMERA.w2c[:, 3]
    w, x, y, z = 0.9487, -0.3162, 0.0, 0.0  # the turn of the camera
    quats = torch.tensor([w, x, y, z]).repeat(count, 1)
    scales = torch.tensor([0.05, 0.05, 0.005]).repeat(count, 1)
    return Gaussians((seen - shift) @ turn, quats, scales, torch.full((count,), 0.8)), torch.full((count, 3), 0.5)


def views_of_wall(count: int) -> list[View]:
    """Grey images of cameras beside each other, the first of which is `CAMERA`; their depth is not known."""
    pixels = torch.full((CAMERA.height, CAMERA.width, 3), 0.5)
    shifts = (torch.tensor([0.0, 0.0, 0.0, 0.1 * n]) for n in range(count))
    return [View(replace(CAMERA, w2c=CAMERA.w2c + shift), pixels) for shift in shifts]


def labels_on_both_sides(count: int) -> list[Tensor]:
    """In the first image class 0 on the left of the wall and class 1 on the right, a few pixels each; else void."""
    labels = [torch.full((CAMERA.height, CAMERA.width), -1).int() for _ in range(count)]
    for row in (9, 13, 17):
        labels[0][row, 6:10] = 0
        labels[0][row, 28:32] = 1
    return labels
