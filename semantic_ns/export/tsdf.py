"""A mesh of the surface that depth shows: truncated signed distances (Curless and Levoy 1996), then marching cubes.

Space is divided into blocks, and only those that depth images reach are looked at, one after the other: memory holds
the images and one block. A face is kept only if all voxels around it were seen: where seen space ends, marching
cubes would draw shells that nobody saw.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.export import view_votes_numba as kernels
from semantic_ns.export.crop import Crop
from semantic_ns.export.surface_views import SurfaceView

_BLOCK = 64
"""Cells along an axis of a block."""
_MARGIN = 1
"""Voxels beyond a block: those around its last ones must have been seen."""
_MOST_BLOCKS = 20_000
"""Blocks that depth reaches above which a voxel is taken for a mistake; a room has some 60 with voxels of 2 cm."""


@dataclass(frozen=True)
class TsdfConfig:
    """How depth becomes a mesh.

    Attributes:
        edge: Distance of two voxels in the unit of the world.
        truncation: Distance from a surface beyond which all space is alike.
    """

    edge: float
    truncation: float


class Mesh(NamedTuple):
    """Triangles in the world of the data set's files."""

    vertices: Float64[ndarray, "vertices 3"]
    normals: Float32[ndarray, "vertices 3"]
    """Unit length, out of the surface, towards the cameras."""
    faces: Int64[ndarray, "faces 3"]
    """Vertices of each triangle, counter-clockwise as the cameras see it."""


def fuse_depth(
    views: Sequence[SurfaceView],
    config: TsdfConfig,
    track: Callable[[Sequence[ndarray]], Iterator[ndarray]] = iter,
    crop: Crop | None = None,
) -> Mesh:
    """A mesh of the surface that the depth of all views shows together.

    Args:
        views: The views.
        config: Sizes.
        track: Wraps the blocks, to show progress.
        crop: Where triangles are wanted: all three of their vertices lie in it.

    Raises:
        SceneError: if the voxels are too small for the scene, or no surface is found.
    """
    first, blocks = _blocks(views, config, crop)
    slants = [view.slants() for view in views]
    parts = [part for block in track(blocks) if (part := _block_mesh(views, slants, config, first, block)) is not None]
    if not parts:
        raise SceneError(
            "Expected a surface in the depth of the training images, found none; check poses and depth with "
            "sns-doctor, or give larger voxels with --voxel-size."
        )
    mesh = _joined(parts, first, config.edge)
    return mesh if crop is None else _cropped(mesh, crop)


def _cropped(mesh: Mesh, crop: Crop) -> Mesh:
    faces = mesh.faces[crop.contains(mesh.vertices)[mesh.faces].all(axis=1)]
    crop.refuse_nothing(len(faces) > 0)
    used, numbers = np.unique(faces, return_inverse=True)
    return Mesh(mesh.vertices[used], mesh.normals[used], numbers.reshape(-1, 3))


def _blocks(
    views: Sequence[SurfaceView], config: TsdfConfig, crop: Crop | None
) -> tuple[Float64[ndarray, "3"], list[ndarray]]:
    """Centre of the first voxel of all, and the blocks [x, y, z] that points with their truncation reach."""
    bounds = [(points.min(axis=0), points.max(axis=0)) for points in map(_points, views)]
    low = np.min([least for least, _ in bounds], axis=0) - config.truncation
    side = _BLOCK * config.edge
    found: set[tuple[int, ...]] = set()
    for seen in map(_points, views):
        points = seen if crop is None else seen[crop.contains(seen)]
        if not len(points):
            continue
        for shift in np.ndindex(2, 2, 2):
            moved = points + (2 * np.array(shift) - 1) * config.truncation
            found.update(map(tuple, distinct_rows(np.floor((moved - low) / side).astype(np.int64))))
        if len(found) > _MOST_BLOCKS:
            extent = float((np.max([most for _, most in bounds], axis=0) - low).max())
            raise SceneError(
                f"Expected voxels that fit a scene of {extent:.3g} units, found an edge of {config.edge:.3g}; give "
                "larger ones with --voxel-size."
            )
    if crop is not None:
        crop.refuse_nothing(bool(found))
    return low, [np.array(block) for block in sorted(found)]


