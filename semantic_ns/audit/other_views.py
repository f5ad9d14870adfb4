"""What the given labels of other views say about a region.

The field agrees with itself from every side, so its labels there are no second opinion; the given labels are. They
tell an error in one image, which the other images outvote, from an object that the field itself has wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int16
from numpy import ndarray

from semantic_ns.audit.regions import Region
from semantic_ns.fusion.label_fusion import RELATIVE_TOLERANCE, TOLERANCE_M, View
from semantic_ns.geometry.pinhole import Pixels, project, rays
from semantic_ns.geometry.poses import opencv_to_opengl
from semantic_ns.labels.taxonomy import VOID

_MOST_POINTS = 200
_SMALLEST_SEEN_SHARE = 0.25


@dataclass(frozen=True)
class ViewSupport:
    """How many other views see at least a quarter of a region with labels, and what these labels are.

    Attributes:
        views: views that see it.
        suggested: views in which at least half of what they see has the suggested class.
        given: views in which at least half of what they see has the given label.
    """

    views: int
    suggested: int
    given: int


@dataclass(frozen=True, eq=False)
class LabelledViews:
    """Labelled images with depth; lens distortion is left out.

    Attributes:
        views: where each was taken, and its depth.
        given: labels -1..C-1 of each.
    """

    views: Sequence[View]
    given: Sequence[Int16[ndarray, "_height _width"]]

    def votes(self, region: Region) -> ViewSupport:
        """The votes of all views but the region's own, `region.frame`.

        A view sees a point as in the fusion of labels: before the camera and inside the image, at a depth z that
        differs from that of the view by less than max(5 cm, 2 % of z).
        """
        points = self._points(region)
        seen = suggested = given = 0
        for number in range(len(self.views)):
            if number == region.frame:
                continue
            labels = self._labels_at(points, number)
            if len(labels) == 0 or len(labels) < _SMALLEST_SEEN_SHARE * len(points):
                continue
            seen += 1
            suggested += bool((labels == region.suggested).mean() >= 0.5)
            given += bool((labels == region.given).mean() >= 0.5)
        return ViewSupport(seen, suggested, given)

    def _points(self, region: Region) -> Float[ndarray, "points 3"]:
        """Evenly chosen points of the region in the world, those with known depth."""
        view, (rows, columns) = self.views[region.frame], region.pixels
        chosen = np.unique(np.linspace(0, len(rows) - 1, _MOST_POINTS).astype(int))
        pixels = Pixels(np.zeros(len(chosen), int), rows[chosen], columns[chosen])
        depth = pixels.of(view.depth_m[None]).astype(np.float64)
        points = (rays(pixels, view.intrinsics[None]) * depth[:, None])[depth > 0]
        c2w = opencv_to_opengl(view.c2w[None])[0]  # its own inverse
        return points @ c2w[:3, :3].T + c2w[:3, 3]

    def _labels_at(self, points: Float[ndarray, "points 3"], number: int) -> Int16[ndarray, "seen"]:
        """The given labels of the points that a view sees, without void."""
        view = self.views[number]
        c2w, (height, width) = opencv_to_opengl(view.c2w[None])[0], view.depth_m.shape
        local = (points - c2w[:3, 3]) @ c2w[:3, :3]
        local = local[local[:, 2] > 0]
        place = project(local, np.broadcast_to(view.intrinsics, (len(local), 4)))
        is_inside = ((place >= 0) & (place < (width, height))).all(axis=1)
        (column, row), z = np.floor(place[is_inside]).astype(np.int64).T, local[is_inside, 2]
        depth = view.depth_m[row, column]
        is_seen = (depth > 0) & (np.abs(z - depth) < np.maximum(TOLERANCE_M, RELATIVE_TOLERANCE * z))
        labels = self.given[number][row[is_seen], column[is_seen]]
        return labels[labels != VOID]
