"""The lean field and its volume rendering as one CPU kernel, forward and backward.

A tile of a few rays goes through both networks and the compositing while its activations stay in the cache; nothing of
size [samples, width] is written to memory. The slow, obvious twin is the torch path of ``SemanticNerfField``.

The symbols and named tuples are those of ``network``.

* ``enc`` [R S, E], ``lengths`` [R, S]    encoded sample positions, lengths delta of the intervals
* ``conditioning`` [R, H]               what is constant along a ray, already through the colour net's first layer
* ``network``, ``transposed``             ``Network`` in whole blocks and its ``TransposedNetwork``: density E -> H -> G
                                        (column 0: raw density), colour G -> H -> H -> 8, of which 3 count, semantics
                                        G -> F, where F may be 0
* ``weights`` [R, S]                      w_k = T_k (1 - exp(-sigma_k delta_k))

H, G, F are multiples of 8 and the rows of ``w1`` of 4, of which ``enc`` may have fewer columns. Colour and semantics
are evaluated only where light still arrives, T_k > ``min_transmittance``; what is left out changes a ray's colour by
less than that. Behind the last sample its colour continues (nerfacto's ``last_sample`` background).
"""

from typing import no_type_check

import numpy as np
from numba import prange
from numba.np.ufunc.parallel import get_thread_id

from semantic_ns.fields.cpu.tile_numba import (
    carve,
    color_and_semantic_layers,
    composite_visible,
    copy_encoded,
    density_backward,
    gather_visible,
    layers_backward,
    output_gradients,
    raw_density_gradients,
    tile_shape,
    training_buffers,
    training_floats,
    weights_of_ray,
    zero_rows,
)
from semantic_ns.kernels.compilation import kernel
from semantic_ns.kernels.layers_numba import ROW_MULTIPLE, rectify
from semantic_ns.kernels.matrix_numba import linear, padded

_ROWS_PER_TILE = 64


@kernel
@no_type_check
def render_forward(
    enc, conditioning, lengths, network, scale, min_transmittance, num_threads, hidden, weights, rgb, features
):
    """Fill ``hidden`` [R S, G], ``weights`` [R, S], ``rgb`` [R, 3] and ``features`` [R, F]."""
    num_rays, num_samples = lengths.shape
    rays_per_tile, num_tiles, rows = tile_shape(num_rays, num_samples, _ROWS_PER_TILE)
    (num_encoded, width), num_hidden = network.w1.shape, network.w2.shape[1]
    num_features, num_colors = network.s1.shape[1], network.c3.shape[1]
    floats = rows * (num_encoded + 3 * width + 2 * num_hidden + num_features + 1 + num_colors)
    # One piece of memory for each thread: a dozen allocations in every tile would cost more than a layer.
    scratches = np.empty((num_threads, floats), np.float32)
    places = np.empty((num_threads, 2, rows), np.int64)
    zero = np.zeros(width, np.float32)
    for tile in prange(num_tiles):
        t = get_thread_id()
        first = tile * rays_per_tile
        rays = min(rays_per_tile, num_rays - first)
        last = first + rays
        n, start = rays * num_samples, first * num_samples
        scratch, visible_row, visible_ray = scratches[t], places[t, 0], places[t, 1]
        tile_enc, at = carve(scratch, 0, rows, num_encoded)
        h, at = carve(scratch, at, rows, width)
        out, at = carve(scratch, at, rows, num_hidden)
        visible_input, at = carve(scratch, at, rows, num_hidden)
        h1, at = carve(scratch, at, rows, width)
        h2, at = carve(scratch, at, rows, width)
        sem, at = carve(scratch, at, rows, num_features)
        color, at = carve(scratch, at, rows, num_colors)
        transmittances, at = carve(scratch, at, rays_per_tile, num_samples)
        residual = np.empty(rays_per_tile, np.float32)
        copy_encoded(enc, start, n, tile_enc)
        linear(tile_enc, network.w1, network.b1, h, padded(n, ROW_MULTIPLE))
        rectify(h, n)
        linear(h, network.w2, network.b2, out, padded(n, ROW_MULTIPLE))
        for r in range(n):
            for j in range(num_hidden):
                hidden[start + r, j] = out[r, j]
        for r in range(rays):
            residual[r] = weights_of_ray(
                out[r * num_samples : (r + 1) * num_samples],
                lengths[first + r],
                scale,
                weights[first + r],
                transmittances[r],
            )
        count = gather_visible(
            out, transmittances, min_transmittance, visible_row, visible_ray, visible_input, rays, num_samples
        )
        color_and_semantic_layers(
            visible_input, visible_ray, conditioning[first:last], network, zero, h1, h2, color, sem, count
        )
        composite_visible(
            visible_row, visible_ray, count, weights[first:last], residual, color, sem, rgb[first:last],
            features[first:last],
        )  # fmt: skip


