"""Pictures of a surface made of small flat discs, with the nearest disc in each pixel."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part

_GRAZING = 0.15
"""Cosine between a ray and a disc's normal below which the disc is taken to face the camera."""
_LEAST_SIZE = 0.71
"""Radius of a disc in pixels, at least: it then covers the centre of a pixel wherever it lies."""
_BAND = 32
"""Rows that one thread draws at a time."""
_FAR_OUT = 1e6
"""Pixels from the middle of the image at which a box ends that would go on for ever."""


@kernel
@no_type_check
def to_camera(positions, normals, rotation, origin, seen):
    """Fill ``seen`` [P, 6] with positions and normals [P, 3] in the frame of a camera (x right, y down, z forward).

    ``rotation`` [3, 3] holds these axes as columns in the frame of the scene, ``origin`` [3] the camera's place.
    """
    for p in prange(positions.shape[0]):
        for axis in range(3):
            place = np.float32(0)
            direction = np.float32(0)
            for i in range(3):
                place += (positions[p, i] - origin[i]) * rotation[i, axis]
                direction += normals[p, i] * rotation[i, axis]
            seen[p, axis] = place
            seen[p, 3 + axis] = direction


@part
@no_type_check
def _interval(x, z, reach, focal, length):
    """First and last pixel of a ball of radius ``reach`` around (x, z) on an axis of an image of ``length`` pixels.

    The two tangents from the camera to a circle have the slopes (x z -+ reach sqrt(x^2 + z^2 - reach^2)) /
    (z^2 - reach^2). Where the camera's own plane cuts the ball, one side or both have no end.
    """
    middle = np.float32(0.5) * length
    square = x * x + z * z - reach * reach
    if square <= 0:  # around the camera
        return 0, length
    low, high = -np.float32(_FAR_OUT), np.float32(_FAR_OUT)
    if z > reach:
        below = z * z - reach * reach
        root = reach * np.sqrt(square)
        low = max(low, middle + focal * (x * z - root) / below)
        high = min(high, middle + focal * (x * z + root) / below)
    elif x > 0:  # from its inner tangent outwards, since it reaches beyond the camera's plane
        low = max(low, middle + focal * (x * x - reach * reach) / (x * z + reach * np.sqrt(square)))
    else:
        high = min(high, middle + focal * (x * x - reach * reach) / (x * z - reach * np.sqrt(square)))
    return max(0, int(np.floor(low))), min(length, int(np.ceil(high)) + 1)


@kernel
@no_type_check
def find_boxes(seen, radii, focal, near, height, width, boxes):
    """Fill ``boxes`` [P, 4] with the rows and columns, first and one after the last, in which each disc can be seen.

    They are those of the ball around it, empty where its middle is not behind the near plane.
    """
    for p in prange(seen.shape[0]):
        z = seen[p, 2]
        boxes[p, :] = 0
        if z > near:
            reach = max(radii[p], np.float32(_LEAST_SIZE) * z / focal)
            boxes[p, 0], boxes[p, 1] = _interval(seen[p, 1], z, reach, focal, height)
            boxes[p, 2], boxes[p, 3] = _interval(seen[p, 0], z, reach, focal, width)


@kernel
@no_type_check
def nearest_discs(seen, radii, boxes, focal, near, depths, nearest):
    """Fill ``depths`` [H, W], infinite so far, and ``nearest`` [H, W], -1 so far, with the nearest disc of each pixel.

    The principal point is the middle of the image. Of two discs at one depth the first counts. Bands of rows are drawn
    at a time.
    """
    height, width = nearest.shape
    num_bands = (height + _BAND - 1) // _BAND
    per_focal = np.float32(1) / focal
    for band in prange(num_bands):
        top, bottom = band * _BAND, min(band * _BAND + _BAND, height)
        for p in range(seen.shape[0]):
            first_row, last_row = max(top, boxes[p, 0]), min(bottom, boxes[p, 1])
            if first_row >= last_row:
                continue
            z = seen[p, 2]
            reach = max(radii[p], np.float32(_LEAST_SIZE) * z * per_focal)
            offset = seen[p, 0] * seen[p, 3] + seen[p, 1] * seen[p, 4] + z * seen[p, 5]
            for r in range(first_row, last_row):
                dy = (r + np.float32(0.5) - np.float32(0.5) * height) * per_focal
                slope_of_row, square_of_row = dy * seen[p, 4] + seen[p, 5], dy * dy + np.float32(1)
                for c in range(boxes[p, 2], boxes[p, 3]):
                    dx = (c + np.float32(0.5) - np.float32(0.5) * width) * per_focal
                    slope = dx * seen[p, 3] + slope_of_row
                    is_steep = slope * slope > np.float32(_GRAZING * _GRAZING) * (dx * dx + square_of_row)
                    depth = offset / slope if is_steep else z
                    x, y, behind = dx * depth - seen[p, 0], dy * depth - seen[p, 1], depth - z
                    is_hit = x * x + y * y + behind * behind <= reach * reach
                    if is_hit and near < depth < depths[r, c]:
                        depths[r, c] = depth
                        nearest[r, c] = p
