"""The lean field and its volume rendering as one CPU kernel, forward and backward.

A tile of a few rays goes through both networks and the compositing while its activations stay in the cache; nothing of
size [samples, width] is written to memory. The slow, obvious twin is the torch path of ``SemanticNerfField``.

Symbols: R rays, S samples per ray, E encoded features, H hidden width, G = 1 + geometry features, F semantic width.

* ``enc`` [R S, E], ``delta`` [R, S]      encoded sample positions, interval lengths
* ``cond`` [R, H]                         what is constant along a ray, already through the colour net's first layer
* ``w1 b1 w2 b2``                         density network E -> H -> G (column 0: raw density)
* ``c1``, ``c2 d2``, ``c3 d3``            colour network G -> H -> H -> 3; ``c1`` has a zero row for the raw density
* ``s1 t1``                               semantic layer G -> F; row 0 is zero too
* ``weights`` [R, S]                      w_k = T_k (1 - exp(-sigma_k delta_k))

All matrices are [in, out]. Colour and semantics are evaluated only where light still arrives, T_k > ``min_light``; what
is left out changes a ray's colour by less than ``min_light``. Behind the last sample its colour continues (nerfacto's
``last_sample`` background).
"""

import math
from typing import no_type_check

import numpy as np
from numba import get_num_threads, njit, prange
from numba.np.ufunc.parallel import get_thread_id

_ROWS_PER_TILE = 128
_RAW_DENSITY_LIMIT = np.float32(15.0)


@njit(fastmath=True, cache=True)
@no_type_check
def _linear(a, w, b, out, num_rows):
    """Out = a w + b for an even number of rows; register blocks of 2 rows x 4 inputs."""
    num_in, num_out = w.shape
    blocked = num_in - num_in % 4
    for r in range(0, num_rows, 2):
        for j in range(num_out):
            out[r, j] = b[j]
            out[r + 1, j] = b[j]
        for k in range(0, blocked, 4):
            a0, a1, a2, a3 = a[r, k], a[r, k + 1], a[r, k + 2], a[r, k + 3]
            e0, e1, e2, e3 = a[r + 1, k], a[r + 1, k + 1], a[r + 1, k + 2], a[r + 1, k + 3]
            for j in range(num_out):
                w0, w1, w2, w3 = w[k, j], w[k + 1, j], w[k + 2, j], w[k + 3, j]
                out[r, j] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                out[r + 1, j] += e0 * w0 + e1 * w1 + e2 * w2 + e3 * w3
        for k in range(blocked, num_in):
            for j in range(num_out):
                out[r, j] += a[r, k] * w[k, j]
                out[r + 1, j] += a[r + 1, k] * w[k, j]


@njit(fastmath=True, cache=True)
@no_type_check
def _accumulate_weight_gradient(a, g, out, num_rows):
    """Out += a^T g for a multiple of 8 rows."""
    num_in, num_out = out.shape
    for r in range(0, num_rows, 8):
        for k in range(num_in):
            a0, a1, a2, a3 = a[r, k], a[r + 1, k], a[r + 2, k], a[r + 3, k]
            a4, a5, a6, a7 = a[r + 4, k], a[r + 5, k], a[r + 6, k], a[r + 7, k]
            for j in range(num_out):
                out[k, j] += (
                    a0 * g[r, j] + a1 * g[r + 1, j] + a2 * g[r + 2, j] + a3 * g[r + 3, j]
                    + a4 * g[r + 4, j] + a5 * g[r + 5, j] + a6 * g[r + 6, j] + a7 * g[r + 7, j]
                )  # fmt: skip


@njit(fastmath=True, cache=True)
@no_type_check
def _accumulate_rows(g, out, num_rows):
    for r in range(num_rows):
        for j in range(out.shape[0]):
            out[j] += g[r, j]


@njit(fastmath=True, cache=True)
@no_type_check
def _relu(a, num_rows):
    for r in range(num_rows):
        for j in range(a.shape[1]):
            a[r, j] = max(a[r, j], np.float32(0))


@njit(fastmath=True, cache=True)
@no_type_check
def _mask_by_relu(g, a, num_rows):
    for r in range(num_rows):
        for j in range(a.shape[1]):
            g[r, j] = g[r, j] if a[r, j] > np.float32(0) else np.float32(0)


@njit(fastmath=True, cache=True)
@no_type_check
def _zero_rows(a, first, last):
    for r in range(first, last):
        for j in range(a.shape[1]):
            a[r, j] = np.float32(0)


