"""Regions of an image as masks, by one rule: a pixel belongs to a region if its centre lies inside.

Points are (x, y) in pixels; pixel (row i, column j) covers [j, j + 1) x [i, i + 1) and has its centre at
(j + 1/2, i + 1/2). The drawing functions of imaging libraries paint the outline too, or round the points to whole
pixels, so that neighbouring regions overlap by a pixel; these do neither.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from semantic_ns.dataparsers.scene import ImageSize


@dataclass(frozen=True)
class Region:
    """A region of one class: the place of the class in the table, and a function that draws its mask [H, W]."""

    label: int
    draw: Callable[[], Bool[ndarray, "height width"]]


def polygon_mask(points: Float64[ndarray, "points 2"], size: ImageSize) -> Bool[ndarray, "height width"]:
    """The pixels whose centre is inside a closed polygon, by the even-odd rule.

    A centre on the left or upper side is inside, one on the right or lower side is not: polygons that share a side
    neither overlap nor leave a gap. Parts outside the image are cut off.

    Args:
        points: corners (x, y) in order, in pixels; the last is joined to the first.
        size: width and height of the image.
    """
    width, height = size
    # A pixel is inside if an odd number of sides cross its row at or left of its centre. Each crossing is noted at the
    # first pixel that it affects (a column further right than the image for none), and the parity runs along the row.
    is_crossing = np.zeros((height, width + 1), bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        first, end = np.clip(np.ceil(np.sort([y0, y1]) - 0.5), 0, height).astype(int)
        rows = np.arange(first, end)
        crossings = x0 + (x1 - x0) * (rows + 0.5 - y0) / (y1 - y0)
        is_crossing[rows, np.clip(np.ceil(crossings - 0.5), 0, width).astype(int)] ^= True
    return np.logical_xor.accumulate(is_crossing, axis=1)[:, :width]


def rectangle_mask(corners: Float64[ndarray, "2 2"], size: ImageSize) -> Bool[ndarray, "height width"]:
    """The pixels whose centre is in the rectangle with two opposite corners (x, y); sides count as in polygons."""
    (x0, y0), (x1, y1) = corners
    return polygon_mask(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), size)


def circle_mask(points: Float64[ndarray, "2 2"], size: ImageSize) -> Bool[ndarray, "height width"]:
    """The pixels whose centre is in or on the circle around the first point (x, y) through the second."""
    width, height = size
    (x, y), (on_x, on_y) = points
    square = (np.arange(width) + 0.5 - x) ** 2 + (np.arange(height) + 0.5 - y)[:, None] ** 2  # [height, width]
    return square <= (on_x - x) ** 2 + (on_y - y) ** 2