@kernel
@no_type_check
def render_weights(enc, lengths, network, scale, num_threads, weights):
    """Fill ``weights`` [R, S] alone, by the density network."""
    num_rays, num_samples = lengths.shape
    rays_per_tile, num_tiles, rows = tile_shape(num_rays, num_samples, _ROWS_PER_TILE)
    (num_encoded, width), num_hidden = network.w1.shape, network.w2.shape[1]
    scratches = np.empty((num_threads, rows * (num_encoded + width + num_hidden + 1)), np.float32)
    for tile in prange(num_tiles):
        t = get_thread_id()
        first = tile * rays_per_tile
        rays = min(rays_per_tile, num_rays - first)
        n = rays * num_samples
        tile_enc, at = carve(scratches[t], 0, rows, num_encoded)
        h, at = carve(scratches[t], at, rows, width)
        out, at = carve(scratches[t], at, rows, num_hidden)
        transmittances, at = carve(scratches[t], at, rays_per_tile, num_samples)
        copy_encoded(enc, first * num_samples, n, tile_enc)
        linear(tile_enc, network.w1, network.b1, h, padded(n, ROW_MULTIPLE))
        rectify(h, n)
        linear(h, network.w2, network.b2, out, padded(n, ROW_MULTIPLE))
        for r in range(rays):
            weights_of_ray(
                out[r * num_samples : (r + 1) * num_samples], lengths[first + r], scale, weights[first + r],
                transmittances[r],
            )  # fmt: skip


@kernel
@no_type_check
def render_backward(
    enc, conditioning, lengths, network, transposed, scale, min_transmittance, pass_semantics, hidden, weights,
    g_weights, g_rgb, g_features, g_enc, g_conditioning, g_network,
):  # fmt: skip
    """Fill ``g_enc`` [R S, E], ``g_conditioning`` [R, H]; add to ``g_network``, one slice per slot."""
    num_rays, num_samples = lengths.shape
    rays_per_tile, num_tiles, rows = tile_shape(num_rays, num_samples, _ROWS_PER_TILE)
    (num_encoded, width), num_hidden = network.w1.shape, network.w2.shape[1]
    floats = training_floats(network, transposed, rows) + 2 * rows + 3 * rays_per_tile
    num_slots = g_network.b1.shape[0]
    zero = np.zeros(max(width, num_hidden, transposed.w1.shape[1]), np.float32)
    for slot in prange(num_slots):
        scratch = np.empty(floats, np.float32)
        visible_row, visible_ray = np.empty(rows, np.int64), np.empty(rows, np.int64)
        for tile in range(slot * num_tiles // num_slots, (slot + 1) * num_tiles // num_slots):
            first = tile * rays_per_tile
            rays = min(rays_per_tile, num_rays - first)
            last = first + rays
            n, start = rays * num_samples, first * num_samples
            activations, gradients, at = training_buffers(scratch, rows, network, transposed)
            visible_enc, h, h1, h2, out, visible_input, sem, color = activations
            g_visible_enc, g_h1, g_h2, g_out, g_visible = gradients
            transmittances, at = carve(scratch, at, rays_per_tile, num_samples)
            g_w, at = carve(scratch, at, rays_per_tile, num_samples)
            last_color, at = carve(scratch, at, rays_per_tile, 3)
            residual, ray_weights = np.empty(rays_per_tile, np.float32), np.empty(num_samples, np.float32)
            # Forward again, where light arrives: cheaper than keeping the activations in memory. The rest has no
            # gradient.
            for r in range(n):
                for j in range(num_hidden):
                    out[r, j] = hidden[start + r, j]
            for r in range(rays):
                residual[r] = weights_of_ray(
                    out[r * num_samples : (r + 1) * num_samples],
                    lengths[first + r],
                    scale,
                    ray_weights,
                    transmittances[r],
                )
                for k in range(num_samples):
                    g_w[r, k] = g_weights[first + r, k]
            count = gather_visible(
                out, transmittances, min_transmittance, visible_row, visible_ray, visible_input, rays, num_samples
            )
            for i in range(count):
                for j in range(enc.shape[1]):
                    visible_enc[i, j] = enc[start + visible_row[i], j]
                for j in range(enc.shape[1], num_encoded):
                    visible_enc[i, j] = np.float32(0)
            zero_rows(visible_enc, count, padded(count, ROW_MULTIPLE))
            linear(visible_enc, network.w1, network.b1, h, padded(count, ROW_MULTIPLE))
            rectify(h, padded(count, ROW_MULTIPLE))
            color_and_semantic_layers(
                visible_input, visible_ray, conditioning[first:last], network, zero, h1, h2, color, sem, count
            )
            output_gradients(
                visible_row, visible_ray, count, weights[first:last], residual, color, sem, g_rgb[first:last],
                g_features[first:last], pass_semantics, last_color, g_w,
            )  # fmt: skip
            layers_backward(
                slot, visible_ray, count, pass_semantics, (visible_input, h1, h2), (color, sem, g_h1, g_h2), transposed,
                zero, g_network, g_conditioning[first:last], g_visible, g_out,
            )  # fmt: skip
            raw_density_gradients(
                visible_row, visible_ray, count, out, lengths[first:last], scale, weights[first:last], transmittances,
                residual, g_w, g_out,
            )  # fmt: skip
            density_backward(
                slot, visible_row, count, visible_enc, h, g_out, transposed, zero, g_network, g_h1, g_visible_enc,
                g_enc, start, n,
            )  # fmt: skip