@njit(cache=True)
@no_type_check
def _pad8(num_rows):
    return (num_rows + 7) // 8 * 8


@njit(fastmath=True, cache=True)
@no_type_check
def _weights_of_ray(raw, delta, scale, weights, light):
    """Rendering weights of one ray; ``light`` [S] receives T_k. Returns the light behind the last sample."""
    transmittance = np.float32(1)
    for k in range(delta.shape[0]):
        through = np.float32(math.exp(-scale * math.exp(raw[k, 0]) * delta[k]))
        light[k] = transmittance
        weights[k] = transmittance * (np.float32(1) - through)
        transmittance *= through
    return transmittance


@njit(fastmath=True, cache=True)
@no_type_check
def _gather_lit(hidden, light, behind, min_light, lit_row, lit_ray, lit_input, num_rays, num_samples):
    """Copy the network inputs of samples that light reaches; returns their number."""
    count = 0
    for r in range(num_rays):
        for k in range(num_samples):
            n = r * num_samples + k
            if light[r, k] > min_light or (k == num_samples - 1 and behind[r] > min_light):
                lit_row[count], lit_ray[count] = n, r
                for j in range(lit_input.shape[1]):
                    lit_input[count, j] = hidden[n, j]
                count += 1
    _zero_rows(lit_input, count, _pad8(count))
    return count


@njit(fastmath=True, cache=True)
@no_type_check
def _colour_layers(lit_input, lit_ray, cond, c1, zero, c2, d2, h1, h2, count, first_ray):
    padded = _pad8(count)
    _linear(lit_input, c1, zero, h1, padded)
    for i in range(count):
        ray = first_ray + lit_ray[i]
        for j in range(h1.shape[1]):
            h1[i, j] = max(h1[i, j] + cond[ray, j], np.float32(0))
    _zero_rows(h1, count, padded)
    _linear(h1, c2, d2, h2, padded)
    _relu(h2, padded)


