"""Sums over the points of the finest cells of an octree."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel

NUM_SUMS = 15
"""Of 1, x y z, xx xy xz yy yz zz, r g b, rr + gg + bb, and side^2."""
BITS = 20
"""Of a cell's number along one axis."""


@kernel
@no_type_check
def cell_keys(points, origin, finest, keys):
    """Fill ``keys`` [N] with those of the cells that points [N, 3] lie in: bits of x, y and z in turn (Morton 1966).

    A cell and its parent differ by the last three bits.
    """
    for i in prange(points.shape[0]):
        key = np.int64(0)
        for axis in range(3):
            number = np.int64(np.floor((np.float64(points[i, axis]) - origin[axis]) / finest))
            for bit in range(BITS):
                key |= ((number >> bit) & 1) << (3 * bit + axis)
        keys[i] = key


@kernel
@no_type_check
def sum_cells(order, begins, points, colors, sides, classes, origin, sums, least, largest):
    """Fill the ``sums`` [M, 15] of cells over their points, and their ``least`` and ``largest`` class [M].

    Cell m has the points ``order[begins[m]]`` to before ``order[begins[m + 1]]``; ``begins`` [M + 1] ends with N.
    Positions are counted from ``origin``. A cell without classes, -1, has a least one above its largest.
    """
    for m in prange(sums.shape[0]):
        for k in range(NUM_SUMS):
            sums[m, k] = 0.0
        low, high = np.int32(np.iinfo(np.int32).max), np.int32(-1)
        for place in range(begins[m], begins[m + 1]):
            i = order[place]
            x = np.float64(points[i, 0]) - origin[0]
            y = np.float64(points[i, 1]) - origin[1]
            z = np.float64(points[i, 2]) - origin[2]
            r, g, b = np.float64(colors[i, 0]), np.float64(colors[i, 1]), np.float64(colors[i, 2])
            sums[m, 0] += 1.0
            sums[m, 1] += x
            sums[m, 2] += y
            sums[m, 3] += z
            sums[m, 4] += x * x
            sums[m, 5] += x * y
            sums[m, 6] += x * z
            sums[m, 7] += y * y
            sums[m, 8] += y * z
            sums[m, 9] += z * z
            sums[m, 10] += r
            sums[m, 11] += g
            sums[m, 12] += b
            sums[m, 13] += r * r + g * g + b * b
            sums[m, 14] += np.float64(sides[i]) ** 2
            if classes[i] >= 0:
                low = min(low, classes[i])
            high = max(high, classes[i])
        least[m], largest[m] = low, high
