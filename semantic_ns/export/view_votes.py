"""What all views say about points on the surface: their colour, their class, and whether they are there at all.

A point at depth z of a view whose pixel there shows depth d is seen if |z - d| is within the tolerance, hidden if it
lies farther, and seen through if every pixel around shows something farther. Views that see a point vote on its class
with the probability that they give theirs, and mix its colour, both by 1 / z^2: by how many pixels show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int16, Int32
from numpy import ndarray

from semantic_ns.export import view_votes_numba as kernels
from semantic_ns.export.surface_views import SurfaceView
from semantic_ns.labels.taxonomy import VOID

_NUM_BINS = 1000
_WIDEST = 0.2
"""Largest difference of depths, over the depth, that counts as one of the same surface."""


@dataclass(frozen=True)
class Tolerance:
    """How far depths of one surface may differ between views.

    Attributes:
        least: In the unit of the world.
        relative: Over the depth.
    """

    least: float
    relative: float = 0.015

    def at(self, depth: float) -> float:
        """The larger of the two at a depth."""
        return max(self.least, self.relative * depth)


@dataclass(frozen=True, eq=False)
class PointVotes:
    """What the views say of N points.

    Attributes:
        colors: Mean RGB, 0..255; black where no view sees a point.
        votes: Votes of each class.
        seen: Number of views that see each point.
        seen_through: Number of views that see through it.
    """

    colors: Float32[ndarray, "points 3"]
    votes: Float32[ndarray, "points classes"]
    seen: Int32[ndarray, "points"]
    seen_through: Int32[ndarray, "points"]

    def __getitem__(self, chosen: ndarray) -> "PointVotes":
        return PointVotes(self.colors[chosen], self.votes[chosen], self.seen[chosen], self.seen_through[chosen])

    @property
    def labels(self) -> Int16[ndarray, "points"]:
        """The class of most votes, void (-1) without any."""
        return np.where(self.votes.sum(axis=1) > 0, self.votes.argmax(axis=1), VOID).astype(np.int16)

    @property
    def confidence(self) -> Float32[ndarray, "points"]:
        """Share of the votes that its class has, 0 without any."""
        total = self.votes.sum(axis=1)
        return np.divide(self.votes.max(axis=1, initial=0), total, out=np.zeros_like(total), where=total > 0)


def gather(
    points: Float64[ndarray, "points 3"], views: Sequence[SurfaceView], num_classes: int, tolerance: Tolerance
) -> PointVotes:
    """Ask all views about points of the world.

    Args:
        points: Positions.
        views: The views.
        num_classes: C.
        tolerance: How far depths of one surface may differ.
    """
    colors = np.zeros((len(points), 4), np.float32)
    votes = np.zeros((len(points), num_classes), np.float32)
    seen, seen_through = np.zeros((2, len(points)), np.int32)
    for view in views:
        kernels.add_view(
            points, view.w2c, view.lens, view.depth, view.color, view.labels, view.confidence,
            tolerance.least, tolerance.relative, colors, votes, seen, seen_through,
        )  # fmt: skip
    weight = np.maximum(colors[:, 3:], np.finfo(np.float32).tiny)
    return PointVotes(colors[:, :3] / weight, votes, seen, seen_through)


def depth_difference(views: Sequence[SurfaceView], num_points: int = 4000, num_views: int = 64) -> float:
    """Median difference between the depth of a point and what another view shows there, in the unit of the world.

    Pairs that differ by more than a fifth of the depth show two surfaces, one before the other, and do not count. The
    median is known to a thousandth of a fifth of the median depth, beyond which it does not reach.

    Args:
        views: The views.
        num_points: The number of points of each view, about.
        num_views: The number of views, evenly spread, that are compared with each other.

    Returns:
        NaN if no point is seen by two views.
    """
    views = [views[index] for index in np.unique(np.linspace(0, len(views) - 1, num_views).round().astype(int))]
    counts = np.zeros(_NUM_BINS, np.int64)
    medians = [float(np.median(known)) for view in views if len(known := view.depth[view.depth > 0])]
    if not medians:
        return float("nan")
    # Not by the largest depth: with a few pixels of sky all bins would be wider than what is measured.
    largest = _WIDEST * float(np.median(medians))
    for number, view in enumerate(views):
        points = view.points()[view.depth > 0]
        points = points[:: max(1, len(points) // num_points)]
        for other in (*views[:number], *views[number + 1 :]):
            kernels.count_differences(points, other.w2c, other.lens, other.depth, _WIDEST, largest, counts)
    if counts.sum() == 0:
        return float("nan")
    middle = int(np.searchsorted(np.cumsum(counts), (counts.sum() + 1) // 2))
    return (middle + 0.5) / _NUM_BINS * largest
