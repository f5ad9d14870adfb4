"""Class distributions of pixels from those of the voxels around their surface points."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel
from semantic_ns.kernels.exponential_numba import exp32
from semantic_ns.propagation.surface_graph_numba import NUM_NEIGHBOURS, find, neighbours_of_key


@kernel
@no_type_check
def interpolate(  # noqa: C901
    keys, around, positions, colors, normals, sorted_keys, neighbours, resolution, centres, node_colors,
    node_normals, probabilities, nearness, color_slope, normal_slope, targets,
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
            neighbours_of_key(sorted_keys, keys[i], resolution, around[i])
        else:
            around[i] = neighbours[node]
        total = np.float32(0)
        for e in range(NUM_NEIGHBOURS):
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


@kernel
@no_type_check
def nearest_alike(depths, colors, pixels, own_colors, stride, chosen):
    """Fill ``chosen`` [N, 2] with the row and column of the map's pixel around each image pixel that looks most alike.

    ``depths`` [F, h, w], ``colors`` [F, h, w, 3] are maps of every ``stride``-th pixel, ``pixels`` [N, 3] frame, row
    and column in the image.
    """
    height, width = depths.shape[1], depths.shape[2]
    for i in prange(pixels.shape[0]):
        frame, row, column = pixels[i, 0], pixels[i, 1], pixels[i, 2]
        best = np.float32(np.inf)
        for k in range(4):
            r, c = row // stride + k // 2, column // stride + k % 2
            if (r >= height or c >= width) and k > 0:
                continue
            r, c = min(r, height - 1), min(c, width - 1)
            away = np.float32((r * stride - row) ** 2 + (c * stride - column) ** 2) / np.float32(stride * stride)
            score = np.float32(1e-3) * away
            for channel in range(3):
                score += (own_colors[i, channel] - colors[frame, r, c, channel]) ** 2
            if score < best:
                best = score
                chosen[i, 0], chosen[i, 1] = r, c
