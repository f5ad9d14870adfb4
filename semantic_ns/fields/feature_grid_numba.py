"""Semantic features of packed samples, composited along their rays, and their gradients, block by block in the cache.

A ray has any number of samples, stored one ray behind the other. Symbols: N samples of R rays, E encoded features, F
semantic width; matrices are [in, out], in whole blocks.

* ``enc`` [N, E]       encoded positions
* ``first`` [R + 1]    index of each ray's first sample, and N
* ``weights`` [N]      w_k
* ``s1`` [E', F], ``t1`` [F]   the semantic layer before its ReLU; E' is E in whole blocks
* ``sums`` [R, F]      sum_k w_k relu(enc_k s1 + t1)

A leading ``g_`` is the gradient of the loss in what follows. Gradients of matrices have one slice per slot.
"""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import inlined_part, kernel
from semantic_ns.kernels.layers_numba import BLOCK, ROW_MULTIPLE, copy_rows, layer_backward, rectified
from semantic_ns.kernels.matrix_numba import linear, padded

_RAYS_PER_TASK = 16
_LANES = 8  # Columns come in whole blocks of as many.
_ZERO = np.float32(0)


@kernel
@no_type_check
def composite_forward(enc, first, weights, s1, t1, sums):
    """Fill ``sums``."""
    num_rays, width = sums.shape
    for task in prange((num_rays + _RAYS_PER_TASK - 1) // _RAYS_PER_TASK):
        begin_ray, end_ray = task * _RAYS_PER_TASK, min(num_rays, (task + 1) * _RAYS_PER_TASK)
        inputs, features = np.empty((BLOCK, s1.shape[0]), np.float32), np.empty((BLOCK, width), np.float32)
        sums[begin_ray:end_ray] = _ZERO
        ray = begin_ray
        for begin in range(first[begin_ray], first[end_ray], BLOCK):
            count = min(BLOCK, first[end_ray] - begin)
            copy_rows(enc, begin, count, inputs)
            linear(inputs, s1, t1, features, padded(count, ROW_MULTIPLE))
            for i in range(count):
                while begin + i >= first[ray + 1]:
                    ray += 1
                weight = weights[begin + i]
                for j in range(width):
                    sums[ray, j] += weight * rectified(features[i, j])


@inlined_part
@no_type_check
def _towards_weight(features, g_sums, lanes):
    """Sum of the rectified features times ``g_sums``; ``lanes`` is room for eight of them."""
    # Eight sums beside each other, for one alone would wait for each addition.
    lanes[:] = _ZERO
    for block in range(0, features.shape[0], _LANES):
        for j in range(_LANES):
            lanes[j] += g_sums[block + j] * rectified(features[block + j])
    total = _ZERO
    for j in range(_LANES):
        total += lanes[j]
    return total


@kernel
@no_type_check
def composite_backward(enc, first, weights, s1, s1_t, t1, g_sums, g_enc, g_weights, g_s1, g_t1):
    """Fill ``g_enc`` [N, E] and ``g_weights`` [N]; add to ``g_s1`` and ``g_t1``."""
    (num_rays, width), num_slots = g_sums.shape, g_t1.shape[0]
    for slot in prange(num_slots):
        begin_ray, end_ray = slot * num_rays // num_slots, (slot + 1) * num_rays // num_slots
        inputs, features = np.empty((BLOCK, s1.shape[0]), np.float32), np.empty((BLOCK, width), np.float32)
        g_inputs, zero = np.empty((BLOCK, s1.shape[0]), np.float32), np.zeros(s1.shape[0], np.float32)
        lanes = np.empty(_LANES, np.float32)
        ray = begin_ray
        for begin in range(first[begin_ray], first[end_ray], BLOCK):
            count = min(BLOCK, first[end_ray] - begin)
            rows = padded(count, ROW_MULTIPLE)
            copy_rows(enc, begin, count, inputs)
            linear(inputs, s1, t1, features, rows)
            for i in range(count):
                while begin + i >= first[ray + 1]:
                    ray += 1
                weight = weights[begin + i]
                g_weights[begin + i] = _towards_weight(features[i], g_sums[ray], lanes)
                for j in range(width):
                    features[i, j] = weight * g_sums[ray, j] if features[i, j] > _ZERO else _ZERO
            features[count:rows] = _ZERO
            layer_backward(inputs, features, s1_t, zero, g_s1[slot], g_t1[slot], g_inputs, rows)
            for i in range(count):
                for j in range(enc.shape[1]):
                    g_enc[begin + i, j] = g_inputs[i, j]
