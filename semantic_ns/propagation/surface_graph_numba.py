"""Voxels of a surface, their neighbours, and how alike these are."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import exact_kernel, exact_part, kernel

NUM_NEIGHBOURS = 27
"""Voxels that touch a voxel, itself included; in the order of the offsets (x, y, z) from (-1, -1, -1) to (1, 1, 1)."""


@exact_kernel
@no_type_check
def voxel_keys(positions, resolution, keys):
    """Fill ``keys`` [N] with (x R + y) R + z of each position [N, 3] of the unit cube; -1 outside it."""
    for i in prange(positions.shape[0]):
        key = np.int64(0)
        for axis in range(3):
            value = positions[i, axis]
            if not (value >= 0 and value < 1):  # also where it is NaN
                key = np.int64(-1)
                break
            key = key * resolution + np.int64(value * resolution)
        keys[i] = key


@exact_part
@no_type_check
def find(sorted_keys, key):
    """Place of a key, or -1."""
    low, high = 0, sorted_keys.shape[0]
    while low < high:
        middle = (low + high) // 2
        if sorted_keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    if low < sorted_keys.shape[0] and sorted_keys[low] == key:
        return low
    return -1


@exact_kernel
@no_type_check
def find_all(sorted_keys, keys, nodes):
    """Fill ``nodes`` [N] with the place of each key among the sorted ones, -1 where it is not there."""
    for i in prange(keys.shape[0]):
        nodes[i] = find(sorted_keys, keys[i]) if keys[i] >= 0 else -1


@exact_part
@no_type_check
def neighbours_of_key(sorted_keys, key, resolution, neighbours):
    """Fill ``neighbours`` [27] with the voxels around that of a key, -1 where there is none."""
    x, y, z = key // (resolution * resolution), key // resolution % resolution, key % resolution
    for e in range(NUM_NEIGHBOURS):
        nx, ny, nz = x + e // 9 - 1, y + e // 3 % 3 - 1, z + e % 3 - 1
        inside = 0 <= nx < resolution and 0 <= ny < resolution and 0 <= nz < resolution
        neighbours[e] = find(sorted_keys, (nx * resolution + ny) * resolution + nz) if inside else -1


@exact_kernel
@no_type_check
def find_neighbours(sorted_keys, resolution, neighbours):
    """Fill ``neighbours`` [M, 27] with the voxels around each voxel, -1 where there is none."""
    for i in prange(sorted_keys.shape[0]):
        neighbours_of_key(sorted_keys, sorted_keys[i], resolution, neighbours[i])


@exact_kernel
@no_type_check
def mean_of_nodes(nodes, values, means, counts):
    """Fill ``means`` [M, K] and ``counts`` [M] from the values [N, K] of points and their voxels."""
    means[:] = np.float32(0)
    counts[:] = 0
    for i in range(nodes.shape[0]):
        if nodes[i] >= 0:
            counts[nodes[i]] += 1
            for k in range(values.shape[1]):
                means[nodes[i], k] += values[i, k]
    for m in prange(means.shape[0]):
        for k in range(means.shape[1]):
            means[m, k] /= max(counts[m], 1)


@kernel
@no_type_check
def edge_weights(neighbours, colors, normals, color_slope, normal_slope, floor, weights):
    """Fill ``weights`` [M, 27]; an edge and its way back weigh the same, a voxel has no edge to itself."""
    for i in prange(neighbours.shape[0]):
        for e in range(NUM_NEIGHBOURS):
            j = neighbours[i, e]
            weights[i, e] = np.float32(0)
            if j < 0 or j == i:
                continue
            difference, cosine = np.float32(0), np.float32(0)
            for axis in range(3):
                difference += (colors[i, axis] - colors[j, axis]) ** 2
                cosine += normals[i, axis] * normals[j, axis]
            steps = abs(e // 9 - 1) + abs(e // 3 % 3 - 1) + abs(e % 3 - 1)
            alike = np.exp(-color_slope * difference - normal_slope * (np.float32(1) - cosine))
            weights[i, e] = alike / np.sqrt(np.float32(steps)) + floor
