"""What other cameras of a scene say of points that one camera renders."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from numpy import ndarray
from torch import Tensor

from semantic_ns.geometry.pinhole import project
from semantic_ns.geometry.poses import opencv_to_opengl
from semantic_ns.geometry.rays import FastRayGenerator
from semantic_ns.labels.corruption_frames import evenly_spaced

_MOST_PAIRS = 1 << 20
"""Of a point and a camera that are looked at together: a scene of many frames must not need tens of gigabytes."""


@runtime_checkable
class DepthRenderer(Protocol):
    """A trained scene, asked ray by ray."""

    def depth(self, rays: RayBundle) -> Float[Tensor, "rays"]:
        """The median distance of each ray; 0 where it meets nothing."""
        ...


def numbers(tensor: Tensor | None) -> Float64[ndarray, "..."]:
    """Values of a tensor as an array of doubles."""
    assert tensor is not None
    return tensor.detach().cpu().double().numpy()


def tile_middles(height: int, width: int, count: int) -> tuple[Int64[Tensor, "rows"], Int64[Tensor, "columns"]]:
    """Rows and columns of the middles of about `count` equal tiles of a picture."""
    num_rows = min(height, max(1, round((count * height / width) ** 0.5)))
    num_columns = min(width, max(1, round(count / num_rows)))
    rows = ((torch.arange(num_rows) + 0.5) * height / num_rows).long()
    columns = ((torch.arange(num_columns) + 0.5) * width / num_columns).long()
    return rows, columns


@dataclass(frozen=True, eq=False)
class ExaminedRays:
    """Rays through the middles of equal tiles of the pictures of some cameras, on which a trained scene is judged.

    Attributes:
        cameras: numbers of these cameras, ascending.
        rays: their rays, one camera after the other.
        owner: number of the camera of each ray.
    """

    cameras: Int64[ndarray, "examined"]
    rays: RayBundle
    owner: Int64[ndarray, "rays"]

    @classmethod
    def of(cls, cameras: Cameras, num_cameras: int, num_rays: int) -> "ExaminedRays":
        """The rays of evenly spaced cameras of a scene.

        Args:
            cameras: all of the scene.
            num_cameras: largest number of cameras to examine.
            num_rays: approximate number of rays of each.
        """
        chosen = evenly_spaced(min(num_cameras, len(cameras)), len(cameras))
        pixels = []
        for index in chosen.tolist():
            rows, columns = tile_middles(int(cameras.height[index]), int(cameras.width[index]), num_rays)
            pixels.append(torch.cartesian_prod(torch.tensor([index]), rows, columns))
        rays = FastRayGenerator(cameras)(torch.cat(pixels))
        return cls(chosen, rays, numbers(rays.camera_indices)[:, 0].astype(np.int64))

    def points(self, distance: Float64[ndarray, "rays"]) -> Float64[ndarray, "rays 3"]:
        """The points at some distances along the rays."""
        return numbers(self.rays.origins) + numbers(self.rays.directions) * distance[:, None]

    def shares(self, is_counted: Bool[ndarray, "rays"]) -> Float64[ndarray, "examined"]:
        """Of the rays of each camera, the share that is counted."""
        size = int(self.cameras.max()) + 1
        counted, all_rays = (np.bincount(owner, minlength=size) for owner in (self.owner[is_counted], self.owner))
        return counted[self.cameras] / all_rays[self.cameras]


def depth_of_scene(depth: Float64[ndarray, "rays"], owner: Int64[ndarray, "rays"]) -> float:
    """The upper quartile, over cameras, of the median depth of the rays of each; rays of depth 0 meet nothing."""
    medians = [np.median(depth[(owner == camera) & (depth > 0)]) for camera in np.unique(owner[depth > 0])]
    return float(np.quantile(medians, 0.75)) if medians else 0.0


@dataclass(frozen=True)
class Sightings:
    """Points, as other cameras see them; one entry for each pair of a point and a camera that has it in its picture.

    Attributes:
        point: number of the point.
        camera: number of the camera.
        distance: from the camera to the point, scene units.
        beyond: how far beyond the point the median depth is that the camera renders there; negative where something
            is in between.
    """

    point: Int64[ndarray, "sightings"]
    camera: Int64[ndarray, "sightings"]
    distance: Float64[ndarray, "sightings"]
    beyond: Float64[ndarray, "sightings"]

    def votes(
        self, num_points: int, relative: float, smallest: float
    ) -> tuple[Int64[ndarray, "points"], Int64[ndarray, "points"]]:
        """How many cameras see a surface at each point, and how many see through it.

        Args:
            num_points: number of points.
            relative: difference in depth that is taken for none, as a share of the distance.
            smallest: the same, in scene units; the larger one counts.
        """
        tolerance = np.maximum(relative * self.distance, smallest)
        is_there, is_open = np.abs(self.beyond) <= tolerance, self.beyond > tolerance
        agreeing, contradicting = (np.bincount(self.point[kind], minlength=num_points) for kind in (is_there, is_open))
        return agreeing, contradicting


def look_from_elsewhere(
    cameras: Cameras,
    render: DepthRenderer,
    points: Float64[ndarray, "points 3"],
    owner: Int64[ndarray, "points"],
    least_baseline: Float64[ndarray, "points"],
    most: int = 8,
) -> Sightings:
    """Render the depth at some points as other cameras see it.

    Args:
        cameras: all of the scene, perspective ones.
        render: the trained scene.
        points: scene frame, scene units.
        owner: camera of each point, which is not asked itself.
        least_baseline: distance from the owner of each point at which a camera has to stand, scene units.
        most: largest number of cameras for a point; the nearest ones are asked.
    """
    point, camera = _pairs(cameras, points, owner, least_baseline, most)
    if len(point) == 0:
        return Sightings(point, camera, np.zeros(0), np.zeros(0))
    positions = numbers(cameras.camera_to_worlds)[:, :, 3]
    forward = -numbers(cameras.camera_to_worlds)[:, :, 2]
    offset = points[point] - positions[camera]
    length = np.linalg.norm(offset, axis=1, keepdims=True)
    direction = offset / length
    along_axis = (direction * forward[camera]).sum(axis=1, keepdims=True)
    like = cameras.camera_to_worlds

    def tensor(values: Float64[ndarray, "..."]) -> Tensor:
        return torch.from_numpy(values).to(like.device, like.dtype)

    rays = RayBundle(
        origins=tensor(positions[camera]),
        directions=tensor(direction),
        pixel_area=torch.ones(len(camera), 1, device=like.device, dtype=like.dtype),
        camera_indices=torch.from_numpy(camera)[:, None].to(like.device),
        metadata={"directions_norm": tensor(1 / along_axis)},
    )
    return Sightings(point, camera, length[:, 0], numbers(render.depth(rays)) - length[:, 0])


def _pairs(
    cameras: Cameras,
    points: Float64[ndarray, "points 3"],
    owner: Int64[ndarray, "points"],
    least_baseline: Float64[ndarray, "points"],
    most: int,
) -> tuple[Int64[ndarray, "pairs"], Int64[ndarray, "pairs"]]:
    """Number of the point, and camera, of the pairs in which a camera can judge a point; the nearest `most` a point."""
    size = max(1, _MOST_PAIRS // len(cameras))
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for first in range(0, len(points), size):
        part = slice(first, first + size)
        point, camera = _pairs_at_once(cameras, points[part], owner[part], least_baseline[part], most)
        found.append((point + first, camera))
    point, camera = zip(*found, strict=True)
    return np.concatenate(point), np.concatenate(camera)


def _pairs_at_once(
    cameras: Cameras,
    points: Float64[ndarray, "points 3"],
    owner: Int64[ndarray, "points"],
    least_baseline: Float64[ndarray, "points"],
    most: int,
) -> tuple[Int64[ndarray, "pairs"], Int64[ndarray, "pairs"]]:
    """`_pairs` in arrays of all pairs of a point and a camera."""
    c2w = np.tile(np.eye(4), (len(cameras), 1, 1))
    c2w[:, :3] = numbers(cameras.camera_to_worlds)
    c2w = opencv_to_opengl(c2w)  # its own inverse
    local = np.einsum("pcj,cjk->pck", points[:, None] - c2w[None, :, :3, 3], c2w[:, :3, :3])
    intrinsics = np.concatenate([numbers(getattr(cameras, name)) for name in ("fx", "fy", "cx", "cy")], axis=1)
    size = np.concatenate([numbers(cameras.width), numbers(cameras.height)], axis=1)
    repeated = np.broadcast_to(intrinsics, (len(points), *intrinsics.shape)).reshape(-1, 4)
    place = project(local.reshape(-1, 3), repeated).reshape(*local.shape[:2], 2)
    is_seen = (local[..., 2] > 0) & ((place >= 0) & (place < size)).all(axis=2)
    baseline = np.linalg.norm(c2w[owner, None, :3, 3] - c2w[None, :, :3, 3], axis=2)
    is_seen &= baseline >= np.maximum(least_baseline[:, None], 1e-9)
    far = np.where(is_seen, np.linalg.norm(local, axis=2), np.inf)
    nearest = np.argsort(far, axis=1, kind="stable")[:, :most]
    point = np.repeat(np.arange(len(points)), nearest.shape[1])
    is_pair = np.isfinite(far[point, nearest.ravel()])
    return point[is_pair], nearest.ravel()[is_pair].astype(np.int64)
