"""The networks of the lean field over packed samples, forward and backward, block by block in the cache.

A ray has any number of samples, stored one ray behind the other. Symbols: N samples of R rays, E encoded features, H
hidden width, G = 1 + geometry features, F semantic width.

* ``first`` [R + 1]    index of each ray's first sample, and N
* ``rays`` [N]         ray of each sample
* ``enc`` [N, E]       encoded positions
* ``hidden`` [N, G]    output of the density network (column 0: raw density)
* ``conditioning`` [R, H]      what is constant along a ray, already through the colour network's first layer
* ``network``          ``Network`` of ``fields.cpu.network`` in whole blocks, ``transposed`` its ``TransposedNetwork``
* ``weights`` [N]      w_k = T_k (1 - exp(-sigma_k delta_k))

A leading ``g_`` is the gradient of the loss in what follows. Gradients of matrices have one slice per slot.
"""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import inlined_part, kernel, part
from semantic_ns.kernels.exponential_numba import exp32
from semantic_ns.kernels.layers_numba import BLOCK, ROW_MULTIPLE, copy_rows, layer_backward, rectified, rectify
from semantic_ns.kernels.limits_numba import GRADIENT_RAW_DENSITY_LIMIT, RAW_DENSITY_LIMIT
from semantic_ns.kernels.matrix_numba import linear, padded

_RAYS_PER_TASK = 16
_ZERO, _ONE = np.float32(0), np.float32(1)


@inlined_part
@no_type_check
def interval_transmittance(raw, length, scale):
    """Share of the light that passes a sample, exp(-sigma delta)."""
    return exp32(-scale * exp32(min(raw, RAW_DENSITY_LIMIT)) * length)


@part
@no_type_check
def density_layers(enc, network, h, out, rows):
    """Both layers of the density network; ``h`` receives the hidden one."""
    linear(enc, network.w1, network.b1, h, rows)
    rectify(h, rows)
    linear(h, network.w2, network.b2, out, rows)


@part
@no_type_check
def head_layers(inputs, rays, conditioning, network, zero, h1, h2, color, features, count):
    """Colours and semantic features of ``count`` samples with density outputs ``inputs``."""
    rows = padded(count, ROW_MULTIPLE)
    linear(inputs, network.c1, zero, h1, rows)
    for i in range(rows):
        ray = rays[min(i, count - 1)]
        for j in range(h1.shape[1]):
            h1[i, j] = rectified(h1[i, j] + conditioning[ray, j])
    linear(h1, network.c2, network.d2, h2, rows)
    rectify(h2, rows)
    linear(h2, network.c3, network.d3, color, rows)
    flat = color.reshape(-1)  # one long loop becomes vector code, many short ones do not
    for i in range(rows * color.shape[1]):
        flat[i] = _ONE / (_ONE + exp32(-flat[i]))
    linear(inputs, network.s1, network.t1, features, rows)
    rectify(features, rows)


@part
@no_type_check
def add_weighted(weights, rays, color, features, count, rgb, sums):
    """Add the colours and features of a block of samples to those of their rays."""
    for i in range(count):
        ray, weight = rays[i], weights[i]
        for channel in range(3):
            rgb[ray, channel] += weight * color[i, channel]
        for j in range(sums.shape[1]):
            sums[ray, j] += weight * features[i, j]