def distinct_rows(rows: Int64[ndarray, "rows axes"]) -> Int64[ndarray, "distinct axes"]:
    """Each row once, in the order of its values. Rows become numbers, since rows take ten times as long to sort."""
    least = rows.min(axis=0)
    shape = tuple((rows.max(axis=0) - least + 1).tolist())
    if math.prod(shape) > np.iinfo(np.int64).max:
        return np.unique(rows, axis=0)
    numbers = np.unique(np.ravel_multi_index(tuple((rows - least).T), shape))
    return np.stack(np.unravel_index(numbers, shape), axis=1) + least


def _points(view: SurfaceView) -> Float64[ndarray, "points 3"]:
    return view.points()[view.depth > 0]


class _Part(NamedTuple):
    vertices: Float32[ndarray, "vertices 3"]
    """In voxels from the first one of all."""
    normals: Float32[ndarray, "vertices 3"]
    faces: Int64[ndarray, "faces 3"]


def _block_mesh(
    views: Sequence[SurfaceView],
    slants: Sequence[Float32[ndarray, "_height _width"]],
    config: TsdfConfig,
    first: Float64[ndarray, "3"],
    block: Int64[ndarray, "3"],
) -> _Part | None:
    from skimage.measure import marching_cubes

    start = block * _BLOCK - _MARGIN
    shape = (_BLOCK + 1 + 2 * _MARGIN,) * 3
    distances, weights = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    low = first + start * config.edge
    for view, slant in zip(views, slants, strict=True):
        if may_see(view, low, low + (shape[0] - 1) * config.edge):
            kernels.integrate(
                low, config.edge, config.truncation, view.w2c, view.lens, view.depth, slant, distances, weights
            )  # fmt: skip
    inner = (slice(_MARGIN, -_MARGIN),) * 3
    values, is_safe = distances[inner], all_around_seen(weights > 0)[inner]
    if not is_safe.any() or not (values[is_safe].min() < 0 < values[is_safe].max()):
        return None
    vertices, faces, normals, _ = marching_cubes(np.ascontiguousarray(values), 0.0, gradient_direction="descent")
    faces = faces[is_safe_at(vertices, is_safe)[faces].all(axis=1)]
    if len(faces) == 0:
        return None
    used, numbers = np.unique(faces, return_inverse=True)
    # Distances fall into the surface, and normals lead out of it.
    return _Part(vertices[used] + (start + _MARGIN), -normals[used], numbers.reshape(-1, 3))


def may_see(view: SurfaceView, low: Float64[ndarray, "3"], high: Float64[ndarray, "3"]) -> bool:
    """Whether a view may see a box: its corners do not all lie beyond one side of what the view sees."""
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1)
    x, y, z = view.w2c[:, :3] @ corners + view.w2c[:, 3:]
    (fx, fy, cx, cy), (height, width) = view.lens, view.depth.shape
    inside = (z, fx * x + cx * z, (width - cx) * z - fx * x, fy * y + cy * z, (height - cy) * z - fy * y)
    return all(bool((side > 0).any()) for side in inside)


def all_around_seen(is_seen: Bool[ndarray, "x y z"]) -> Bool[ndarray, "x y z"]:
    """Voxels that were seen together with their 26 neighbours; none at the border."""
    from scipy.ndimage import minimum_filter

    return minimum_filter(is_seen, size=3, mode="constant", cval=False)


def is_safe_at(vertices: Float32[ndarray, "vertices 3"], is_safe: Bool[ndarray, "x y z"]) -> Bool[ndarray, "vertices"]:
    """Whether both voxels between which each vertex lies are safe."""
    below, above = np.floor(vertices).astype(np.int64), np.ceil(vertices).astype(np.int64)
    return is_safe[tuple(below.T)] & is_safe[tuple(above.T)]


def _joined(parts: Sequence[_Part], first: Float64[ndarray, "3"], edge: float) -> Mesh:
    """One mesh of all parts; vertices that two blocks share become one."""
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = np.concatenate([part.vertices for part in parts]).astype(np.float64)
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=False)])
    _, chosen, numbers = np.unique(
        np.round(vertices * 1000).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    faces = numbers.reshape(-1)[faces]
    is_triangle = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    normals = np.concatenate([part.normals for part in parts])[chosen]
    return Mesh(first + vertices[chosen] * edge, normals.astype(np.float32), faces[is_triangle])
