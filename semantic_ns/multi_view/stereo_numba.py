"""Multi-view stereo on the CPU: the same as `stereo` in torch, five times as fast on one core.

Symbols:

* ``maps`` [frames, H, W, C]   what is compared between frames
* ``matrices`` [others, 3, 4]  from (x d, y d, d, 1) of the frame to homogeneous image coordinates of the others
* ``cost`` [H, W, planes]      of the planes of each pixel, so that those of a pixel lie side by side
* ``first`` [H, W]             number of the first of these planes among all of them
"""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part


@part
@no_type_check
def _difference(maps, other, x, y, own, largest):
    """Mean absolute difference of a pixel's channels to those of another frame at (x, y), bilinear, its border kept."""
    height, width, channels = maps.shape[1:]
    column = min(max(x * width - np.float32(0.5), np.float32(0)), np.float32(width - 1))
    row = min(max(y * height - np.float32(0.5), np.float32(0)), np.float32(height - 1))
    left, top = min(int(column), max(width - 2, 0)), min(int(row), max(height - 2, 0))
    right, below = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = column - np.float32(left), row - np.float32(top)
    w00, w01 = (1 - a) * (1 - b), a * (1 - b)
    w10, w11 = (1 - a) * b, a * b
    total = np.float32(0)
    for c in range(channels):
        found = (
            w00 * maps[other, top, left, c]
            + w01 * maps[other, top, right, c]
            + w10 * maps[other, below, left, c]
            + w11 * maps[other, below, right, c]
        )
        total += abs(found - own[c])
    return min(total / np.float32(channels), largest)


@part
@no_type_check
def _mean_of_better_half(values, count):
    """Mean of the smaller half, rounded up, of the first ``count`` values, which it sorts."""
    for i in range(1, count):
        value, j = values[i], i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    kept = (count + 1) // 2
    total = np.float32(0)
    for i in range(kept):
        total += values[i]
    return total / np.float32(kept)


@kernel
@no_type_check
def swept(maps, number, others, matrices, depths, first, nearest, largest, cost):
    """Write the costs of one frame on its planes, see ``stereo.matching_costs``; ``depths`` are those of all planes."""
    height, width = maps.shape[1:3]
    for row in prange(height):
        found = np.empty(len(others), np.float32)
        y = np.float32((row + 0.5) / height)
        for column in range(width):
            x = np.float32((column + 0.5) / width)
            own = maps[number, row, column]
            for plane in range(cost.shape[2]):
                d, count = depths[first[row, column] + plane], 0
                for k in range(len(others)):
                    m = matrices[k]
                    z = (m[2, 0] * x + m[2, 1] * y + m[2, 2]) * d + m[2, 3]
                    if z <= nearest:
                        continue
                    u = ((m[0, 0] * x + m[0, 1] * y + m[0, 2]) * d + m[0, 3]) / z
                    v = ((m[1, 0] * x + m[1, 1] * y + m[1, 2]) * d + m[1, 3]) / z
                    if u < 0 or u > 1 or v < 0 or v > 1:
                        continue
                    found[count] = _difference(maps, others[k], u, v, own, largest)
                    count += 1
                cost[row, column, plane] = _mean_of_better_half(found, count) if count > 0 else largest


@part
@no_type_check
def _step(cost, before, large, small, now, total):
    """One step of a path: from the costs of the pixel before to those of this one, which are added to the total."""
    planes = len(cost)
    least = before[0]
    for k in range(1, planes):
        least = min(least, before[k])
    for k in range(planes):
        best = min(before[k], least + large)
        if k > 0:
            best = min(best, before[k - 1] + small)
        if k < planes - 1:
            best = min(best, before[k + 1] + small)
        now[k] = cost[k] + best - least
        total[k] += now[k]


@part
@no_type_check
def _path(cost, image, backward, large_step, small, edge, total):
    """One path along ``cost`` [length, planes], added to ``total``."""
    length, planes = cost.shape
    before, now = np.empty(planes, np.float32), np.empty(planes, np.float32)
    for i in range(length):
        place = length - 1 - i if backward else i
        if i == 0:
            for k in range(planes):
                before[k] = cost[place, k]
                total[place, k] += before[k]
            continue
        last = place + 1 if backward else place - 1
        change = np.float32(0)
        for c in range(image.shape[1]):
            change += abs(image[place, c] - image[last, c])
        large = max(large_step / (1 + change / np.float32(image.shape[1]) / edge), small)
        _step(cost[place], before, large, small, now, total[place])
        before, now = now, before


@kernel
@no_type_check
def aggregate(cost, image, large_step, small, edge, total):
    """Add the costs along the four paths of one frame to ``total``, see ``stereo.aggregated``.

    ``image`` [H, W, 3] are the colours of the frame.
    """
    height, width = cost.shape[:2]
    for row in prange(height):
        for backward in range(2):
            _path(cost[row], image[row], backward == 1, large_step, small, edge, total[row])
    for column in prange(width):
        for backward in range(2):
            _path(cost[:, column], image[:, column], backward == 1, large_step, small, edge, total[:, column])
