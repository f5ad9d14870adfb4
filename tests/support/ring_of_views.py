"""Cameras before a textured wall, and what they see of it."""

from dataclasses import replace

import torch
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras, pixel_centres
from semantic_ns.many_scenes.samples import Frames, TargetSample

WALL_M = 2.0
"""Depth z of the wall in the world; the cameras look along z."""


def cameras_before_a_wall(count: int, seed: int = 0, turn: float = 0.05, spread: float = 0.25) -> ViewCameras:
    """Cameras near the origin that look along z, turned by small angles."""
    generator = torch.Generator().manual_seed(seed)
    c2w = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    angles = turn * torch.randn(count, 3, generator=generator).double()
    skew = torch.zeros(count, 3, 3, dtype=torch.float64)
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = -angles[:, 2], angles[:, 1], -angles[:, 0]
    c2w[:, :3, :3] = torch.linalg.matrix_exp(skew - skew.mT)
    c2w[:, :3, 3] = spread * torch.randn(count, 3, generator=generator).double()
    return ViewCameras(c2w, torch.tensor([[0.8, 1.0, 0.49, 0.52]], dtype=torch.float64).repeat(count, 1))


def texture(points: Tensor) -> Tensor:
    """Colours [..., 3] of points [..., 3] of the wall."""
    x, y = points[..., 0], points[..., 1]
    waves = torch.stack([torch.sin(7 * x) * torch.cos(5 * y), torch.sin(9 * y + 2 * x), torch.cos(6 * x - 8 * y)], -1)
    return 0.5 + 0.4 * waves


def frames_of_the_wall(cameras: ViewCameras, size: tuple[int, int], num_classes: int = 5) -> Frames:
    """Images, labels (squares; some void) and exact depth of the wall."""
    height, width = size
    directions = cameras.ray_directions(pixel_centres(height, width).double().expand(len(cameras), -1, -1, -1))
    centres = cameras.centres[:, None, None]
    depth = (WALL_M - centres[..., 2]) / directions[..., 2]
    points = centres + depth[..., None] * directions
    cell = (points[..., 0] / 0.4).floor().long() + 3 * (points[..., 1] / 0.4).floor().long()
    labels = cell % (num_classes + 1) - 1
    return Frames(texture(points).float().permute(0, 3, 1, 2).contiguous(), labels, depth.float(), cameras)


def sample_of_the_wall(num_sources: int, size: tuple[int, int] = (32, 48), num_targets: int = 1) -> TargetSample:
    """Targets and sources before the wall."""
    cameras = cameras_before_a_wall(num_sources + num_targets)
    frames = frames_of_the_wall(cameras, size)
    assert frames.depths_m is not None

    def part(chosen: slice) -> Frames:
        assert frames.depths_m is not None
        return Frames(frames.images[chosen], frames.labels[chosen], frames.depths_m[chosen], cameras[chosen])

    return TargetSample(part(slice(0, num_sources)), part(slice(num_sources, None)))


def without_depth(sample: TargetSample) -> TargetSample:
    """The same sample of a scene without depth."""
    return TargetSample(replace(sample.sources, depths_m=None), replace(sample.targets, depths_m=None))


def pixel_of(camera: ViewCameras, point: Tensor, size: tuple[int, int]) -> tuple[float, float, float]:
    """Column and row, 0 at the first pixel centre, and planar depth of a world point in one camera; one step each."""
    height, width = size
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    rotation, centre = camera.c2w[0, :3, :3], camera.c2w[0, :3, 3]
    x, y, z = (rotation.T @ (point.double() - centre)).tolist()
    return width * (fx * x / z + cx) - 0.5, height * (fy * y / z + cy) - 0.5, z


def world_point(camera: ViewCameras, column: float, row: float, depth: float, size: tuple[int, int]) -> Tensor:
    """World point of one camera's pixel, 0 at the first pixel centre, at a planar depth."""
    height, width = size
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    x, y = ((column + 0.5) / width - cx) / fx, ((row + 0.5) / height - cy) / fy
    local = torch.tensor([x * depth, y * depth, depth], dtype=torch.float64)
    return camera.c2w[0, :3, :3] @ local + camera.c2w[0, :3, 3]


def bilinear(image: Tensor, column: float, row: float) -> Tensor:
    """Value [c] of an image [c, h, w] between four pixels; 0 outside."""
    total = torch.zeros(image.shape[0], dtype=torch.float64)
    left, top = int(torch.tensor(column).floor()), int(torch.tensor(row).floor())
    for r in (top, top + 1):
        for c in (left, left + 1):
            if 0 <= r < image.shape[1] and 0 <= c < image.shape[2]:
                total += (1 - abs(column - c)) * (1 - abs(row - r)) * image[:, r, c].double()
    return total
