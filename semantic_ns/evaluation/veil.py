"""Veils: what stops light close to the lens of one camera and is not there for the others.

A field can explain an image by a thin coat of its colours right in front of the camera instead of by the scene; from
anywhere else that coat is fog. A ray is *veiled* if more than 20 % of its light stops nearer than a quarter of the
scene's depth, at a point that other cameras do not confirm. Such a camera has the point in its picture and stands at
least half the point's distance away from the first one, since from the same place a veil looks like a surface. It
confirms the point if the median depth that it renders there agrees, contradicts it if that depth is larger, and says
nothing if it is smaller (something is in between). A point is confirmed by at least as many cameras as contradict it,
and by one at least. Where no camera stands that far away, as in a panorama, nothing can be said, and no ray is veiled.

The scene's depth is the upper quartile, over cameras, of the median depth that a camera renders: veils before most of
the cameras must not make it small. Distances are along unit rays in scene units.
"""

from collections.abc import Sequence
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

NEAR_SHARE = 0.25
"""Of the scene's depth: what is nearer is close to the lens."""
LEAST_WEIGHT = 0.2
"""Share of a ray's light that has to stop there."""
LEAST_SHARE = 0.1
"""Share of veiled rays from which on a camera is named."""
_LEAST_BASELINE = 0.5
_RELATIVE_TOLERANCE = 0.1
_SMALLEST_TOLERANCE = 0.02
"""Of the scene's depth."""
_VEIL_END = 0.9
"""Quantile of the distances of veiled points that is given as the end of the veil."""
_NUM_NAMED = 3
_MOST_PAIRS = 1 << 20
"""Of a point and a camera that are looked at together: a scene of many frames must not need tens of gigabytes."""


@runtime_checkable
class RayRenderer(Protocol):
    """A trained scene, asked ray by ray."""

    def depth(self, rays: RayBundle) -> Float[Tensor, "rays"]:
        """The median distance of each ray; 0 where it meets nothing."""
        ...

    def near_weight(self, rays: RayBundle, end: float) -> tuple[Float[Tensor, "rays"], Float[Tensor, "rays"]]:
        """The share of each ray's light that stops before the distance `end`, and the mean distance of that."""
        ...


@dataclass(frozen=True)
class Veils:
    """Which cameras stand behind a veil.

    Attributes:
        names: names of the cameras that were examined.
        shares: share of the rays of each that are veiled.
        near: distance in scene units below which a point is close to the lens.
        end: distance in scene units within which nine of ten veiled points lie; NaN without any.
        remedy: option that makes a further training better, in words that follow "train again with".
    """

    names: tuple[str, ...]
    shares: Float64[ndarray, "cameras"]
    near: float
    end: float
    remedy: str = ""

    def veiled(self) -> list[tuple[str, float]]:
        """Name and share of the cameras with at least 10 % veiled rays, the worst first."""
        found = [(name, float(share)) for name, share in zip(self.names, self.shares, strict=True)]
        return sorted((item for item in found if item[1] >= LEAST_SHARE), key=lambda item: (-item[1], item[0]))

    def sentence(self) -> str | None:
        """How many cameras are veiled, the worst by name, and where the veil ends; None if none is."""
        veiled = self.veiled()
        if not veiled:
            return None
        worst = ", ".join(f"{name} {share:.0%}" for name, share in veiled[:_NUM_NAMED])
        more = ", ..." if len(veiled) > _NUM_NAMED else ""
        return (
            f"{len(veiled)} of {len(self.names)} views lie behind a veil close to the lens that no other camera "
            f"confirms (share of the view: {worst}{more}); most of it is nearer than {self.end:.2g} scene units"
        )


def find_veils(
    cameras: Cameras, names: Sequence[str], render: RayRenderer, num_cameras: int = 10**9, num_rays: int = 64
) -> Veils:
    """Look for veils before the cameras of a scene; a pure function of cameras and field.

    Args:
        cameras: all of the scene, perspective ones; each may confirm what another one sees.
        names: names of the cameras.
        render: the trained scene.
        num_cameras: largest number of cameras to examine, evenly spaced.
        num_rays: approximate number of rays of each, on a regular grid.
    """
    examined = evenly_spaced(min(num_cameras, len(cameras)), len(cameras))
    rays = FastRayGenerator(cameras)(_grid(cameras, examined, num_rays))
    owner = _numbers(rays.camera_indices)[:, 0].astype(np.int64)
    scene_depth = _depth_of_scene(_numbers(render.depth(rays)), owner)
    near = NEAR_SHARE * scene_depth
    weight, distance = (_numbers(values) for values in render.near_weight(rays, near))
    is_veiled = (weight > LEAST_WEIGHT) & (_LEAST_BASELINE * distance <= _longest_baselines(cameras, examined)[owner])
    where = np.flatnonzero(is_veiled)
    points = (_numbers(rays.origins) + _numbers(rays.directions) * distance[:, None])[where]
    is_veiled[where] = ~_are_confirmed(cameras, render, points, owner[where], distance[where], scene_depth)
    counts = np.bincount(owner, minlength=len(cameras))[examined]
    return Veils(
        names=tuple(names[int(i)] for i in examined),
        shares=np.bincount(owner[is_veiled], minlength=len(cameras))[examined] / counts,
        near=near,
        end=float(np.quantile(distance[is_veiled], _VEIL_END)) if is_veiled.any() else float("nan"),
    )


def _numbers(tensor: Tensor | None) -> Float64[ndarray, "..."]:
    assert tensor is not None
    return tensor.detach().cpu().double().numpy()


