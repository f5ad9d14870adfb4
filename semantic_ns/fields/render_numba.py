"""The lean field and its volume rendering as one CPU kernel, forward and backward.

A tile of a few rays goes through both networks and the compositing while its activations stay in the cache; nothing of
size [samples, width] is written to memory. The slow, obvious twin is the torch path of ``SemanticNerfField``.

Symbols: R rays, S samples per ray, E encoded features, H hidden width, G = 1 + geometry features, F semantic width.

* ``enc`` [R S, E], ``delta`` [R, S]      encoded sample positions, interval lengths
* ``cond`` [R, H]                         what is constant along a ray, already through the colour net's first layer
* ``w1 b1 w2 b2``                         density network E -> H -> G (column 0: raw density)
* ``c1``, ``c2 d2``, ``c3 d3``            colour network G -> H -> H -> 8, of which 3 count; row 0 of ``c1``, which
                                        belongs to the raw density, is zero
* ``s1 t1``                               semantic layer G -> F, F may be 0; row 0 is zero too
* ``weights`` [R, S]                      w_k = T_k (1 - exp(-sigma_k delta_k))

All matrices are [in, out], and E, H, G, F are multiples of 8, except that ``enc`` may have fewer columns than ``w1``
has rows. Colour and semantics are evaluated only where light still arrives, T_k > ``min_light``; what is left out
changes a ray's colour by less than ``min_light``. Behind the last sample its colour continues (nerfacto's
``last_sample`` background).
"""

from typing import no_type_check

import numpy as np
from numba import get_num_threads, prange
from numba.np.ufunc.parallel import get_thread_id

from semantic_ns.kernels.compilation import exact_part, inlined_part, kernel, part
from semantic_ns.kernels.exponential_numba import exp32
from semantic_ns.kernels.matrix_numba import add_outer, linear, padded

_ROWS_PER_TILE = 64
_ROW_MULTIPLE = 4
_RAW_DENSITY_LIMIT = np.float32(15.0)
# Nothing is more opaque than this; more would overflow times a length, and fast arithmetic has no infinity.
_OPAQUE_RAW_DENSITY = np.float32(60.0)


@part
@no_type_check
def _add_rows(g, out, num_rows):
    for r in range(num_rows):
        for j in range(out.shape[0]):
            out[j] += g[r, j]


@inlined_part
@no_type_check
def _positive(value):
    # A product, not max() or a choice: only of this does the compiler make vector code in place.
    return np.float32(value > np.float32(0)) * value


@part
@no_type_check
def _relu(a, num_rows):
    for r in range(num_rows):
        for j in range(a.shape[1]):
            a[r, j] = _positive(a[r, j])


@part
@no_type_check
def _add_rows_of_rays(g, row_ray, num_rows, out):
    """Add every row to that of its ray, four at a time where they belong to one."""
    i = 0
    while i < num_rows:
        ray = row_ray[i]
        if i + 3 < num_rows and row_ray[i + 3] == ray:
            for j in range(out.shape[1]):
                out[ray, j] += (g[i, j] + g[i + 1, j]) + (g[i + 2, j] + g[i + 3, j])
            i += 4
        else:
            for j in range(out.shape[1]):
                out[ray, j] += g[i, j]
            i += 1


@part
@no_type_check
def _mask_by_relu(g, a, num_rows):
    for r in range(num_rows):
        for j in range(a.shape[1]):
            g[r, j] = g[r, j] if a[r, j] > np.float32(0) else np.float32(0)


@part
@no_type_check
def _zero_rows(a, first, last):
    for r in range(first, last):
        for j in range(a.shape[1]):
            a[r, j] = np.float32(0)


@exact_part
@no_type_check
def _carve(scratch, at, rows, columns):
    """A matrix out of a thread's scratch memory, and where the next one begins."""
    return scratch[at : at + rows * columns].reshape(rows, columns), at + rows * columns


@part
@no_type_check
def _weights_of_ray(raw, delta, scale, weights, light):
    """Rendering weights of one ray; ``light`` [S] receives T_k. Returns the light behind the last sample."""
    transmittance = np.float32(1)
    for k in range(delta.shape[0]):
        light[k] = exp32(-scale * exp32(min(raw[k, 0], _OPAQUE_RAW_DENSITY)) * delta[k])
    for k in range(delta.shape[0]):
        through = light[k]
        light[k] = transmittance
        weights[k] = transmittance * (np.float32(1) - through)
        transmittance *= through
    return transmittance