@kernel
@no_type_check
def heads_forward(hidden, lengths, rays, first, conditioning, network, scale, weights, accumulation, rgb, sums):
    """Fill ``weights`` [N]; add to ``accumulation`` [R], ``rgb`` [R, 3] and the features' ``sums`` [R, F]."""
    num_rays, width = conditioning.shape
    for task in prange((num_rays + _RAYS_PER_TASK - 1) // _RAYS_PER_TASK):
        begin_ray, end_ray = task * _RAYS_PER_TASK, min(num_rays, (task + 1) * _RAYS_PER_TASK)
        zero = np.zeros(width, np.float32)
        inputs = np.empty((BLOCK, hidden.shape[1]), np.float32)
        h1, h2 = np.empty((BLOCK, width), np.float32), np.empty((BLOCK, width), np.float32)
        color = np.empty((BLOCK, network.c3.shape[1]), np.float32)
        features = np.empty((BLOCK, sums.shape[1]), np.float32)
        for r in range(begin_ray, end_ray):
            transmittance = _ONE
            for k in range(first[r], first[r + 1]):
                through = interval_transmittance(hidden[k, 0], lengths[k], scale)
                weights[k] = transmittance * (_ONE - through)
                transmittance *= through
                accumulation[r] += weights[k]
        for begin in range(first[begin_ray], first[end_ray], BLOCK):
            count = min(BLOCK, first[end_ray] - begin)
            copy_rows(hidden, begin, count, inputs)
            head_layers(inputs, rays[begin:], conditioning, network, zero, h1, h2, color, features, count)
            add_weighted(weights[begin:], rays[begin:], color, features, count, rgb, sums)


@part
@no_type_check
def _through_rectifier(g, outputs, rows):
    for i in range(rows):
        for j in range(outputs.shape[1]):
            g[i, j] = g[i, j] if outputs[i, j] > _ZERO else _ZERO


@part
@no_type_check
def _output_gradients(weights, rays, g_rgb, g_sums, pass_semantics, color, features, count, g_weights):
    """Turn colours and features into the gradients before their sigmoid and ReLU; add to those of the weights."""
    for i in range(count):
        ray, weight, towards_color, towards_features = rays[i], weights[i], _ZERO, _ZERO
        for channel in range(3):
            value, g = color[i, channel], g_rgb[ray, channel]
            towards_color += g * value
            color[i, channel] = weight * g * value * (_ONE - value)
        for channel in range(3, color.shape[1]):
            color[i, channel] = _ZERO
        for j in range(features.shape[1]):
            value, g = features[i, j], g_sums[ray, j]
            towards_features += g * value
            features[i, j] = weight * g if value > _ZERO else _ZERO
        g_weights[i] += towards_color + (towards_features if pass_semantics else _ZERO)
    for i in range(count, padded(count, ROW_MULTIPLE)):
        color[i, :] = _ZERO
        features[i, :] = _ZERO


@kernel
@no_type_check
def heads_backward(
    hidden, rays, first, conditioning, network, transposed, pass_semantics, weights, g_rgb, g_sums,
    g_weights, g_hidden, g_conditioning, g_network,
):  # fmt: skip
    """Fill ``g_hidden`` [N, G] but for its raw density; add to the other gradients.

    These are ``g_weights`` [N], ``g_conditioning`` [R, H] and ``g_network``.
    Of ``g_network`` only the matrices of colour and semantics are touched.
    """
    num_rays, width = conditioning.shape
    num_hidden = hidden.shape[1]
    num_slots = g_network.b1.shape[0]
    for slot in prange(num_slots):
        begin_ray, end_ray = slot * num_rays // num_slots, (slot + 1) * num_rays // num_slots
        zero, no_bias = np.zeros(max(width, num_hidden), np.float32), np.empty(0, np.float32)
        inputs, g_inputs = np.empty((BLOCK, num_hidden), np.float32), np.empty((BLOCK, num_hidden), np.float32)
        h1, h2 = np.empty((BLOCK, width), np.float32), np.empty((BLOCK, width), np.float32)
        g_h1, g_h2 = np.empty((BLOCK, width), np.float32), np.empty((BLOCK, width), np.float32)
        color = np.empty((BLOCK, transposed.c3.shape[0]), np.float32)
        features = np.empty((BLOCK, g_sums.shape[1]), np.float32)
        for begin in range(first[begin_ray], first[end_ray], BLOCK):
            count = min(BLOCK, first[end_ray] - begin)
            rows, block_rays = padded(count, ROW_MULTIPLE), rays[begin:]
            copy_rows(hidden, begin, count, inputs)
            head_layers(inputs, block_rays, conditioning, network, zero, h1, h2, color, features, count)
            _output_gradients(
                weights[begin:], block_rays, g_rgb, g_sums, pass_semantics, color, features, count, g_weights[begin:]
            )
            layer_backward(h2, color, transposed.c3, zero, g_network.c3[slot], g_network.d3[slot], g_h2, rows)
            _through_rectifier(g_h2, h2, rows)
            layer_backward(h1, g_h2, transposed.c2, zero, g_network.c2[slot], g_network.d2[slot], g_h1, rows)
            _through_rectifier(g_h1, h1, rows)
            for i in range(count):
                for j in range(width):
                    g_conditioning[block_rays[i], j] += g_h1[i, j]
            layer_backward(inputs, g_h1, transposed.c1, zero, g_network.c1[slot], no_bias, g_inputs, rows)
            for i in range(count):
                for j in range(num_hidden):
                    g_hidden[begin + i, j] = g_inputs[i, j]
            layer_backward(
                inputs, features, transposed.s1, zero, g_network.s1[slot], g_network.t1[slot], g_inputs, rows
            )
            if pass_semantics:
                for i in range(count):
                    for j in range(num_hidden):
                        g_hidden[begin + i, j] += g_inputs[i, j]


@kernel
@no_type_check
def raw_density_gradient(scale, hidden, lengths, first, weights, g_weights, g_hidden):
    """Fill column 0 of ``g_hidden``: dw_k/da_k = T_{k+1}, dw_j/da_k = -w_j for j > k, with a = sigma delta."""
    for r in prange(first.shape[0] - 1):
        transmittance = _ONE
        for k in range(first[r], first[r + 1]):
            transmittance -= weights[k]
            g_hidden[k, 0] = transmittance
        later_sum = _ZERO
        for k in range(first[r + 1] - 1, first[r] - 1, -1):
            g_optical = g_weights[k] * max(g_hidden[k, 0], _ZERO) - later_sum
            later_sum += g_weights[k] * weights[k]
            g_hidden[k, 0] = g_optical * lengths[k] * scale * exp32(min(hidden[k, 0], GRADIENT_RAW_DENSITY_LIMIT))


@kernel
@no_type_check
def density_backward(enc, network, transposed, g_hidden, g_enc, g_network):
    """Fill ``g_enc`` [N, E]; add to the matrices of the density network in ``g_network``."""
    (inputs_width, width), num_hidden = network.w1.shape, g_hidden.shape[1]
    g_inputs_width = transposed.w1.shape[1]  # in whole blocks of columns
    num_slots, num_tasks = g_network.b1.shape[0], (enc.shape[0] + BLOCK - 1) // BLOCK
    for slot in prange(num_slots):
        zero = np.zeros(max(width, g_inputs_width), np.float32)
        inputs, g_inputs = np.empty((BLOCK, inputs_width), np.float32), np.empty((BLOCK, g_inputs_width), np.float32)
        h, g_h = np.empty((BLOCK, width), np.float32), np.empty((BLOCK, width), np.float32)
        out = np.empty((BLOCK, num_hidden), np.float32)
        for task in range(slot * num_tasks // num_slots, (slot + 1) * num_tasks // num_slots):
            begin = task * BLOCK
            count = min(BLOCK, enc.shape[0] - begin)
            rows = padded(count, ROW_MULTIPLE)
            copy_rows(enc, begin, count, inputs)
            density_layers(inputs, network, h, out, rows)
            copy_rows(g_hidden, begin, count, out)
            layer_backward(h, out, transposed.w2, zero, g_network.w2[slot], g_network.b2[slot], g_h, rows)
            _through_rectifier(g_h, h, rows)
            layer_backward(inputs, g_h, transposed.w1, zero, g_network.w1[slot], g_network.b1[slot], g_inputs, rows)
            for i in range(count):
                for j in range(enc.shape[1]):
                    g_enc[begin + i, j] = g_inputs[i, j]