def tile_middles(height: int, width: int, count: int) -> tuple[Int64[Tensor, "rows"], Int64[Tensor, "columns"]]:
    """Rows and columns of the middles of about `count` equal tiles of a picture."""
    num_rows = min(height, max(1, round((count * height / width) ** 0.5)))
    num_columns = min(width, max(1, round(count / num_rows)))
    rows = ((torch.arange(num_rows) + 0.5) * height / num_rows).long()
    columns = ((torch.arange(num_columns) + 0.5) * width / num_columns).long()
    return rows, columns


def _grid(cameras: Cameras, examined: Int64[ndarray, "cameras"], num_rays: int) -> Int64[Tensor, "rays 3"]:
    """Camera, row and column of the middles of about `num_rays` equal tiles of each picture."""
    found = []
    for index in examined.tolist():
        rows, columns = tile_middles(int(cameras.height[index]), int(cameras.width[index]), num_rays)
        found.append(torch.cartesian_prod(torch.tensor([index]), rows, columns))
    return torch.cat(found)


def _depth_of_scene(depth: Float64[ndarray, "rays"], owner: Int64[ndarray, "rays"]) -> float:
    medians = [np.median(depth[(owner == camera) & (depth > 0)]) for camera in np.unique(owner[depth > 0])]
    return float(np.quantile(medians, 0.75)) if medians else 0.0


def _longest_baselines(cameras: Cameras, examined: Int64[ndarray, "some"]) -> Float64[ndarray, "cameras"]:
    """How far the farthest other camera is from each of the examined ones; 0 for the rest."""
    positions = _numbers(cameras.camera_to_worlds)[:, :, 3]
    found = np.zeros(len(positions))
    for index in examined:
        found[index] = np.linalg.norm(positions - positions[index], axis=1).max()
    return found


def _are_confirmed(
    cameras: Cameras,
    render: RayRenderer,
    points: Float64[ndarray, "points 3"],
    owner: Int64[ndarray, "points"],
    distance: Float64[ndarray, "points"],
    scene_depth: float,
) -> Bool[ndarray, "points"]:
    """Whether other cameras see a surface at each point."""
    point, camera = _sightings(cameras, points, owner, distance)
    if len(point) == 0:
        return np.zeros(len(points), bool)
    positions = _numbers(cameras.camera_to_worlds)[:, :, 3]
    forward = -_numbers(cameras.camera_to_worlds)[:, :, 2]
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
    beyond = _numbers(render.depth(rays)) - length[:, 0]
    tolerance = np.maximum(_RELATIVE_TOLERANCE * length[:, 0], _SMALLEST_TOLERANCE * scene_depth)
    agreeing, contradicting = (
        np.bincount(point[is_so], minlength=len(points)) for is_so in (np.abs(beyond) <= tolerance, beyond > tolerance)
    )
    return (agreeing > 0) & (agreeing >= contradicting)


def _sightings(
    cameras: Cameras,
    points: Float64[ndarray, "points 3"],
    owner: Int64[ndarray, "points"],
    distance: Float64[ndarray, "points"],
    most: int = 8,
) -> tuple[Int64[ndarray, "sightings"], Int64[ndarray, "sightings"]]:
    """Number of the point, and camera, of the pairs in which a camera can judge a point; the nearest `most` a point."""
    size = max(1, _MOST_PAIRS // len(cameras))
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for first in range(0, len(points), size):
        part = slice(first, first + size)
        point, camera = _sightings_at_once(cameras, points[part], owner[part], distance[part], most)
        found.append((point + first, camera))
    point, camera = zip(*found, strict=True)
    return np.concatenate(point), np.concatenate(camera)


def _sightings_at_once(
    cameras: Cameras,
    points: Float64[ndarray, "points 3"],
    owner: Int64[ndarray, "points"],
    distance: Float64[ndarray, "points"],
    most: int,
) -> tuple[Int64[ndarray, "sightings"], Int64[ndarray, "sightings"]]:
    """`_sightings` in arrays of all pairs of a point and a camera."""
    c2w = np.tile(np.eye(4), (len(cameras), 1, 1))
    c2w[:, :3] = _numbers(cameras.camera_to_worlds)
    c2w = opencv_to_opengl(c2w)  # its own inverse
    local = np.einsum("pcj,cjk->pck", points[:, None] - c2w[None, :, :3, 3], c2w[:, :3, :3])
    intrinsics = np.concatenate([_numbers(getattr(cameras, name)) for name in ("fx", "fy", "cx", "cy")], axis=1)
    size = np.concatenate([_numbers(cameras.width), _numbers(cameras.height)], axis=1)
    repeated = np.broadcast_to(intrinsics, (len(points), *intrinsics.shape)).reshape(-1, 4)
    place = project(local.reshape(-1, 3), repeated).reshape(*local.shape[:2], 2)
    is_seen = (local[..., 2] > 0) & ((place >= 0) & (place < size)).all(axis=2)
    baseline = np.linalg.norm(c2w[owner, None, :3, 3] - c2w[None, :, :3, 3], axis=2)
    is_seen &= baseline >= np.maximum(_LEAST_BASELINE * distance[:, None], 1e-9)
    far = np.where(is_seen, np.linalg.norm(local, axis=2), np.inf)
    nearest = np.argsort(far, axis=1, kind="stable")[:, :most]
    point = np.repeat(np.arange(len(points)), nearest.shape[1])
    is_pair = np.isfinite(far[point, nearest.ravel()])
    return point[is_pair], nearest.ravel()[is_pair].astype(np.int64)