@part
@no_type_check
def _gather_lit(hidden, light, min_light, lit_row, lit_ray, lit_input, num_rays, num_samples):
    """Copy the network inputs of samples that light reaches; returns their number."""
    count = 0
    for r in range(num_rays):
        for k in range(num_samples):
            n = r * num_samples + k
            if light[r, k] > min_light:
                lit_row[count], lit_ray[count] = n, r
                for j in range(lit_input.shape[1]):
                    lit_input[count, j] = hidden[n, j]
                count += 1
    _zero_rows(lit_input, count, padded(count, _ROW_MULTIPLE))
    return count


@part
@no_type_check
def _colour_layers(lit_input, lit_ray, cond, c1, zero, c2, d2, h1, h2, count, first_ray):
    rows = padded(count, _ROW_MULTIPLE)
    linear(lit_input, c1, zero, h1, rows)
    for i in range(count):
        ray = first_ray + lit_ray[i]
        for j in range(h1.shape[1]):
            h1[i, j] = _positive(h1[i, j] + cond[ray, j])
    _zero_rows(h1, count, rows)
    linear(h1, c2, d2, h2, rows)
    _relu(h2, rows)


@part
@no_type_check
def _sigmoid_colour(h2, c3, d3, colour, count):
    linear(h2, c3, d3, colour, padded(count, _ROW_MULTIPLE))
    flat = colour.reshape(-1)  # one long loop becomes vector code, many short ones do not
    for i in range(count * colour.shape[1]):
        flat[i] = np.float32(1) / (np.float32(1) + exp32(-flat[i]))


