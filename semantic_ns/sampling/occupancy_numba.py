"""Marching of rays through nested occupancy grids.

Without ``fastmath``, in double precision: which cell a sample's centre falls into must not depend on the order of the
operations.
"""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import exact_kernel, exact_part


@exact_part
@no_type_check
def _last_distance(origin, direction, box, far):
    """Distance at which a ray leaves the box, at most ``far``; negative infinity if it misses it."""
    enter, leave = -np.inf, far
    for axis in range(3):
        o, d = np.float64(origin[axis]), np.float64(direction[axis])
        if d == 0.0:
            if o < box[axis] or o >= box[axis + 3]:
                return -np.inf
            continue
        a, b = (box[axis] - o) / d, (box[axis + 3] - o) / d
        enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
    return leave if leave > enter else -np.inf


@exact_part
@no_type_check
def _is_occupied(origin, direction, t, boxes, cells_per_unit, binaries):
    """Whether the cell at distance ``t`` is occupied, in the finest level that contains it; no cell is not."""
    x = np.float64(origin[0]) + t * np.float64(direction[0])
    y = np.float64(origin[1]) + t * np.float64(direction[1])
    z = np.float64(origin[2]) + t * np.float64(direction[2])
    for level in range(boxes.shape[0]):
        i = np.int64(np.floor((x - boxes[level, 0]) * cells_per_unit[level, 0]))
        j = np.int64(np.floor((y - boxes[level, 1]) * cells_per_unit[level, 1]))
        k = np.int64(np.floor((z - boxes[level, 2]) * cells_per_unit[level, 2]))
        if 0 <= i < binaries.shape[1] and 0 <= j < binaries.shape[2] and 0 <= k < binaries.shape[3]:
            return binaries[level, i, j, k]
    return False


@exact_kernel
@no_type_check
def march(
    origins, directions, near, far, step, cone_angle, boxes, cells_per_unit, binaries, first, t_starts, t_ends, rays,
):  # fmt: skip
    """Write the samples of every ray from ``first`` [R + 1] on; with no room to write, count them into ``first``.

    ``boxes`` [L, 6] and ``cells_per_unit`` [L, 3] are double, ``binaries`` [L, X, Y, Z] bool; each box contains the one
    before it. With ``t_starts`` of size 0, ``first[r + 1]`` receives the number of samples of ray r.
    """
    is_counting = t_starts.shape[0] == 0
    for r in prange(origins.shape[0]):
        last = _last_distance(origins[r], directions[r], boxes[-1], np.float64(far[r]))
        t, count = np.float64(near[r]), 0
        while True:
            t_next = t + max(step, cone_angle * t)
            middle = 0.5 * (t + t_next)
            if not middle < last:
                break
            if _is_occupied(origins[r], directions[r], middle, boxes, cells_per_unit, binaries):
                if not is_counting:
                    t_starts[first[r] + count] = t
                    t_ends[first[r] + count] = t_next
                    rays[first[r] + count] = r
                count += 1
            t = t_next
        if is_counting:
            first[r + 1] = count
