"""Pictures of a surface made of small flat discs, with the nearest disc in each pixel."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel

_GRAZING = 0.15
"""Cosine between a ray and a disc's normal below which the disc is taken to face the camera."""
_LEAST_SIZE = 0.71
"""Radius of a disc in pixels, at least: it then covers the centre of a pixel wherever it lies."""
_BAND = 64
"""Rows that one thread draws at a time; it looks at all discs for each band."""


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


@kernel
@no_type_check
def nearest_discs(seen, radii, focal, near, depths, nearest):
    """Fill ``depths`` [H, W], infinite so far, and ``nearest`` [H, W], -1 so far, with the nearest disc of each pixel.

    The principal point is the middle of the image. Of two discs at one depth the first counts. Bands of rows are drawn
    at a time.
    """
    height, width = nearest.shape
    per_focal = np.float32(1) / focal
    num_bands = (height + _BAND - 1) // _BAND
    for band in prange(num_bands):
        top, bottom = band * _BAND, min(band * _BAND + _BAND, height)
        for p in range(seen.shape[0]):
            z = seen[p, 2]
            if not z > near:
                continue
            reach = max(radii[p], np.float32(_LEAST_SIZE) * z / focal)
            # A ball of this radius ends before (|x| + reach) / (z - reach), where |x| / z is its middle.
            spread = focal * reach / max(z - reach, near)
            size = spread * (np.float32(1) + abs(seen[p, 1]) / z)
            row = focal * seen[p, 1] / z + np.float32(0.5) * height
            if row + size < top or row - size > bottom:
                continue
            first_row, last_row = max(top, int(np.floor(row - size))), min(bottom, int(np.ceil(row + size)) + 1)
            size = spread * (np.float32(1) + abs(seen[p, 0]) / z)
            column = focal * seen[p, 0] / z + np.float32(0.5) * width
            if column + size < 0 or column - size > width:
                continue
            first_column, last_column = (
                max(0, int(np.floor(column - size))),
                min(width, int(np.ceil(column + size)) + 1),
            )
            offset = seen[p, 0] * seen[p, 3] + seen[p, 1] * seen[p, 4] + z * seen[p, 5]
            for r in range(first_row, last_row):
                dy = (r + np.float32(0.5) - np.float32(0.5) * height) / focal
                slope_of_row, square_of_row = dy * seen[p, 4] + seen[p, 5], dy * dy + np.float32(1)
                for c in range(first_column, last_column):
                    dx = (c + np.float32(0.5) - np.float32(0.5) * width) * per_focal
                    slope = dx * seen[p, 3] + slope_of_row
                    is_steep = slope * slope > np.float32(_GRAZING * _GRAZING) * (dx * dx + square_of_row)
                    depth = offset / slope if is_steep else z
                    x, y, behind = dx * depth - seen[p, 0], dy * depth - seen[p, 1], depth - z
                    is_hit = x * x + y * y + behind * behind <= reach * reach
                    if is_hit and near < depth < depths[r, c]:
                        depths[r, c] = depth
                        nearest[r, c] = p
