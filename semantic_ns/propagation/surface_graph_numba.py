"""Means over the points of voxels, and how alike voxels are that touch."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel
from semantic_ns.surface.voxels_numba import NUM_TOUCHING


@kernel
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
def edge_weights(neighbours, colors, normals, color_slope, normal_slope, brightness, is_squared, floor, weights):
    """Fill ``weights`` [M, 27]; an edge and its way back weigh the same, a voxel has no edge to itself."""
    for i in prange(neighbours.shape[0]):
        for e in range(NUM_TOUCHING):
            j = neighbours[i, e]
            weights[i, e] = np.float32(0)
            if j < 0 or j == i:
                continue
            squared, along_grey, turned = np.float32(0), np.float32(0), np.float32(0)
            for axis in range(3):
                change = colors[i, axis] - colors[j, axis]
                squared += change**2
                along_grey += change
                turned += (normals[i, axis] - normals[j, axis]) ** 2
            squared = max(squared - (np.float32(1) - brightness**2) * along_grey**2 / np.float32(3), np.float32(0))
            if not is_squared:
                squared, turned = np.sqrt(squared), np.sqrt(turned)
            steps = abs(e // 9 - 1) + abs(e // 3 % 3 - 1) + abs(e % 3 - 1)
            alike = np.exp(-color_slope * squared - normal_slope * turned)
            weights[i, e] = alike / np.sqrt(np.float32(steps)) + floor
