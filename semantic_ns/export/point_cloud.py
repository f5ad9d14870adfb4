"""The surface of a scene as points with normals, colours and classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int16, Int64
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.export.crop import Crop
from semantic_ns.export.surface_views import SurfaceView
from semantic_ns.export.view_votes import Tolerance, gather
from semantic_ns.surface.voxels import VoxelGrid, voxelise

_ROUNDS = 4
_MOST_PIXELS = 20_000_000
"""Largest number of pixels that are points before they are thinned: they take some 100 bytes each."""


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """Points on the surface, in the world of the data set's files.

    Attributes:
        positions: In metres where the scale is known.
        normals: Unit length, towards a camera that sees the point; zero where unknown.
        colors: RGB in 0..255.
        labels: Classes 0..C-1, void -1.
        confidence: Share of the views' votes that the class has, 0..1.
        spacing: Side of the cubes of which each has one point.
        dropped: Share of the points that was left out, since more views see through them than see them.
    """

    positions: Float64[ndarray, "points 3"]
    normals: Float32[ndarray, "points 3"]
    colors: Float32[ndarray, "points 3"]
    labels: Int16[ndarray, "points"]
    confidence: Float32[ndarray, "points"]
    spacing: float
    dropped: float


def make_points(
    views: Sequence[SurfaceView], num_points: int, num_classes: int, tolerance: Tolerance, crop: Crop | None = None
) -> LabelledPoints:
    """Points on the surface that the views show, evenly spread: the mean of what lies in each cube of a grid.

    Points that more views see through than see are left out: they hang in the air.

    Args:
        views: The views.
        num_points: Number of points wanted, about; pixels may be fewer.
        num_classes: C.
        tolerance: How far depths of one surface may differ.
        crop: Where points are wanted; views also see through points from elsewhere.

    Raises:
        SceneError: if no point is left.
    """
    positions, normals = _pixels(views, crop)
    origin = positions.mean(axis=0)
    local = (positions - origin).astype(np.float32)
    spacing, of_points, count = _thinned(local, num_points)
    means = origin + _means(of_points, local, count)
    turned = _means(of_points, normals, count)
    length = np.linalg.norm(turned, axis=1, keepdims=True)
    turned = np.divide(turned, length, out=np.zeros_like(turned), where=length > 0)
    votes = gather(means, views, num_classes, tolerance)
    is_kept = (votes.seen > 0) & (votes.seen >= votes.seen_through)
    if not is_kept.any():
        raise SceneError(
            f"Expected points that the views agree about, found none among {count}: every one is contradicted by other "
            "views. Check poses and depth with sns-doctor, or train longer."
        )
    return LabelledPoints(
        means[is_kept],
        turned[is_kept].astype(np.float32),
        votes.colors[is_kept],
        votes.labels[is_kept],
        votes.confidence[is_kept],
        spacing,
        1 - float(is_kept.mean()),
    )


def _pixels(
    views: Sequence[SurfaceView], crop: Crop | None
) -> tuple[Float64[ndarray, "points 3"], Float32[ndarray, "points 3"]]:
    known = [_known_in(view, crop) for view in views]
    num_known = sum(len(places) for places in known)
    if crop is not None:
        crop.refuse_nothing(num_known > 0)
    every = max(1, -(-num_known // _MOST_PIXELS))
    known = [places[::every] for places in known]
    points = [view.points().reshape(-1, 3)[chosen] for view, chosen in zip(views, known, strict=True)]
    normals = [view.normals().reshape(-1, 3)[chosen] for view, chosen in zip(views, known, strict=True)]
    return np.concatenate(points), np.concatenate(normals)


def _known_in(view: SurfaceView, crop: Crop | None) -> Int64[ndarray, "pixels"]:
    places = np.flatnonzero(view.depth > 0)
    return places if crop is None else places[crop.contains(view.points().reshape(-1, 3)[places])]


def _thinned(points: Float32[ndarray, "points 3"], wanted: int) -> tuple[float, ndarray, int]:
    """Side of cubes of which about so many hold points, the cube of each point, and the number of cubes."""
    extent = float(np.ptp(points, axis=0).max())
    side = max(extent, 1e-6) / 512
    for _ in range(_ROUNDS):
        voxels, of_points = voxelise(VoxelGrid(side), points)
        # A surface fills cubes by the square of their number along an axis.
        side *= (len(voxels) / min(wanted, len(points))) ** 0.5
    voxels, of_points = voxelise(VoxelGrid(side), points)
    return side, of_points, len(voxels)


def _means(of_points: ndarray, values: ndarray, count: int) -> Float64[ndarray, "cubes axes"]:
    sizes = np.maximum(np.bincount(of_points, minlength=count), 1)
    sums = [np.bincount(of_points, values[:, axis], minlength=count) for axis in range(values.shape[1])]
    return np.stack(sums, axis=1) / sizes[:, None]
