"""Losses of rays and their gradients in one pass each."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel
from semantic_ns.kernels.exponential_numba import exp32


@kernel
@no_type_check
def distortion(edges, weights, losses, gradient):
    """Loss [R] of each ray and its gradient [R, S] in the weights, by running sums from both ends: O(S), not O(S^2)."""
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


@kernel
@no_type_check
def cross_entropy(logits, labels, losses, gradient):
    """Loss [R] of each ray and its gradient [R, C] in the logits, both 0 where the label is negative."""
    num_rays, num_classes = logits.shape
    for r in prange(num_rays):
        label = labels[r]
        if label < 0:
            losses[r] = np.float32(0)
            for c in range(num_classes):
                gradient[r, c] = np.float32(0)
            continue
        highest = logits[r, 0]
        for c in range(1, num_classes):
            highest = max(highest, logits[r, c])
        total = np.float32(0)
        for c in range(num_classes):
            gradient[r, c] = exp32(logits[r, c] - highest)
            total += gradient[r, c]
        for c in range(num_classes):
            gradient[r, c] /= total
        losses[r] = np.log(total) + highest - logits[r, label]
        gradient[r, label] -= np.float32(1)
