"""Whether depth images agree with each other and with the poses: the points of one view, seen from other views.

A point is the centre of a pixel with known depth. Seen from another view it has depth z; where that view itself sees
depth d, the point agrees if |z - d| <= max(2 cm, 1.5 % of z), is hidden if it lies farther, which says nothing, and
contradicts if it lies nearer. Pixels at depth edges, which mix two surfaces, are left out in both views.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray

from semantic_ns.geometry.pinhole import Pixels, Surface, project, rays

SMALLEST_TOLERANCE_M = 0.02
RELATIVE_TOLERANCE = 0.015
_NEAREST_M = 0.05
_FAR_OUTSIDE_PX = 1e6
_LEAST_BASELINE = 0.1
"""Least distance of two cameras as a share of the largest of the pairs: from one place all scales agree."""


class DepthViews(NamedTuple):
    """Depth images of one size with their pinhole cameras."""

    depth_m: Float32[ndarray, "frames height width"]
    """Planar depth, 0 where unknown."""
    c2w: Float[ndarray, "frames 4 4"]
    """Camera to world, OpenCV axes, metres."""
    intrinsics: Float[ndarray, "frames 4"]
    """fx, fy, cx, cy in pixels."""


@dataclass(frozen=True)
class DepthAgreement:
    """Points counted by the frame that they are from.

    Attributes:
        agreeing: those that another view sees where they are.
        contradicting: those that lie before what another view sees.
        hidden: those that lie behind it.
    """

    agreeing: Int[ndarray, "frames"]
    contradicting: Int[ndarray, "frames"]
    hidden: Int[ndarray, "frames"]

    @property
    def num_points(self) -> int:
        """Number of points that another view can judge."""
        return int(self.agreeing.sum() + self.contradicting.sum() + self.hidden.sum())

    @property
    def share(self) -> float:
        """Share of the points that another view can judge that agree; NaN without any.

        What is hidden counts, for a wrong scale hides about half of the points.
        """
        return float(self.agreeing.sum() / self.num_points) if self.num_points else float("nan")

    @property
    def shares_unhidden(self) -> Float[ndarray, "frames"]:
        """Share of each frame's points that are not hidden that agree; NaN without any."""
        total = self.agreeing + self.contradicting
        return np.where(total > 0, self.agreeing / np.maximum(total, 1), np.nan)

    @property
    def share_unhidden(self) -> float:
        """Share of the points that are not hidden that agree; NaN without any."""
        total = int(self.agreeing.sum() + self.contradicting.sum())
        return float(self.agreeing.sum() / total) if total else float("nan")


def measure_agreement(
    views: DepthViews, pairs: Sequence[tuple[int, int]], factor: float = 1.0, num_points: int = 500, seed: int = 0
) -> DepthAgreement:
    """How far views agree, over pairs of cameras that stand apart, see :func:`pairs_apart`.

    Args:
        views: views to compare.
        pairs: first view, whose points are seen, and second view, which sees them.
        factor: factor by which all depth is multiplied first.
        num_points: number of random pixels of the first view of each pair.
        seed: seed of their draw; the same pixels are drawn whatever the factor.
    """
    num_frames, height, width = views.depth_m.shape
    pairs = pairs_apart(views, pairs)
    rng = np.random.default_rng(seed)
    shape = (len(pairs), num_points)
    row, column = rng.integers(1, height - 1, shape), rng.integers(1, width - 1, shape)
    first, second = np.repeat(np.array(pairs, np.int64).reshape(-1, 2).T, num_points, axis=1)
    pixels = Pixels(first, row.ravel(), column.ravel())
    here = Surface.at(pixels, views.depth_m, views.intrinsics, factor)
    depth = 1 / np.where(here.is_plane, here.inverse, np.inf)
    pixels, second, depth = pixels[here.is_plane], second[here.is_plane], depth[here.is_plane]
    points = _seen_from(rays(pixels, views.intrinsics) * depth[:, None], views.c2w, pixels.image, second)
    place = project(points, views.intrinsics[second])
    is_ahead = (points[:, 2] > _NEAREST_M) & (np.abs(place).max(axis=1, initial=0) < _FAR_OUTSIDE_PX)
    at = np.where(is_ahead[:, None], np.floor(place), -1).astype(np.int64)
    there = Pixels(second, at[:, 1], at[:, 0])
    is_inner = there.are_inner((width, height))
    frame, there, place, z = pixels.image[is_inner], there[is_inner], place[is_inner], points[is_inner, 2]
    seen = Surface.at(there, views.depth_m, views.intrinsics, factor)
    # 1 / depth is affine on a plane, so this is exact there between pixel centres too.
    inverse = seen.inverse + seen.by_column * (place[:, 0] - there.column - 0.5)
    inverse += seen.by_row * (place[:, 1] - there.row - 0.5)
    is_seen = seen.is_plane & (inverse > 0)
    behind = z[is_seen] - 1 / inverse[is_seen]
    return _counted(frame[is_seen], behind, z[is_seen], num_frames)


