"""Compiled loops of :mod:`semantic_ns.export.view_votes` and :mod:`semantic_ns.export.tsdf`.

Symbols: ``w2c`` [3, 4] world to camera, OpenCV axes; ``lens`` [4] fx, fy, cx, cy; ``depth`` [H, W] planar, 0 unknown.
"""

import math
from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part

_LARGEST_RATIO = np.float32(1.2)
"""Depths of neighbouring pixels that differ by more lie on two sides of an edge."""


@part
@no_type_check
def pixel_of(x, y, z, w2c, lens, height, width):
    """Row and column, in pixels, and depth in a view of a point of the world; row -1 where it is outside the image."""
    right = w2c[0, 0] * x + w2c[0, 1] * y + w2c[0, 2] * z + w2c[0, 3]
    down = w2c[1, 0] * x + w2c[1, 1] * y + w2c[1, 2] * z + w2c[1, 3]
    ahead = w2c[2, 0] * x + w2c[2, 1] * y + w2c[2, 2] * z + w2c[2, 3]
    if not ahead > 0:
        return -1.0, -1.0, ahead
    column, row = lens[0] * right / ahead + lens[2], lens[1] * down / ahead + lens[3]
    if not (0 <= column < width and 0 <= row < height):
        return -1.0, -1.0, ahead
    return row, column, ahead


@part
@no_type_check
def depth_at(depth, row, column):
    """Depth at a place between pixel centres: linear in its inverse on a surface without edges, else the nearest."""
    height, width = depth.shape
    nearest = depth[int(row), int(column)]
    i, j = math.floor(row - 0.5), math.floor(column - 0.5)
    if i < 0 or j < 0 or i + 1 >= height or j + 1 >= width:
        return nearest
    least = min(depth[i, j], depth[i, j + 1], depth[i + 1, j], depth[i + 1, j + 1])
    most = max(depth[i, j], depth[i, j + 1], depth[i + 1, j], depth[i + 1, j + 1])
    if not (least > 0 and most <= _LARGEST_RATIO * least):
        return nearest
    down, right = row - 0.5 - i, column - 0.5 - j
    above = (1 - right) / depth[i, j] + right / depth[i, j + 1]
    below = (1 - right) / depth[i + 1, j] + right / depth[i + 1, j + 1]
    return np.float32(1 / ((1 - down) * above + down * below))


@part
@no_type_check
def nearest_around(depth, row, column):
    """Least known depth of a pixel and its eight neighbours; 0 where one of them is unknown or outside."""
    height, width = depth.shape
    if row < 1 or column < 1 or row >= height - 1 or column >= width - 1:
        return np.float32(0)
    least = depth[row, column]
    for i in range(row - 1, row + 2):
        for j in range(column - 1, column + 2):
            least = min(least, depth[i, j])
    return least


@kernel
@no_type_check
def add_view(
    points, w2c, lens, depth, color, labels, confidence, least, relative, colors, votes, seen, seen_through
):  # fmt: skip
    """Add what one view says to ``colors`` [N, 4] (RGB and weight), ``votes`` [N, C] and the counts [N]."""
    height, width = depth.shape
    for i in prange(len(points)):
        row, column, z = pixel_of(points[i, 0], points[i, 1], points[i, 2], w2c, lens, height, width)
        if row < 0 or depth[int(row), int(column)] <= 0:
            continue
        allowed, j, k = max(least, relative * z), int(row), int(column)
        if abs(depth_at(depth, row, column) - z) <= allowed:
            weight = np.float32(1 / (z * z))
            for channel in range(3):
                colors[i, channel] += weight * np.float32(color[j, k, channel])
            colors[i, 3] += weight
            if labels[j, k] >= 0:
                votes[i, labels[j, k]] += weight * confidence[j, k]
            seen[i] += 1
        elif nearest_around(depth, j, k) > z + allowed:
            seen_through[i] += 1


@kernel
@no_type_check
def find_pixels(points, w2c, lens, depth, least, relative, pixels):
    """Fill ``pixels`` [N] with the pixel, row by row, in which a view sees each point, -1 where it does not."""
    height, width = depth.shape
    for i in prange(len(points)):
        row, column, z = pixel_of(points[i, 0], points[i, 1], points[i, 2], w2c, lens, height, width)
        pixels[i] = -1
        if row < 0 or depth[int(row), int(column)] <= 0:
            continue
        if abs(depth_at(depth, row, column) - z) <= max(least, relative * z):
            pixels[i] = int(row) * width + int(column)


@kernel
@no_type_check
def count_differences(points, w2c, lens, depth, widest, largest, counts):
    """Add to ``counts`` [B], bins over 0..largest, how far the depths of points differ from those of one view."""
    height, width = depth.shape
    differences = np.full(len(points), -1.0)
    for i in prange(len(points)):
        row, column, z = pixel_of(points[i, 0], points[i, 1], points[i, 2], w2c, lens, height, width)
        if row >= 0 and depth[int(row), int(column)] > 0:
            difference = abs(depth_at(depth, row, column) - z)
            if difference <= widest * z:
                differences[i] = difference
    for difference in differences:
        if difference >= 0:
            counts[min(int(difference / largest * len(counts)), len(counts) - 1)] += 1


@kernel
@no_type_check
def integrate(first, edge, truncation, w2c, lens, depth, slants, distances, weights):
    """Add one view to the truncated signed distances [X, Y, Z] of voxels and to their weights.

    ``first`` [3] is the centre of the first voxel, ``edge`` the distance of two. A voxel behind a surface by more than
    ``truncation`` is hidden, and nothing is said of it. Distances are those to the plane that the pixel shows.
    """
    height, width = depth.shape
    for i in prange(distances.shape[0]):
        x = first[0] + i * edge
        for j in range(distances.shape[1]):
            y = first[1] + j * edge
            for k in range(distances.shape[2]):
                row, column, z = pixel_of(x, y, first[2] + k * edge, w2c, lens, height, width)
                if row < 0 or depth[int(row), int(column)] <= 0:
                    continue
                slant = slants[int(row), int(column)]
                signed = (depth_at(depth, row, column) - z) * slant
                if signed < -truncation:
                    continue
                weight = np.float32(slant / (z * z))
                total = weights[i, j, k] + weight
                value = np.float32(min(1.0, signed / truncation))
                distances[i, j, k] += (value - distances[i, j, k]) * weight / total
                weights[i, j, k] = total
