"""Class distributions of pixels from those of the voxels around their surface points."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel
from semantic_ns.kernels.exponential_numba import exp32
from semantic_ns.surface.voxels_numba import NUM_TOUCHING, find, neighbours_of_key


@kernel
@no_type_check
def interpolate(  # noqa: C901
    keys, around, positions, colors, normals, sorted_keys, neighbours, centres, node_colors, node_normals,
    probabilities, nearness, color_slope, normal_slope, targets,
):  # fmt: skip
    """Fill ``targets`` [N, C] with means over the voxels around each point; zero where there is none.

    ``around`` [N, 27] is filled, too, with these voxels. The point's own voxel may be empty: not every pixel was seen
    when the surface was divided.
    """
    for i in prange(keys.shape[0]):
        for c in range(targets.shape[1]):
            targets[i, c] = np.float32(0)
        if keys[i] < 0:
            continue
        node = find(sorted_keys, keys[i])
        if node < 0:
            neighbours_of_key(sorted_keys, keys[i], 1, around[i])
        else:
            around[i] = neighbours[node]
        total = np.float32(0)
        for e in range(NUM_TOUCHING):
            j = around[i, e]
            if j < 0:
                continue
            distance, difference, cosine = np.float32(0), np.float32(0), np.float32(0)
            for axis in range(3):
                distance += (positions[i, axis] - centres[j, axis]) ** 2
                difference += (colors[i, axis] - node_colors[j, axis]) ** 2
                cosine += normals[i, axis] * node_normals[j, axis]
            exponent = nearness * distance + color_slope * difference + normal_slope * (np.float32(1) - cosine)
            weight = exp32(-min(exponent, np.float32(27.0)))
            total += weight
            for c in range(targets.shape[1]):
                targets[i, c] += weight * probabilities[j, c]
        if total > np.float32(0):
            for c in range(targets.shape[1]):
                targets[i, c] /= total
