"""Neighbours of voxels in a sorted list of keys."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import exact_kernel, exact_part

BITS = 21
"""Of a cell's number along one axis."""
HALF = 1 << (BITS - 1)
"""Number of the cell that begins at 0."""
RADIUS = 2
"""Cells around a voxel that are near it, along each axis."""


@exact_part
@no_type_check
def first_at_least(keys, key):
    """Place of the first of the ascending keys that is not less than a key."""
    low, high = 0, keys.shape[0]
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@exact_part
@no_type_check
def neighbours(keys, voxel, radius, found):
    """Fill ``found`` with the voxels within ``radius`` cells along each axis, itself included; how many there are."""
    count = 0
    for dx in range(-radius, radius + 1):
        for dy in range(-radius, radius + 1):
            # Cells along z have consecutive keys.
            middle = keys[voxel] + (np.int64(dx) << 2 * BITS) + (np.int64(dy) << BITS)
            place = first_at_least(keys, middle - radius)
            while place < keys.shape[0] and keys[place] <= middle + radius:
                found[count] = place
                count += 1
                place += 1
    return count


@exact_kernel
@no_type_check
def find_creases(keys, normals, cosine, is_crease):
    """Mark voxels that touch one whose normal has a smaller cosine with theirs, up to sign."""
    for voxel in prange(keys.shape[0]):
        found = np.empty(27, np.int64)
        for k in range(neighbours(keys, voxel, 1, found)):
            product = 0.0
            for axis in range(3):
                product += normals[voxel, axis] * normals[found[k], axis]
            if abs(product) < cosine:
                is_crease[voxel] = True
