"""Sums over the pixels of voxels, image by image."""

from typing import no_type_check

from numba import prange

from semantic_ns.kernels.compilation import kernel


@kernel
@no_type_check
def add_to_nodes(nodes, values, sums, counts):
    """Add the values [N, K] of pixels to ``sums`` [M, K] at their voxels, and 1 to ``counts`` [M]; voxel -1 is none.

    Threads share the channels and add pixels in their order, so that sums have the same bits with any number of them.
    """
    for i in range(nodes.shape[0]):
        if nodes[i] >= 0:
            counts[nodes[i]] += 1
    for k in prange(values.shape[1]):
        for i in range(nodes.shape[0]):
            if nodes[i] >= 0:
                sums[nodes[i], k] += values[i, k]
