"""Sums over the pixels of voxels, image by image."""

from typing import no_type_check

from semantic_ns.kernels.compilation import kernel


@kernel
@no_type_check
def add_to_nodes(nodes, values, sums, counts):
    """Add the values [N, K] of pixels to ``sums`` [M, K] at their voxels, and 1 to ``counts`` [M]; voxel -1 is none.

    One thread in the order of the pixels, so that sums have the same bits with any number of threads.
    """
    for i in range(nodes.shape[0]):
        if nodes[i] >= 0:
            counts[nodes[i]] += 1
            for k in range(values.shape[1]):
                sums[nodes[i], k] += values[i, k]
