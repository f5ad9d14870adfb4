"""Cameras in OpenCV's axes, and plain homogeneous matrices of theirs, point by point."""

import math

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras
from semantic_ns.many_scenes.views import SceneViews


def rotation(angles: tuple[float, float, float]) -> ndarray:
    """Turns about z, then y, then x, in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def pose(position: tuple[float, float, float], angles: tuple[float, float, float] = (0, 0, 0)) -> Tensor:
    c2w = np.eye(4)
    c2w[:3, :3], c2w[:3, 3] = rotation(angles), position
    return torch.from_numpy(c2w)


def cameras_at(*poses: Tensor, intrinsics: tuple[float, float, float, float] = (0.6, 0.8, 0.5, 0.5)) -> ViewCameras:
    return ViewCameras(torch.stack(poses), torch.tensor([intrinsics], dtype=torch.float64).repeat(len(poses), 1))


def random_cameras(count: int, seed: int = 0) -> ViewCameras:
    """Cameras within half a metre of each other that look about the same way, each with intrinsics of its own."""
    rng = np.random.default_rng(seed)
    poses = [pose(tuple(rng.uniform(-0.5, 0.5, 3)), tuple(rng.uniform(-0.5, 0.5, 3))) for _ in range(count)]
    intrinsics = np.concatenate([rng.uniform(0.5, 0.9, (count, 2)), rng.uniform(0.4, 0.6, (count, 2))], axis=1)
    return ViewCameras(torch.stack(poses), torch.from_numpy(intrinsics))


def projected(camera: ViewCameras, index: int, point: ndarray) -> ndarray:
    """Image coordinates and planar depth (x, y, z) of one world point, with the camera's inverse pose written out."""
    c2w, (fx, fy, cx, cy) = camera.c2w[index].numpy(), camera.intrinsics[index].numpy()
    x, y, z = c2w[:3, :3].T @ (point - c2w[:3, 3])
    return np.array([fx * x / z + cx, fy * y / z + cy, z])


def lifted(camera: ViewCameras, index: int, xy: ndarray, depth: float) -> ndarray:
    """The world point at an image coordinate and planar depth."""
    c2w, (fx, fy, cx, cy) = camera.c2w[index].numpy(), camera.intrinsics[index].numpy()
    in_camera = depth * np.array([(xy[0] - cx) / fx, (xy[1] - cy) / fy, 1.0])
    return c2w[:3, :3] @ in_camera + c2w[:3, 3]


def scene_views(cameras: ViewCameras, size: tuple[int, int] = (6, 8), has_depth: bool = True) -> SceneViews:
    """Frames whose every pixel is different: colours and labels at random, depth that counts frames and pixels."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(cameras), *size)
    depths = 1 + torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape) / 100
    return SceneViews(
        torch.randint(0, 256, (*shape, 3), generator=generator, dtype=torch.uint8),
        cameras,
        torch.randint(-1, 4, shape, generator=generator, dtype=torch.int16),
        depths if has_depth else None,
        metres_per_unit=2.0,
    )
