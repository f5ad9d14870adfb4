"""Keys of voxels, and voxels around voxels in an ascending list of keys."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part

BITS = 21
"""Of a voxel's number along one axis."""
HALF = 1 << (BITS - 1)
"""Number of the voxel that begins at 0."""
LARGEST_RADIUS = 2
"""Voxels from one to the farthest that is still looked for, along each axis. As many are left free at both ends of an
axis, so that the key of a neighbour never runs over into the number along the next axis."""
NUM_TOUCHING = 27
"""Voxels that touch a voxel, itself included."""
_FIRST, _LAST = LARGEST_RADIUS - HALF, HALF - 1 - LARGEST_RADIUS


@kernel
@no_type_check
def voxel_keys(points, resolution, edge, keys):
    """Fill ``keys`` [N] with those of the voxels that points [N, 3] lie in, -1 for a point without one.

    If ``resolution`` is not 0, so many voxels divide each axis of the unit cube, and there are none outside it. Else
    voxels with this ``edge`` fill all space, and points beyond the last ones belong to these.
    """
    for i in prange(points.shape[0]):
        key = np.int64(0)
        for axis in range(3):
            value = np.float64(points[i, axis])
            # NaN fails either way.
            has_voxel = (value >= 0 and value < 1) if resolution > 0 else np.isfinite(value)
            if not has_voxel:
                key = np.int64(-1)
                break
            if resolution > 0:
                number = np.int64(value * resolution)
            else:
                number = np.int64(min(max(np.floor(value / edge), _FIRST), _LAST))
            key = (key << BITS) | (number + HALF)
        keys[i] = key


@part
@no_type_check
def number_voxels(keys, order, occupied, numbers):
    """Fill ``occupied`` with the different ones of ``keys`` [N], ascending, and ``numbers`` [N] with the place of each.

    ``order`` [N] are the places of the keys in ascending order.

    Returns:
        how many keys there are.
    """
    count = 0
    for i in order:
        if count == 0 or keys[i] != occupied[count - 1]:
            occupied[count] = keys[i]
            count += 1
        numbers[i] = count - 1
    return count


@part
@no_type_check
def first_at_least(sorted_keys, key, low, high):
    """Place of the first of the ascending keys that is not less than a key, if it lies between two places."""
    while low < high:
        middle = (low + high) // 2
        if sorted_keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@part
@no_type_check
def find(sorted_keys, key):
    """Place of a key, or -1."""
    place = first_at_least(sorted_keys, key, 0, sorted_keys.shape[0])
    return place if place < sorted_keys.shape[0] and sorted_keys[place] == key else -1


@kernel
@no_type_check
def find_all(sorted_keys, keys, places):
    """Fill ``places`` [N] with the place of each key among the sorted ones, -1 where it is not there."""
    for i in prange(keys.shape[0]):
        places[i] = find(sorted_keys, keys[i]) if keys[i] >= 0 else -1


@part
@no_type_check
def next_at_least(sorted_keys, key, start):
    """Place of the first of the ascending keys, from a place on, that is not less than a key; fast if it is near."""
    low, high, step = start, start, 1
    while high < sorted_keys.shape[0] and sorted_keys[high] < key:
        low = high + 1
        high += step
        step *= 2
    return first_at_least(sorted_keys, key, low, min(high, sorted_keys.shape[0]))


@part
@no_type_check
def neighbours_of_key(sorted_keys, key, radius, neighbours):
    """Fill ``neighbours`` [(2 radius + 1)^3] with the places of the voxels around that of a key, -1 for those missing.

    They come in the order of the offsets (x, y, z) from (-radius, -radius, -radius) on, z fastest.
    """
    entry, place = 0, 0
    for dx in range(-radius, radius + 1):
        for dy in range(-radius, radius + 1):
            # Voxels along z have consecutive keys: one search finds them all, and later ones lie behind them.
            wanted = key + (np.int64(dx) << 2 * BITS) + (np.int64(dy) << BITS) - radius
            if entry == 0:
                place = first_at_least(sorted_keys, wanted, 0, sorted_keys.shape[0])
            else:
                place = next_at_least(sorted_keys, wanted, place)
            for _ in range(2 * radius + 1):
                if place < sorted_keys.shape[0] and sorted_keys[place] == wanted:
                    neighbours[entry] = place
                    place += 1
                else:
                    neighbours[entry] = -1
                entry += 1
                wanted += 1


@kernel
@no_type_check
def find_neighbours(sorted_keys, neighbours):
    """Fill ``neighbours`` [M, 27] with the voxels that touch each voxel, -1 where there is none."""
    for i in prange(sorted_keys.shape[0]):
        neighbours_of_key(sorted_keys, sorted_keys[i], 1, neighbours[i])


@kernel
@no_type_check
def find_creases(sorted_keys, normals, cosine, is_crease):
    """Mark voxels that touch one whose normal has a smaller cosine with theirs, up to sign."""
    for voxel in prange(sorted_keys.shape[0]):
        around = np.empty(NUM_TOUCHING, np.int64)
        neighbours_of_key(sorted_keys, sorted_keys[voxel], 1, around)
        for k in range(NUM_TOUCHING):
            if around[k] < 0:
                continue
            product = 0.0
            for axis in range(3):
                product += normals[voxel, axis] * normals[around[k], axis]
            if abs(product) < cosine:
                is_crease[voxel] = True
