"""Regions of an image as masks, by one rule: a pixel belongs to a region if its centre lies inside.

Points are (x, y) in pixels; pixel (row i, column j) covers [j, j + 1) x [i, i + 1) and has its centre at
(j + 1/2, i + 1/2). The drawing functions of imaging libraries paint the outline too, or round the points to whole
pixels, so that neighbouring regions overlap by a pixel; these do neither.
"""

import numpy as np
from jaxtyping import Bool, Float64, Shaped
from numpy import ndarray

from semantic_ns.dataparsers.scene import ImageSize


def polygon_mask(points: Float64[ndarray, "points 2"], size: ImageSize) -> Bool[ndarray, "height width"]:
    """The pixels whose centre is inside a closed polygon, by the even-odd rule.

    A centre on the left or upper side is inside, one on the right or lower side is not: polygons that share a side
    neither overlap nor leave a gap. Parts outside the image are cut off.

    Args:
        points: corners (x, y) in order, in pixels; the last is joined to the first.
        size: width and height of the image.
    """
    width, height = size
    top, bottom = _pixels_between(points[:, 1], height)
    left, right = _pixels_between(points[:, 0], width)
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = _window_mask(points - [left, top], (right - left, bottom - top))
    return mask


def _pixels_between(coordinates: Float64[ndarray, "points"], count: int) -> tuple[int, int]:
    """First and end of the pixels along one axis that a region with these corners may touch."""
    if not len(coordinates):
        return 0, 0
    first, end = np.clip([np.floor(coordinates.min()), np.ceil(coordinates.max())], 0, count).astype(int).tolist()
    return first, end


def _window_mask(points: Float64[ndarray, "points 2"], size: ImageSize) -> Bool[ndarray, "height width"]:
    width, height = size
    # A pixel is inside if an odd number of sides cross its row at or left of its centre. Each crossing is noted at the
    # first pixel that it affects (a column further right than the image for none), and the parity runs along the row.
    is_crossing = np.zeros((height, width + 1), bool)
    for start, stop in zip(points, np.roll(points, -1, axis=0), strict=True):
        # From top to bottom, so that a side which is passed forth and back rounds the same way and cancels itself.
        (x0, y0), (x1, y1) = (start, stop) if start[1] <= stop[1] else (stop, start)
        if y0 == y1:
            continue
        first, end = np.clip(np.ceil(np.array([y0, y1]) - 0.5), 0, height).astype(int)
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


def ellipse_mask(
    centre: Float64[ndarray, "2"], radii: Float64[ndarray, "2"], angle_rad: float, size: ImageSize
) -> Bool[ndarray, "height width"]:
    """The pixels whose centre is in or on an ellipse.

    Args:
        centre: centre (x, y) in pixels.
        radii: half axes in pixels, along x and y before the ellipse is turned.
        angle_rad: angle by which it is turned, clockwise as the picture is seen, in radians.
        size: width and height of the image.
    """
    width, height = size
    x = np.arange(width) + 0.5 - centre[0]
    y = (np.arange(height) + 0.5 - centre[1])[:, None]
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    along, across = x * cosine + y * sine, y * cosine - x * sine  # [height, width]
    rx, ry = np.abs(radii)
    return (along * ry) ** 2 + (across * rx) ** 2 <= (rx * ry) ** 2


def turned_rectangle(
    corner: tuple[float, float], sides: tuple[float, float], pivot: tuple[float, float], angle_deg: float
) -> Float64[ndarray, "4 2"]:
    """The corners of a rectangle that is turned.

    Args:
        corner: upper left corner (x, y) before the turn, in pixels.
        sides: width and height in pixels.
        pivot: point (x, y) that stays where it is.
        angle_deg: angle of the turn, clockwise as the picture is seen, in degrees.
    """
    offsets = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * sides + corner - np.asarray(pivot)
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return offsets @ turn + pivot if angle_deg else offsets + pivot


def resize_nearest(values: Shaped[ndarray, "height width"], size: ImageSize) -> Shaped[ndarray, "_height _width"]:
    """An image of another size, in which each pixel has the value of the nearest pixel.

    Args:
        values: image [height, width].
        size: width and height of the result.
    """
    height, width = values.shape
    if (width, height) == size:
        return values
    columns, rows = (
        ((2 * np.arange(new) + 1) * old) // (2 * new) for new, old in zip(size, (width, height), strict=True)
    )
    return values[rows[:, None], columns]
