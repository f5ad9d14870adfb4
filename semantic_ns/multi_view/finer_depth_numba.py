"""Costs of planes that differ from pixel to pixel, along paths.

Symbols:

* ``cost`` [H, W, K]   of K planes of each pixel
* ``first`` [H, W]     number of the first of them among all planes
"""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part


@part
@no_type_check
def _spread(before, small, large, reached):
    """Fill ``reached`` [K] with what each plane of the pixel before costs if steps are free to begin at any of them.

    A step costs ``small`` for each plane that it crosses, and at most ``large``. Returns the least cost.
    """
    planes = len(before)
    least = before[0]
    for k in range(1, planes):
        least = min(least, before[k])
    for k in range(planes):
        reached[k] = min(before[k], least + large)
    for k in range(1, planes):
        reached[k] = min(reached[k], reached[k - 1] + small)
    for k in range(planes - 2, -1, -1):
        reached[k] = min(reached[k], reached[k + 1] + small)
    return least


@part
@no_type_check
def _path(cost, first, image, backward, large_step, small, edge, total):
    """One path along ``cost`` [length, K], added to ``total``."""
    length, planes = cost.shape
    before, reached = cost[length - 1 if backward else 0].copy(), np.empty(planes, np.float32)
    for i in range(length):
        place = length - 1 - i if backward else i
        if i == 0:
            for k in range(planes):
                total[place, k] += before[k]
            continue
        last = place + 1 if backward else place - 1
        change = np.float32(0)
        for c in range(image.shape[1]):
            change += abs(image[place, c] - image[last, c])
        large = max(large_step / (1 + change / np.float32(image.shape[1]) / edge), small)
        least = _spread(before, small, large, reached)
        shift = first[place] - first[last]
        for k in range(planes):
            # The plane in the row of the pixel before, or the end of that row and the planes beyond it.
            j = min(max(k + shift, 0), planes - 1)
            beyond = np.float32(abs(k + shift - j))
            best = min(reached[j] + small * beyond, least + large)
            before[k] = cost[place, k] + best - least
            total[place, k] += before[k]


@kernel
@no_type_check
def aggregate_bands(cost, first, image, large_step, small, edge, total):
    """Add the costs along the four paths of one frame to ``total``.

    A path of pixels p costs the sum of ``cost`` and, for a step over d planes, min(d ``small``, large), where large is
    ``large_step`` / (1 + change of colour / ``edge``), but at least ``small``. ``image`` [H, W, 3] are the colours.
    """
    height, width = cost.shape[:2]
    for row in prange(height):
        for backward in range(2):
            _path(cost[row], first[row], image[row], backward == 1, large_step, small, edge, total[row])
    for column in prange(width):
        for backward in range(2):
            _path(
                cost[:, column], first[:, column], image[:, column], backward == 1, large_step, small, edge,
                total[:, column],
            )  # fmt: skip
