"""Classes of pixels, in one pass over what was composited."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel

_VOID = -1


@kernel
@no_type_check
def most_likely(shares, opacity, least_probability, least_share, labels):
    """Fill ``labels`` [H, W]: the first of the largest ``shares`` [H, W, C], all below the least probability equal.

    Void is -1: where the shares add up to hardly any of the ``opacity`` [H, W].
    """
    height, width, num_classes = shares.shape
    for y in prange(height):
        for x in range(width):
            best, highest, total = 0, np.float32(least_probability), np.float32(0)
            for c in range(num_classes):
                share = shares[y, x, c]
                total += share
                if share > highest:
                    best, highest = c, share
            labels[y, x] = _VOID if total <= np.float32(least_share) * opacity[y, x] else best
