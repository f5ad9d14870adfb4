"""Marching of rays through nested occupancy grids.

In double precision: which cell a sample's centre falls into must not depend on the order of the operations. The
arguments ``bundle``, ``steps`` and ``occupancy`` are the ``BoundedRays``, the ``Steps`` and the ``OccupancyArrays`` of
``occupancy``.
"""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part

_NO_LIMIT = 1 << 62


@part
@no_type_check
def last_distance(origin, direction, box, far):
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


@part
@no_type_check
def _is_occupied(origin, direction, t, occupancy):
    """Whether the cell at distance ``t`` is occupied, in the finest level that contains it; no cell is not."""
    boxes, cells_per_unit, is_occupied = occupancy.boxes, occupancy.cells_per_unit, occupancy.is_occupied
    x = np.float64(origin[0]) + t * np.float64(direction[0])
    y = np.float64(origin[1]) + t * np.float64(direction[1])
    z = np.float64(origin[2]) + t * np.float64(direction[2])
    for level in range(boxes.shape[0]):
        i = np.int64(np.floor((x - boxes[level, 0]) * cells_per_unit[level, 0]))
        j = np.int64(np.floor((y - boxes[level, 1]) * cells_per_unit[level, 1]))
        k = np.int64(np.floor((z - boxes[level, 2]) * cells_per_unit[level, 2]))
        if 0 <= i < is_occupied.shape[1] and 0 <= j < is_occupied.shape[2] and 0 <= k < is_occupied.shape[3]:
            return is_occupied[level, i, j, k]
    return False


@part
@no_type_check
def next_samples(origin, direction, t, last, steps, occupancy, limit, starts, ends):
    """Write the next samples of a ray, at most ``limit``, from distance ``t`` on.

    Returns their number, less than ``limit`` where the ray ends, and where to go on; with ``starts`` of size 0 it only
    counts.
    """
    count = 0
    while count < limit:
        t_next = t + max(steps.least, steps.per_distance * t)
        middle = 0.5 * (t + t_next)
        if not middle < last:
            break
        if _is_occupied(origin, direction, middle, occupancy):
            if starts.shape[0] > 0:
                starts[count], ends[count] = t, t_next
            count += 1
        t = t_next
    return count, t


@kernel
@no_type_check
def march(bundle, steps, occupancy, first, t_starts, t_ends, rays):
    """Write the samples of every ray from ``first`` [R + 1] on; with no room to write, count them into ``first``.

    With ``t_starts`` of size 0, ``first[r + 1]`` receives the number of samples of ray r.
    """
    origins, directions, near, far = bundle.origins, bundle.directions, bundle.near, bundle.far
    is_counting = t_starts.shape[0] == 0
    for r in prange(origins.shape[0]):
        last = last_distance(origins[r], directions[r], occupancy.boxes[-1], np.float64(far[r]))
        begin, end = (0, 0) if is_counting else (first[r], first[r + 1])
        limit = _NO_LIMIT if is_counting else end - begin
        count, _ = next_samples(
            origins[r], directions[r], np.float64(near[r]), last, steps, occupancy, limit,
            t_starts[begin:end], t_ends[begin:end],
        )  # fmt: skip
        if is_counting:
            first[r + 1] = count
        for k in range(begin, end):
            rays[k] = r
