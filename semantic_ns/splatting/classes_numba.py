"""Classes of pixels, in one pass over what was composited."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.geometry.pull_and_push_numba import between, neighbours
from semantic_ns.kernels.compilation import inlined_part, kernel

_VOID = -1
_ZERO, _ONE = np.float32(0), np.float32(1)
_MARGIN = np.float32(1 + 1e-4)
"""What is rounded on the way must not decide."""


@inlined_part
@no_type_check
def _largest(shares, least):
    """The first of the largest ``shares`` [C], by how much it is larger than the others, and their sum.

    All shares below the least one are equal.
    """
    best, highest, second, total = 0, least, _ZERO, _ZERO
    for c in range(len(shares)):
        share = shares[c]
        total += share
        if share > highest:
            best, highest, second = c, share, highest
        elif share > second:
            second = share
    return best, highest - second, total


@kernel
@no_type_check
def most_likely(shares, opacity, coarse, least_probability, least_share, labels):
    """Fill ``labels`` [H, W]: the class of the largest share, and void (-1) where there is hardly any share.

    The image of half the size without holes, ``coarse`` [h, w, C], adds to ``shares`` [H, W, C] what is left of the
    ``opacity`` [H, W]: no more than that to any class. It is looked at where that may make another class the largest;
    where no hole is to be filled it has no pixels.
    """
    height, width, channels = shares.shape
    least = np.float32(least_probability)
    for y in prange(height):
        filled = np.empty(channels, np.float32)
        y0, y1 = neighbours(y, coarse.shape[0])
        for x in range(width):
            rest = _ONE - opacity[y, x]
            best, ahead, total = _largest(shares[y, x], least)
            least_total = np.float32(least_share) * opacity[y, x]
            if len(coarse) and (ahead <= rest * _MARGIN or total <= least_total):
                x0, x1 = neighbours(x, coarse.shape[1])
                for c in range(channels):
                    filled[c] = shares[y, x, c] + rest * between(coarse, y0, y1, x0, x1, c)
                best, ahead, total = _largest(filled, least)
            labels[y, x] = _VOID if total <= least_total else best
