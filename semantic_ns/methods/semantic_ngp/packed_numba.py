"""Rendering of packed samples, one ray after the other.

Symbols, used by every kernel of this module: ``first`` [R + 1] index of each ray's first sample (the last entry is the
number of samples N), ``optical`` [N] density times length, ``weights`` [N], ``values`` [N, C]; a leading ``g_`` is the
gradient of the loss in what follows.
"""

import math
from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel

_ONE = np.float32(1)


@kernel
@no_type_check
def weights_forward(optical, first, weights):
    """Rendering weights T_k (1 - exp(-optical_k)) with the light T_k that reaches a sample."""
    for r in prange(first.shape[0] - 1):
        transmittance = _ONE
        for k in range(first[r], first[r + 1]):
            through = np.float32(math.exp(-optical[k]))
            weights[k] = transmittance * (_ONE - through)
            transmittance *= through


@kernel
@no_type_check
def weights_backward(optical, first, weights, g_weights, g_optical):
    """Gradient in the optical thickness: a sample gains what it does not pass on, all behind it lose their share."""
    for r in prange(first.shape[0] - 1):
        transmittance = _ONE
        for k in range(first[r], first[r + 1]):
            transmittance *= np.float32(math.exp(-optical[k]))
            g_optical[k] = g_weights[k] * transmittance
        later_sum = np.float32(0)
        for k in range(first[r + 1] - 1, first[r] - 1, -1):
            g_optical[k] -= later_sum
            later_sum += g_weights[k] * weights[k]


@kernel
@no_type_check
def mark_visible(optical, first, min_transmittance, min_opacity, visible):
    """Whether enough light reaches a sample and enough of it is stopped there."""
    for r in prange(first.shape[0] - 1):
        transmittance = _ONE
        for k in range(first[r], first[r + 1]):
            through = np.float32(math.exp(-optical[k]))
            visible[k] = transmittance >= min_transmittance and _ONE - through >= min_opacity
            transmittance *= through


@kernel
@no_type_check
def composite_forward(weights, values, first, sums):
    """Sums [R, C] of the weighted values of each ray."""
    for r in prange(first.shape[0] - 1):
        for c in range(values.shape[1]):
            sums[r, c] = np.float32(0)
        for k in range(first[r], first[r + 1]):
            for c in range(values.shape[1]):
                sums[r, c] += weights[k] * values[k, c]


@kernel
@no_type_check
def composite_backward(weights, values, first, g_sums, g_weights, g_values):
    """Gradients of the sums in weights and values."""
    for r in prange(first.shape[0] - 1):
        for k in range(first[r], first[r + 1]):
            total = np.float32(0)
            for c in range(values.shape[1]):
                total += g_sums[r, c] * values[k, c]
                g_values[k, c] = g_sums[r, c] * weights[k]
            g_weights[k] = total
