"""What is shown of rendered logits, in one pass per ray."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel
from semantic_ns.kernels.exponential_numba import exp32


@kernel
@no_type_check
def describe(logits, labels, confidence, entropy):
    """Most likely class [R] (the first of equals), its probability [R] and the entropy [R] in nats."""
    num_rays, num_classes = logits.shape
    for r in prange(num_rays):
        best = 0
        for c in range(1, num_classes):
            if logits[r, c] > logits[r, best]:
                best = c
        highest = logits[r, best]
        total, weighted = np.float32(0), np.float32(0)
        for c in range(num_classes):
            below = logits[r, c] - highest
            share = exp32(below)
            total += share
            weighted += share * below
        labels[r] = best
        confidence[r] = np.float32(1) / total
        entropy[r] = np.log(total) - weighted / total