def _seen_from(
    points: Float[ndarray, "points 3"],
    c2w: Float[ndarray, "frames 4 4"],
    first: Int[ndarray, "points"],
    second: Int[ndarray, "points"],
) -> Float[ndarray, "points 3"]:
    """Points of the cameras of some frames in the axes of the cameras of others."""
    world = np.einsum("pij,pj->pi", c2w[first, :3, :3], points) + c2w[first, :3, 3]
    return np.einsum("pji,pj->pi", c2w[second, :3, :3], world - c2w[second, :3, 3])


def _counted(
    frame: Int[ndarray, "points"],
    behind: Float[ndarray, "points"],
    z: Float[ndarray, "points"],
    num_frames: int,
) -> DepthAgreement:
    tolerance = np.maximum(SMALLEST_TOLERANCE_M, RELATIVE_TOLERANCE * z)

    return DepthAgreement(
        agreeing=np.bincount(frame[np.abs(behind) <= tolerance], minlength=num_frames),
        contradicting=np.bincount(frame[behind < -tolerance], minlength=num_frames),
        hidden=np.bincount(frame[behind > tolerance], minlength=num_frames),
    )


def pairs_apart(views: DepthViews, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs whose cameras stand apart by a tenth of the largest distance of a pair or more."""
    distances = [float(np.linalg.norm(views.c2w[j, :3, 3] - views.c2w[i, :3, 3])) for i, j in pairs]
    least = _LEAST_BASELINE * max(distances, default=0.0)
    return [pair for pair, distance in zip(pairs, distances, strict=True) if distance >= least > 0]


def reduced(views: DepthViews, block: int) -> DepthViews:
    """Views of fewer pixels: the median of what is known in each square of ``block`` by ``block`` pixels.

    It is robust against holes and noise. A square of which less than a quarter is known is unknown.
    """
    num_frames, height, width = (length // (block if axis else 1) for axis, length in enumerate(views.depth_m.shape))
    cut = views.depth_m[:, : height * block, : width * block]
    squares = cut.reshape(num_frames, height, block, width, block).swapaxes(2, 3).reshape(num_frames, height, width, -1)
    ordered = np.sort(np.where(squares > 0, squares, np.inf), axis=-1)
    num_known = (squares > 0).sum(axis=-1)
    middle = np.maximum(num_known - 1, 0)[..., None] // 2
    median = np.take_along_axis(ordered, middle, axis=-1)[..., 0]
    is_known = 4 * num_known >= block * block
    return DepthViews(np.where(is_known, median, 0).astype(np.float32), views.c2w, views.intrinsics / block)


def spread_pairs(num_frames: int, num_first: int, num_others: int) -> list[tuple[int, int]]:
    """Pairs of frames: evenly spread ones, each with others that are evenly spread over the rest."""
    if num_frames < 2:
        return []
    first = np.unique(np.linspace(0, num_frames - 1, min(num_first, num_frames)).astype(int))
    steps = np.unique(np.linspace(1, num_frames - 1, min(num_others, num_frames - 1)).astype(int))
    return [(int(i), int((i + step) % num_frames)) for i in first for step in steps]
