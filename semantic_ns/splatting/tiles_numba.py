"""Which Gaussians can be seen in which tile of an image, from near to far.

Symbols: N Gaussians of which M are visible, P pairs of a tile and a Gaussian, tiles of 16x16 pixels row by row.

* ``depths`` [N], ``at`` [N, 2], ``reach`` [N, 2], ``conics`` [N, 3]    as in :mod:`semantic_ns.splatting.project_numba`
* ``order`` [M]      the visible Gaussians from near to far; of equal depth the first one comes first
* ``first`` [T + 1]  where the pairs of each tile begin, and P
* ``members`` [P]    the Gaussians of each tile, from near to far

Arrays that are filled may be longer than that, but not ``first``. Nothing is allocated: memory may be kept.
"""

import math
from typing import no_type_check

import numpy as np

from semantic_ns.kernels.compilation import inlined_part, part

TILE = 16
"""Side of a tile in pixels."""
_BITS = 11
NUM_BUCKETS = 1 << _BITS


@part
@no_type_check
def sort_visible(depths, reach, order, other, keys, other_keys, starts):
    """Fill ``order``: a stable radix sort of the bits of positive floats, which rise as the floats do.

    ``other``, ``keys`` and ``other_keys`` [N] and ``starts`` [2049] are used on the way.

    Returns:
        M.
    """
    count = 0
    bits = depths.view(np.uint32)
    for n in range(len(depths)):
        if reach[n, 0] > 0:
            other[count], other_keys[count] = n, bits[n]
            count += 1
    # In three turns the last place is the other one than the first.
    order, other, keys, other_keys = other, order, other_keys, keys
    for turn in range(3):
        shift = np.uint32(turn * _BITS)
        starts[:] = 0
        for i in range(count):
            starts[((keys[i] >> shift) & np.uint32(NUM_BUCKETS - 1)) + 1] += 1
        for bucket in range(NUM_BUCKETS):
            starts[bucket + 1] += starts[bucket]
        for i in range(count):
            bucket = (keys[i] >> shift) & np.uint32(NUM_BUCKETS - 1)
            place = starts[bucket]
            starts[bucket] += 1
            other[place], other_keys[place] = order[i], keys[i]
        order, other, keys, other_keys = other, order, other_keys, keys
    return count


@inlined_part
@no_type_check
def _range(centre, half, limit):
    """First tile of a row or column that an interval touches, and the one behind the last."""
    low = min(max(math.floor((centre - half) / TILE), 0), limit)
    high = min(max(math.floor((centre + half) / TILE) + 1, 0), limit)
    return int(low), int(high)


@inlined_part
@no_type_check
def _least_distance(a, b, c, x0, x1, y0, y1):
    """Least value of a dx^2 + 2 b dx dy + c dy^2 over the rectangle [x0, x1] x [y0, y1]."""
    if x0 <= 0 <= x1 and y0 <= 0 <= y1:
        return np.float32(0)
    least = np.float32(np.inf)
    # The form is convex, so outside of its centre the least value lies on an edge.
    for side in range(2):
        x = x0 if side == 0 else x1
        y = min(max(-b * x / c, y0), y1)
        least = min(least, a * x * x + np.float32(2) * b * x * y + c * y * y)
        y = y0 if side == 0 else y1
        x = min(max(-b * y / a, x0), x1)
        least = min(least, a * x * x + np.float32(2) * b * x * y + c * y * y)
    return least


@part
@no_type_check
def most_pairs(order, at, reach, width, height):
    """Tiles that the rectangles around all visible Gaussians touch: P or more."""
    columns, rows = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    room = 0
    for n in order:
        left, right = _range(at[n, 0], reach[n, 0], columns)
        top, bottom = _range(at[n, 1], reach[n, 1], rows)
        room += (right - left) * (bottom - top)
    return room


@part
@no_type_check
def list_tiles(order, at, reach, conics, width, height, first, members, tiles, gaussians):
    """Fill ``first`` and ``members``; ``tiles`` and ``gaussians`` [most_pairs] are used on the way.

    Returns:
        P.
    """
    columns, rows = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    first[:] = 0
    num = 0
    for n in order:
        left, right = _range(at[n, 0], reach[n, 0], columns)
        top, bottom = _range(at[n, 1], reach[n, 1], rows)
        a, b, c = conics[n, 0], conics[n, 1], conics[n, 2]
        # At the end of its reach along x the form is reach_x^2 / variance_x; the variance is c / (a c - b^2).
        limit = reach[n, 0] * reach[n, 0] * (a * c - b * b) / c * np.float32(1.001)
        for row in range(top, bottom):
            for column in range(left, right):
                x0, y0 = np.float32(column * TILE) - at[n, 0], np.float32(row * TILE) - at[n, 1]
                side = np.float32(TILE)
                if right - left + bottom - top > 2 and _least_distance(a, b, c, x0, x0 + side, y0, y0 + side) > limit:
                    continue
                tiles[num], gaussians[num] = row * columns + column, n
                first[row * columns + column + 1] += 1
                num += 1
    for tile in range(len(first) - 1):
        first[tile + 1] += first[tile]
    # Each tile's beginning is moved on to its end, which is the beginning of the next one.
    for i in range(num):
        tile = tiles[i]
        members[first[tile]] = gaussians[i]
        first[tile] += 1
    for tile in range(len(first) - 1, 0, -1):
        first[tile] = first[tile - 1]
    first[0] = 0
    return num


@part
@no_type_check
def stride(count):
    """A step through ``count`` tiles that meets each once and goes all over the image all the time.

    Neighbours take as long as each other, and each thread has consecutive steps.
    """
    step = int(count * 0.618) | 1
    while math.gcd(step, count) != 1:
        step += 2
    return step