@exact_part
@no_type_check
def _tile_shape(num_rays, num_samples):
    """Rays of a tile, number of tiles, and rows of its buffers."""
    rays = max(1, _ROWS_PER_TILE // num_samples)
    return rays, (num_rays + rays - 1) // rays, padded(rays * num_samples, _ROW_MULTIPLE)


@kernel
@no_type_check
def render_forward(enc, cond, delta, network, scale, min_light, num_threads, hidden, weights, rgb, features):
    """Fill ``hidden`` [R S, G], ``weights`` [R, S], ``rgb`` [R, 3] and ``features`` [R, F]."""
    w1, b1, w2, b2, c1, c2, d2, c3, d3, s1, t1 = network
    num_rays, num_samples = delta.shape
    rays_per_tile, num_tiles, rows = _tile_shape(num_rays, num_samples)
    num_encoded, width, num_hidden, num_features = w1.shape[0], w1.shape[1], w2.shape[1], s1.shape[1]
    floats = rows * (num_encoded + 3 * width + 2 * num_hidden + num_features + 1 + c3.shape[1])
    # One piece of memory for each thread: a dozen allocations in every tile would cost more than a layer.
    scratches = np.empty((num_threads, floats), np.float32)
    places = np.empty((num_threads, 2, rows), np.int64)
    zero = np.zeros(width, np.float32)
    for tile in prange(num_tiles):
        t = get_thread_id()
        first = tile * rays_per_tile
        rays = min(rays_per_tile, num_rays - first)
        n, start = rays * num_samples, first * num_samples
        scratch, lit_row, lit_ray = scratches[t], places[t, 0], places[t, 1]
        tile_enc, at = _carve(scratch, 0, rows, num_encoded)
        h, at = _carve(scratch, at, rows, width)
        out, at = _carve(scratch, at, rows, num_hidden)
        lit_input, at = _carve(scratch, at, rows, num_hidden)
        h1, at = _carve(scratch, at, rows, width)
        h2, at = _carve(scratch, at, rows, width)
        sem, at = _carve(scratch, at, rows, num_features)
        colour, at = _carve(scratch, at, rows, c3.shape[1])
        light, at = _carve(scratch, at, rays_per_tile, num_samples)
        behind = np.empty(rays_per_tile, np.float32)
        for r in range(n):
            for j in range(enc.shape[1]):
                tile_enc[r, j] = enc[start + r, j]
            for j in range(enc.shape[1], num_encoded):
                tile_enc[r, j] = np.float32(0)
        _zero_rows(tile_enc, n, padded(n, _ROW_MULTIPLE))
        linear(tile_enc, w1, b1, h, padded(n, _ROW_MULTIPLE))
        _relu(h, n)
        linear(h, w2, b2, out, padded(n, _ROW_MULTIPLE))
        for r in range(n):
            for j in range(num_hidden):
                hidden[start + r, j] = out[r, j]
        for r in range(rays):
            behind[r] = _weights_of_ray(
                out[r * num_samples : (r + 1) * num_samples], delta[first + r], scale, weights[first + r], light[r]
            )
            for j in range(3):
                rgb[first + r, j] = np.float32(0)
            for j in range(num_features):
                features[first + r, j] = np.float32(0)
        count = _gather_lit(out, light, min_light, lit_row, lit_ray, lit_input, rays, num_samples)
        _colour_layers(lit_input, lit_ray, cond, c1, zero, c2, d2, h1, h2, count, first)
        linear(lit_input, s1, t1, sem, padded(count, _ROW_MULTIPLE))
        _sigmoid_colour(h2, c3, d3, colour, count)
        for i in range(count):
            r, k = lit_ray[i], lit_row[i] - lit_ray[i] * num_samples
            weight = weights[first + r, k]
            colour_weight = weight + behind[r] if k == num_samples - 1 else weight
            for channel in range(3):
                rgb[first + r, channel] += colour_weight * colour[i, channel]
            for j in range(num_features):
                features[first + r, j] += weight * _positive(sem[i, j])


@kernel
@no_type_check
def render_backward(
    enc, cond, delta, network, transposed, scale, min_light, pass_semantics, hidden, weights,
    g_weights, g_rgb, g_features, g_enc, g_cond, g_network,
):  # fmt: skip
    """Fill ``g_enc`` [R S, E], ``g_cond`` [R, H]; add to ``g_network``, one slice per thread."""
    w1, b1, w2, _, c1, c2, d2, c3, d3, s1, t1 = network
    w1_t, w2_t, c1_t, c2_t, c3_t, s1_t = transposed
    g_w1, g_b1, g_w2, g_b2, g_c1, g_c2, g_d2, g_c3, g_d3, g_s1, g_t1 = g_network
    num_rays, num_samples = delta.shape
    rays_per_tile, num_tiles, rows = _tile_shape(num_rays, num_samples)
    num_encoded, width, num_hidden, num_features = w1.shape[0], w1.shape[1], w2.shape[1], s1.shape[1]
    floats = (
        rows * (2 * num_encoded + 5 * width + 4 * num_hidden + 2 * num_features + 2 + c3.shape[1]) + 3 * rays_per_tile
    )
    num_threads = g_b1.shape[0]
    scratches = np.empty((num_threads, floats), np.float32)
    places = np.empty((num_threads, 2, rows), np.int64)
    zero, zero_in, zero_enc = (
        np.zeros(width, np.float32),
        np.zeros(num_hidden, np.float32),
        np.zeros(num_encoded, np.float32),
    )
    for tile in prange(num_tiles):
        t = get_thread_id()
        first = tile * rays_per_tile
        rays = min(rays_per_tile, num_rays - first)
        n, start = rays * num_samples, first * num_samples
        scratch, lit_row, lit_ray = scratches[t], places[t, 0], places[t, 1]
        lit_enc, at = _carve(scratch, 0, rows, num_encoded)
        g_lit_enc, at = _carve(scratch, at, rows, num_encoded)
        # The gradient of the density network's hidden layer takes the place of the colour network's.
        h, at = _carve(scratch, at, rows, width)
        h1, at = _carve(scratch, at, rows, width)
        h2, at = _carve(scratch, at, rows, width)
        g_h1, at = _carve(scratch, at, rows, width)
        g_h2, at = _carve(scratch, at, rows, width)
        out, at = _carve(scratch, at, rows, num_hidden)
        g_out, at = _carve(scratch, at, rows, num_hidden)
        lit_input, at = _carve(scratch, at, rows, num_hidden)
        g_lit, at = _carve(scratch, at, rows, num_hidden)
        sem, at = _carve(scratch, at, rows, num_features)
        g_sem, at = _carve(scratch, at, rows, num_features)
        colour, at = _carve(scratch, at, rows, c3.shape[1])
        light, at = _carve(scratch, at, rays_per_tile, num_samples)
        g_w, at = _carve(scratch, at, rays_per_tile, num_samples)
        last_colour, at = _carve(scratch, at, rays_per_tile, 3)
        behind, ray_weights = np.empty(rays_per_tile, np.float32), np.empty(num_samples, np.float32)
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
            for channel in range(3):
                last_colour[r, channel] = np.float32(0)
        count = _gather_lit(out, light, min_light, lit_row, lit_ray, lit_input, rays, num_samples)
        lit_padded = padded(count, _ROW_MULTIPLE)
        for i in range(count):
            for j in range(enc.shape[1]):
                lit_enc[i, j] = enc[start + lit_row[i], j]
            for j in range(enc.shape[1], num_encoded):
                lit_enc[i, j] = np.float32(0)
        _zero_rows(lit_enc, count, lit_padded)
        linear(lit_enc, w1, b1, h, lit_padded)
        _relu(h, lit_padded)
        _colour_layers(lit_input, lit_ray, cond, c1, zero, c2, d2, h1, h2, count, first)
        linear(lit_input, s1, t1, sem, lit_padded)
        _sigmoid_colour(h2, c3, d3, colour, count)
        for i in range(count):
            if lit_row[i] - lit_ray[i] * num_samples == num_samples - 1:
                for channel in range(3):
                    last_colour[lit_ray[i], channel] = colour[i, channel]
        # Gradients of the lit samples' heads.
        for i in range(count):
            r, k = lit_ray[i], lit_row[i] - lit_ray[i] * num_samples
            weight = weights[first + r, k]
            colour_weight = weight + behind[r] if k == num_samples - 1 else weight
            towards_weight = np.float32(0)
            for channel in range(3):
                value, g = colour[i, channel], g_rgb[first + r, channel]
                towards_weight += g * (value - last_colour[r, channel])
                colour[i, channel] = colour_weight * g * value * (np.float32(1) - value)
            for channel in range(3, colour.shape[1]):
                colour[i, channel] = np.float32(0)
            towards_features = np.float32(0)
            for j in range(num_features):
                value, g = _positive(sem[i, j]), g_features[first + r, j]
                towards_features += g * value
                g_sem[i, j] = weight * g if value > np.float32(0) else np.float32(0)
            if pass_semantics:
                towards_weight += towards_features
            g_w[r, k] += towards_weight
        _zero_rows(colour, count, lit_padded)
        _zero_rows(g_sem, count, lit_padded)
        add_outer(h2, colour, g_c3[t], lit_padded)
        _add_rows(colour, g_d3[t], count)
        linear(colour, c3_t, zero, g_h2, lit_padded)
        _mask_by_relu(g_h2, h2, lit_padded)
        add_outer(h1, g_h2, g_c2[t], lit_padded)
        _add_rows(g_h2, g_d2[t], count)
        linear(g_h2, c2_t, zero, g_h1, lit_padded)
        _mask_by_relu(g_h1, h1, lit_padded)
        add_outer(lit_input, g_h1, g_c1[t], lit_padded)
        add_outer(lit_input, g_sem, g_s1[t], lit_padded)
        _add_rows(g_sem, g_t1[t], count)
        _add_rows_of_rays(g_h1, lit_ray, count, g_cond[first : first + rays])
        linear(g_h1, c1_t, zero_in, g_out, lit_padded)
        if pass_semantics:
            linear(g_sem, s1_t, zero_in, g_lit, lit_padded)
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
                slope = exp32(min(out[r * num_samples + k, 0], _RAW_DENSITY_LIMIT))
                g_w[r, k] = g_optical * delta[first + r, k] * scale * slope
        for i in range(count):
            g_out[i, 0] = g_w[lit_ray[i], lit_row[i] - lit_ray[i] * num_samples]
        _zero_rows(g_out, count, lit_padded)
        add_outer(h, g_out, g_w2[t], lit_padded)
        _add_rows(g_out, g_b2[t], count)
        linear(g_out, w2_t, zero, g_h1, lit_padded)
        _mask_by_relu(g_h1, h, lit_padded)
        add_outer(lit_enc, g_h1, g_w1[t], lit_padded)
        _add_rows(g_h1, g_b1[t], count)
        linear(g_h1, w1_t, zero_enc, g_lit_enc, lit_padded)
        for r in range(n):
            for j in range(enc.shape[1]):
                g_enc[start + r, j] = np.float32(0)
        for i in range(count):
            for j in range(enc.shape[1]):
                g_enc[start + lit_row[i], j] = g_lit_enc[i, j]


def number_of_threads() -> int:
    """Threads that the kernels use; gradient buffers need one slice for each."""
    return get_num_threads()
