"""Distortion loss and its gradient in one pass per ray, O(S) instead of O(S^2)."""

from typing import no_type_check

import numpy as np
from numba import njit, prange


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
@no_type_check
def distortion(edges, weights, losses, gradient):
    """Loss [R] of each ray and its gradient [R, S] in the weights, by running sums from both ends."""
    num_rays, num_samples = weights.shape
    half, third = np.float32(0.5), np.float32(1.0 / 3.0)
    for r in prange(num_rays):
        below_w, below_wu = np.float32(0), np.float32(0)
        loss = np.float32(0)
        for k in range(num_samples):
            u, w = (edges[r, k] + edges[r, k + 1]) * half, weights[r, k]
            width = edges[r, k + 1] - edges[r, k]
            to_below = below_w * u - below_wu
            loss += np.float32(2) * w * to_below + third * w * w * width
            gradient[r, k] = np.float32(2) * to_below + np.float32(2) * third * w * width
            below_w += w
            below_wu += w * u
        above_w, above_wu = np.float32(0), np.float32(0)
        for k in range(num_samples - 1, -1, -1):
            u, w = (edges[r, k] + edges[r, k + 1]) * half, weights[r, k]
            gradient[r, k] += np.float32(2) * (above_wu - above_w * u)
            above_w += w
            above_wu += w * u
        losses[r] = loss
