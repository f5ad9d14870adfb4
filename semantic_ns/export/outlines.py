"""Outlines of masks as polygons that hold exactly the pixels of the mask."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray
from skimage.measure import find_contours, label, regionprops


def outlines_of(mask: Bool[ndarray, "height width"]) -> Iterator[Float64[ndarray, "points 2"]]:
    """The outline of each connected part of a mask, as corners (x, y) in pixels.

    The first pixel's centre is (.5, .5). By the even-odd rule a polygon holds the centres of the pixels of its part and
    no others. Pixels belong together if they share a side. A hole is joined to the outline by a cut of no width, since
    the formats for which this is made have no holes.
    """
    for part in regionprops(label(mask, connectivity=1)):
        top, left = part.bbox[:2]
        # Contours at one half lie between the centres of pixels inside and outside.
        contours = find_contours(np.pad(part.image, 1).astype(np.float64), 0.5, fully_connected="low")
        rings = [_without_needless_points(contour[:-1, ::-1] + (left - 0.5, top - 0.5)) for contour in contours]
        yield _joined(rings)


def _without_needless_points(ring: Float64[ndarray, "points 2"]) -> Float64[ndarray, "_points 2"]:
    """The ring without points on the line between their neighbours."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _joined(rings: list[Float64[ndarray, "_points 2"]]) -> Float64[ndarray, "points 2"]:
    """One ring that passes the widest ring and, forth and back along one line each, the others."""
    outer, *holes = sorted(rings, key=lambda ring: -float(np.ptp(ring[:, 0])))
    path = outer
    for hole in holes:
        distance = ((path[:, None] - hole[None]) ** 2).sum(-1)  # [points, points of the hole]
        at, start = np.unravel_index(distance.argmin(), distance.shape)
        turned = np.roll(hole, -int(start), axis=0)
        path = np.concatenate([path[: at + 1], turned, turned[:1], path[at:]])
    return path