@njit(fastmath=True, cache=True)
@no_type_check
def _sigmoid_colour(h2, c3, d3, i, channel):
    value = d3[channel]
    for j in range(h2.shape[1]):
        value += h2[i, j] * c3[channel, j]
    return np.float32(1) / (np.float32(1) + np.float32(math.exp(-value)))


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
@no_type_check
def render_forward(enc, cond, delta, network, scale, min_light, hidden, weights, rgb, features):
    """Fill ``hidden`` [R S, G], ``weights`` [R, S], ``rgb`` [R, 3] and ``features`` [R, F]."""
    w1, b1, w2, b2, c1, c2, d2, c3, d3, s1, t1 = network
    num_rays, num_samples = delta.shape
    rays_per_tile = max(1, _ROWS_PER_TILE // num_samples)
    num_tiles = (num_rays + rays_per_tile - 1) // rays_per_tile
    rows = _pad8(rays_per_tile * num_samples)
    width, num_features = w1.shape[1], s1.shape[1]
    for tile in prange(num_tiles):
        first = tile * rays_per_tile
        rays = min(rays_per_tile, num_rays - first)
        n, padded = rays * num_samples, _pad8(rays * num_samples)
        start = first * num_samples
        tile_enc = np.zeros((rows, enc.shape[1]), np.float32)
        h, out = np.empty((rows, width), np.float32), np.empty((rows, w2.shape[1]), np.float32)
        light, behind = np.empty((rays_per_tile, num_samples), np.float32), np.empty(rays_per_tile, np.float32)
        lit_row, lit_ray = np.empty(rows, np.int64), np.empty(rows, np.int64)
        lit_input = np.empty((rows, w2.shape[1]), np.float32)
        h1, h2, sem = (
            np.empty((rows, width), np.float32),
            np.empty((rows, width), np.float32),
            np.empty((rows, num_features), np.float32),
        )
        zero = np.zeros(width, np.float32)
        for r in range(n):
            for j in range(enc.shape[1]):
                tile_enc[r, j] = enc[start + r, j]
        _linear(tile_enc, w1, b1, h, padded)
        _relu(h, padded)
        _linear(h, w2, b2, out, padded)
        for r in range(n):
            for j in range(out.shape[1]):
                hidden[start + r, j] = out[r, j]
        for r in range(rays):
            behind[r] = _weights_of_ray(
                out[r * num_samples : (r + 1) * num_samples], delta[first + r], scale, weights[first + r], light[r]
            )
            for j in range(3):
                rgb[first + r, j] = np.float32(0)
            for j in range(num_features):
                features[first + r, j] = np.float32(0)
        count = _gather_lit(out, light, behind, min_light, lit_row, lit_ray, lit_input, rays, num_samples)
        _colour_layers(lit_input, lit_ray, cond, c1, zero, c2, d2, h1, h2, count, first)
        _linear(lit_input, s1, t1, sem, _pad8(count))
        for i in range(count):
            r, k = lit_ray[i], lit_row[i] - lit_ray[i] * num_samples
            weight = weights[first + r, k]
            colour_weight = weight + behind[r] if k == num_samples - 1 else weight
            for channel in range(3):
                rgb[first + r, channel] += colour_weight * _sigmoid_colour(h2, c3, d3, i, channel)
            for j in range(num_features):
                features[first + r, j] += weight * max(sem[i, j], np.float32(0))


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
@no_type_check
def render_backward(
    enc, cond, delta, network, transposed, scale, min_light, pass_semantics, hidden, weights,
    g_weights, g_rgb, g_features, g_enc, g_cond, g_network,
):  # fmt: skip
    """Fill ``g_enc`` [R S, E], ``g_cond`` [R, H]; add to ``g_network``, one slice per thread."""
    w1, b1, w2, _, c1, c2, d2, c3, d3, s1, t1 = network
    w1_t, w2_t, c1_t, c2_t, s1_t = transposed
    g_w1, g_b1, g_w2, g_b2, g_c1, g_c2, g_d2, g_c3, g_d3, g_s1, g_t1 = g_network
    num_rays, num_samples = delta.shape
    rays_per_tile = max(1, _ROWS_PER_TILE // num_samples)
    num_tiles = (num_rays + rays_per_tile - 1) // rays_per_tile
    rows = _pad8(rays_per_tile * num_samples)
    num_encoded, width, num_features, num_hidden = enc.shape[1], w1.shape[1], s1.shape[1], w2.shape[1]
    for tile in prange(num_tiles):
        t = get_thread_id()
        first = tile * rays_per_tile
        rays = min(rays_per_tile, num_rays - first)
        n = rays * num_samples
        start = first * num_samples
        lit_enc, g_lit_enc = np.empty((rows, num_encoded), np.float32), np.empty((rows, num_encoded), np.float32)
        h, g_h = np.empty((rows, width), np.float32), np.empty((rows, width), np.float32)
        out, g_out = np.empty((rows, num_hidden), np.float32), np.empty((rows, num_hidden), np.float32)
        light, behind = np.empty((rays_per_tile, num_samples), np.float32), np.empty(rays_per_tile, np.float32)
        ray_weights, g_w = np.empty(num_samples, np.float32), np.empty((rays_per_tile, num_samples), np.float32)
        lit_row, lit_ray = np.empty(rows, np.int64), np.empty(rows, np.int64)
        lit_input, g_lit = np.empty((rows, num_hidden), np.float32), np.empty((rows, num_hidden), np.float32)
        h1, h2 = np.empty((rows, width), np.float32), np.empty((rows, width), np.float32)
        g_h1, g_h2 = np.empty((rows, width), np.float32), np.empty((rows, width), np.float32)
        sem, g_sem = np.empty((rows, num_features), np.float32), np.empty((rows, num_features), np.float32)
        zero, zero_in, zero_enc = (
            np.zeros(width, np.float32),
            np.zeros(num_hidden, np.float32),
            np.zeros(num_encoded, np.float32),
        )
        colour = np.zeros((rows, 3), np.float32)
        last_colour = np.zeros((rays_per_tile, 3), np.float32)
        # Forward again, where light arrives: cheaper than keeping the activations in memory. The rest has no gradient.
        for r in range(n):
            for j in range(num_hidden):
                out[r, j] = hidden[start + r, j]
        for r in range(rays):
            behind[r] = _weights_of_ray(
                out[r * num_samples : (r + 1) * num_samples], delta[first + r], scale, ray_weights, light[r]
            )
            for k in range(num_samples):
                g_w[r, k] = g_weights[first + r, k]
            for j in range(width):
                g_cond[first + r, j] = np.float32(0)
        count = _gather_lit(out, light, behind, min_light, lit_row, lit_ray, lit_input, rays, num_samples)
        lit_padded = _pad8(count)
        for i in range(count):
            for j in range(num_encoded):
                lit_enc[i, j] = enc[start + lit_row[i], j]
        _zero_rows(lit_enc, count, lit_padded)
        _linear(lit_enc, w1, b1, h, lit_padded)
        _relu(h, lit_padded)
        _colour_layers(lit_input, lit_ray, cond, c1, zero, c2, d2, h1, h2, count, first)
        _linear(lit_input, s1, t1, sem, lit_padded)
        _relu(sem, lit_padded)
        for i in range(count):
            for channel in range(3):
                colour[i, channel] = _sigmoid_colour(h2, c3, d3, i, channel)
            if lit_row[i] - lit_ray[i] * num_samples == num_samples - 1:
                for channel in range(3):
                    last_colour[lit_ray[i], channel] = colour[i, channel]
        # Gradients of the lit samples' heads.
        _zero_rows(g_h2, 0, lit_padded)
        for i in range(count):
            r, k = lit_ray[i], lit_row[i] - lit_ray[i] * num_samples
            weight = weights[first + r, k]
            colour_weight = weight + behind[r] if k == num_samples - 1 else weight
            towards_weight = np.float32(0)
            for channel in range(3):
                value, g = colour[i, channel], g_rgb[first + r, channel]
                towards_weight += g * (value - last_colour[r, channel])
                g_value = colour_weight * g * value * (np.float32(1) - value)
                g_d3[t, channel] += g_value
                for j in range(width):
                    g_c3[t, channel, j] += g_value * h2[i, j]
                    g_h2[i, j] += g_value * c3[channel, j]
            towards_features = np.float32(0)
            for j in range(num_features):
                g = g_features[first + r, j]
                towards_features += g * sem[i, j]
                g_sem[i, j] = weight * g if sem[i, j] > np.float32(0) else np.float32(0)
            if pass_semantics:
                towards_weight += towards_features
            g_w[r, k] += towards_weight
        _zero_rows(g_sem, count, lit_padded)
        _mask_by_relu(g_h2, h2, lit_padded)
        _accumulate_weight_gradient(h1, g_h2, g_c2[t], lit_padded)
        _accumulate_rows(g_h2, g_d2[t], count)
        _linear(g_h2, c2_t, zero, g_h1, lit_padded)
        _mask_by_relu(g_h1, h1, lit_padded)
        _accumulate_weight_gradient(lit_input, g_h1, g_c1[t], lit_padded)
        _accumulate_weight_gradient(lit_input, g_sem, g_s1[t], lit_padded)
        _accumulate_rows(g_sem, g_t1[t], count)
        for i in range(count):
            for j in range(width):
                g_cond[first + lit_ray[i], j] += g_h1[i, j]
        _linear(g_h1, c1_t, zero_in, g_out, lit_padded)
        if pass_semantics:
            _linear(g_sem, s1_t, zero_in, g_lit, lit_padded)
            for i in range(count):
                for j in range(1, num_hidden):
                    g_out[i, j] += g_lit[i, j]
        # From weights to raw densities: dw_k/da_k = T_{k+1}, dw_j/da_k = -w_j for j > k, with a = sigma delta.
        for r in range(rays):
            behind_sum = np.float32(0)
            for k in range(num_samples - 1, -1, -1):
                after = light[r, k + 1] if k + 1 < num_samples else behind[r]
                g_optical = g_w[r, k] * after - behind_sum
                behind_sum += g_w[r, k] * weights[first + r, k]
                slope = np.float32(math.exp(min(out[r * num_samples + k, 0], _RAW_DENSITY_LIMIT)))
                g_w[r, k] = g_optical * delta[first + r, k] * scale * slope
        for i in range(count):
            g_out[i, 0] = g_w[lit_ray[i], lit_row[i] - lit_ray[i] * num_samples]
        _zero_rows(g_out, count, lit_padded)
        _accumulate_weight_gradient(h, g_out, g_w2[t], lit_padded)
        _accumulate_rows(g_out, g_b2[t], count)
        _linear(g_out, w2_t, zero, g_h, lit_padded)
        _mask_by_relu(g_h, h, lit_padded)
        _accumulate_weight_gradient(lit_enc, g_h, g_w1[t], lit_padded)
        _accumulate_rows(g_h, g_b1[t], count)
        _linear(g_h, w1_t, zero_enc, g_lit_enc, lit_padded)
        for r in range(n):
            for j in range(num_encoded):
                g_enc[start + r, j] = np.float32(0)
        for i in range(count):
            for j in range(num_encoded):
                g_enc[start + lit_row[i], j] = g_lit_enc[i, j]


def number_of_threads() -> int:
    """Threads that the kernels use; gradient buffers need one slice for each."""
    return get_num_threads()
