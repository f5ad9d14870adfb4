"""Views of a wall of squares, each of one colour and one class."""

import torch
from torch import Tensor

from semantic_ns.splatting.fit import View
from semantic_ns.splatting.project import PinholeCamera
from support.ring_of_views import cameras_before_a_wall, frames_of_the_wall

COLORS = torch.tensor([[0.9, 0.2, 0.2], [0.2, 0.8, 0.3], [0.2, 0.3, 0.9]])
"""Of the classes."""
_SIDE_M = 0.8


def views_and_classes(count: int, size: tuple[int, int]) -> tuple[list[View], list[Tensor]]:
    """Views of a height and width with exact depth, and the classes of their pixels."""
    height, width = size
    cameras = cameras_before_a_wall(count)
    depths = frames_of_the_wall(cameras, size).depths_m
    assert depths is not None
    views, classes = [], []
    for number in range(count):
        w2c = torch.linalg.inv(cameras.c2w[number])[:3].float()
        lens = (cameras.intrinsics[number] * torch.tensor([width, height, width, height])).float()
        rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        rays = torch.stack([(columns - lens[2]) / lens[0], (rows - lens[3]) / lens[1], torch.ones(size)], dim=-1)
        points = (rays * depths[number][..., None] - w2c[:, 3]) @ w2c[:, :3]
        image = ((points[..., 0] / _SIDE_M).floor() + 2 * (points[..., 1] / _SIDE_M).floor()).long() % len(COLORS)
        views.append(View(PinholeCamera(w2c, lens, height, width), COLORS[image], depths[number]))
        classes.append(image.int())
    return views, classes
