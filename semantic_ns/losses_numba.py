"""Losses of rays and their gradients in one pass each."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part
from semantic_ns.kernels.exponential_numba import exp32

OPACITY_OFFSET = 0.01
"""What `losses.opacity_loss` adds to the accumulation, so that an empty ray has a bounded gradient."""
DEPTH_OFFSET = 0.01
"""What `losses.depth_loss` adds to the agreement: the weight of a pixel that may just be wrong."""
ENOUGH_AGREEMENT = 0.4
"""Agreement from which on `losses.depth_loss` is 0."""
_LEAST_WIDTH = np.float32(1e-6)


@part
@no_type_check
def distortion_of_ray(edges, weights, gradient):
    """Distortion of one ray; fills its ``gradient`` [S], by running sums from both ends: O(S), not O(S^2)."""
    num_samples = weights.shape[0]
    half, third = np.float32(0.5), np.float32(1.0 / 3.0)
    below_w, below_wu = np.float32(0), np.float32(0)
    loss = np.float32(0)
    for k in range(num_samples):
        u, w = (edges[k] + edges[k + 1]) * half, weights[k]
        width = edges[k + 1] - edges[k]
        to_below = below_w * u - below_wu
        loss += np.float32(2) * w * to_below + third * w * w * width
        gradient[k] = np.float32(2) * to_below + np.float32(2) * third * w * width
        below_w += w
        below_wu += w * u
    above_w, above_wu = np.float32(0), np.float32(0)
    for k in range(num_samples - 1, -1, -1):
        u, w = (edges[k] + edges[k + 1]) * half, weights[k]
        gradient[k] += np.float32(2) * (above_wu - above_w * u)
        above_w += w
        above_wu += w * u
    return loss


@part
@no_type_check
def near_camera_of_ray(start, lengths, weights, factor, per_reach, gradient):
    """`losses.near_camera_prices` of one ray times a factor; adds its derivatives to ``gradient`` [S]."""
    loss, distance = np.float32(0), start
    for k in range(weights.shape[0]):
        nearness = np.float32(1) - (distance + np.float32(0.5) * lengths[k]) * per_reach
        if nearness <= np.float32(0):
            break
        loss += factor * nearness * weights[k]
        gradient[k] += factor * nearness
        distance += lengths[k]
    return loss


@part
@no_type_check
def depth_of_ray(start, lengths, weights, distance, scale, factor, gradient):
    """`losses.depth_loss` of one ray that ends at a known distance, times a factor; adds to ``gradient`` [S].

    ``scale`` is the half width of the distance. The gradient in a weight is g_k / (a + o), with g_k as in
    `losses.depth_agreements`, which is computed twice to need no memory; it is 0 where a is enough.
    """
    agreement = np.float32(0)
    low = (start - distance) / scale
    for k in range(weights.shape[0]):
        width = lengths[k] / scale
        agreement += weights[k] * _share_of_interval(low, width)
        low += width
    offset, enough = np.float32(DEPTH_OFFSET), np.float32(ENOUGH_AGREEMENT)
    if agreement >= enough:
        return np.float32(0)
    low = (start - distance) / scale
    for k in range(weights.shape[0]):
        width = lengths[k] / scale
        gradient[k] -= factor * _share_of_interval(low, width) / (agreement + offset)
        low += width
    return -factor * np.log((agreement + offset) / (enough + offset))


@part
@no_type_check
def _share_of_interval(low, width):
    """Mean of 1 / (1 + x^2) over an interval of x that begins at ``low``."""
    one = np.float32(1)
    if width <= _LEAST_WIDTH:
        return one / (one + low * low)
    return np.float32(np.arctan2(width, one + low * (low + width))) / width


@part
@no_type_check
def _softmax(logits, probabilities):
    """Fill ``probabilities`` [C]; returns the logarithm of the sum of the exponentials."""
    num_classes = logits.shape[0]
    highest = logits[0]
    for c in range(1, num_classes):
        highest = max(highest, logits[c])
    total = np.float32(0)
    for c in range(num_classes):
        probabilities[c] = exp32(logits[c] - highest)
    # In a loop of its own, for a sum keeps the exponentials from becoming vector code.
    for c in range(num_classes):
        total += probabilities[c]
    for c in range(num_classes):
        probabilities[c] /= total
    return np.log(total) + highest


@part
@no_type_check
def cross_entropy_of_ray(logits, label, gradient):
    """Cross-entropy of one ray with a label 0..C-1; fills its ``gradient`` [C]."""
    loss = _softmax(logits, gradient) - logits[label]
    gradient[label] -= np.float32(1)
    return loss


@part
@no_type_check
def soft_cross_entropy_of_ray(logits, target, gradient):
    """Cross-entropy of one ray with a distribution [C], sum_c t_c (log sum_d e^s_d - s_c); fills its ``gradient``."""
    log_sum, loss, mass = _softmax(logits, gradient), np.float32(0), np.float32(0)
    for c in range(target.shape[0]):
        loss += target[c] * (log_sum - logits[c])
        mass += target[c]
    for c in range(target.shape[0]):
        gradient[c] = mass * gradient[c] - target[c]
    return loss


@kernel
@no_type_check
def distortion(edges, weights, losses, gradient):
    """Loss [R] of each ray and its gradient [R, S] in the weights."""
    for r in prange(weights.shape[0]):
        losses[r] = distortion_of_ray(edges[r], weights[r], gradient[r])


@kernel
@no_type_check
def cross_entropy(logits, labels, losses, gradient):
    """Loss [R] of each ray and its gradient [R, C] in the logits, both 0 where the label is negative."""
    for r in prange(logits.shape[0]):
        if labels[r] < 0:
            losses[r] = np.float32(0)
            for c in range(logits.shape[1]):
                gradient[r, c] = np.float32(0)
        else:
            losses[r] = cross_entropy_of_ray(logits[r], labels[r], gradient[r])


@kernel
@no_type_check
def soft_cross_entropy(logits, targets, losses, gradient):
    """The same against distributions ``targets`` [R, C]."""
    for r in prange(logits.shape[0]):
        losses[r] = soft_cross_entropy_of_ray(logits[r], targets[r], gradient[r])
