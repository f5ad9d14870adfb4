"""A training step of the lean field as one CPU kernel: render, compare, and back, all while the tile is in the cache.

Symbols are those of ``render_numba``; C classes, in whole blocks of columns where they are outputs of the head. The
named tuples are those of ``train``.

* ``intervals``                   ``Intervals``
* ``head``, ``head_transposed``   [F + 8, C] and [C, F + 8]: the last semantic layer, its bias in row F, zeros below
* ``targets``                     ``TargetArrays``
* ``factors``                     ``LossFactors``
"""

from typing import no_type_check

import numpy as np
from numba import prange

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
from semantic_ns.kernels.compilation import kernel, part
from semantic_ns.kernels.layers_numba import ROW_MULTIPLE, rectify
from semantic_ns.kernels.matrix_numba import add_outer, linear, padded
from semantic_ns.losses_numba import (
    OPACITY_OFFSET,
    cross_entropy_of_ray,
    depth_of_ray,
    distortion_of_ray,
    near_camera_of_ray,
    soft_cross_entropy_of_ray,
)

_ROWS_PER_TILE = 64


@part
@no_type_check
def _keep_rows(a, rows, count):
    """Move the given rows, ascending, to the front."""
    for i in range(count):
        row = rows[i]
        if row > i:
            for j in range(a.shape[1]):
                a[i, j] = a[row, j]
    zero_rows(a, count, padded(count, ROW_MULTIPLE))


@part
@no_type_check
def _losses_of_geometry(first, weights, rgb, intervals, targets, factors, g_rgb, g_weights, losses):
    """Losses of a tile's rays and their gradients; of rays without a colour target only what is near costs.

    What these rays look like is of no use to anybody: their rows of ``rgb`` become zeros.
    """
    colors = targets.colors
    for r in range(weights.shape[0]):
        ray, error = first + r, np.float32(0)
        losses[2, ray] = np.float32(0)
        if ray < colors.shape[0]:
            for channel in range(3):
                difference = rgb[r, channel] - colors[ray, channel]
                error += difference * difference
                g_rgb[r, channel] = np.float32(2) * factors.color * difference
            distortion = distortion_of_ray(intervals.spacings[ray], weights[r], g_weights[r])
            losses[1, ray] = factors.distortion * distortion
            opacity = np.float32(OPACITY_OFFSET)
            for k in range(weights.shape[1]):
                opacity += weights[r, k]
            losses[2, ray] = -factors.opacity * np.log(opacity)
            for k in range(weights.shape[1]):
                g_weights[r, k] = factors.distortion * g_weights[r, k] - factors.opacity / opacity
        else:
            zero_rows(rgb, r, r + 1)
            zero_rows(g_rgb, r, r + 1)
            zero_rows(g_weights, r, r + 1)
            losses[1, ray] = np.float32(0)
        losses[0, ray] = factors.color * error
        losses[3, ray] = near_camera_of_ray(
            intervals.starts[ray], intervals.lengths[ray], weights[r], factors.near_camera, factors.per_reach,
            g_weights[r],
        )  # fmt: skip
        losses[4, ray] = np.float32(0)
        if ray < targets.distances.shape[0] and targets.distances[ray] > np.float32(0):
            distance = targets.distances[ray]
            losses[4, ray] = depth_of_ray(
                intervals.starts[ray], intervals.lengths[ray], weights[r], distance,
                factors.depth_constant + factors.depth_relative * distance, factors.depth, g_weights[r],
            )  # fmt: skip


@part
@no_type_check
def _add_further_gradients(first, further, g_weights, num_rays):
    if further.shape[0] > 0:
        for r in range(num_rays):
            for k in range(further.shape[1]):
                g_weights[r, k] += further[first + r, k]


@part
@no_type_check
def _semantics(first, num_rays, targets, logits, g_logits, losses):
    """Cross-entropies of a tile's rays and their gradients in the logits."""
    num_classes = targets.distributions.shape[1]
    is_soft = targets.distributions.shape[0] > 0
    zero_rows(g_logits, 0, padded(num_rays, ROW_MULTIPLE))
    for r in range(num_rays):
        ray, loss = first + r, np.float32(0)
        share = targets.shares[ray]
        if share > np.float32(0):
            if is_soft:
                loss = soft_cross_entropy_of_ray(
                    logits[r, :num_classes], targets.distributions[ray], g_logits[r, :num_classes]
                )
            else:
                loss = cross_entropy_of_ray(logits[r, :num_classes], targets.labels[ray], g_logits[r, :num_classes])
            for c in range(num_classes):
                g_logits[r, c] *= share
        losses[5, ray] = share * loss


@kernel
@no_type_check
def train(  # noqa: C901
    enc, conditioning, intervals, network, transposed, head, head_transposed, scale, min_transmittance, pass_semantics,
    targets, factors, further, losses, rgb, weights, g_enc, g_conditioning, g_network, g_head,
):  # fmt: skip
    """Fill ``losses`` [6, R] as ``TrainedRays`` lists them, ``rgb`` [R, 3], ``weights`` [R, S], gradients.

    ``further`` [R, S], or [0, 0] for none, are gradients that the weights have from losses which are not computed here.
    ``g_enc`` [R S, E] and ``g_conditioning`` [R, H] are filled; ``g_network`` and ``g_head``, one slice per slot, are
    added to.
    """
    num_rays, num_samples = intervals.lengths.shape
    rays_per_tile, num_tiles, rows = tile_shape(num_rays, num_samples, _ROWS_PER_TILE)
    ray_rows = padded(rays_per_tile, ROW_MULTIPLE)
    (width, num_hidden), num_features = network.w2.shape, network.s1.shape[1]
    num_sums, num_logits = head.shape
    floats = training_floats(network, transposed, rows) + 2 * rows + ray_rows * (2 * num_sums + 2 * num_logits + 6)
    num_slots = g_head.shape[0]
    zero = np.zeros(max(width, num_hidden, transposed.w1.shape[1], num_sums, num_logits), np.float32)
    for slot in prange(num_slots):
        # One piece of memory for all tiles: two dozen allocations in every tile would cost more than a layer.
        scratch = np.empty(floats, np.float32)
        visible_row, visible_ray = np.empty(rows, np.int64), np.empty(rows, np.int64)
        for tile in range(slot * num_tiles // num_slots, (slot + 1) * num_tiles // num_slots):
            first = tile * rays_per_tile
            rays = min(rays_per_tile, num_rays - first)
            last = first + rays
            n, start, padded_rays = rays * num_samples, first * num_samples, padded(rays, ROW_MULTIPLE)
            activations, gradients, at = training_buffers(scratch, rows, network, transposed)
            visible_enc, h, h1, h2, out, visible_input, sem, color = activations
            g_visible_enc, g_h1, g_h2, g_out, g_visible = gradients
            transmittances, at = carve(scratch, at, rays_per_tile, num_samples)
            g_w, at = carve(scratch, at, rays_per_tile, num_samples)
            sums, at = carve(scratch, at, ray_rows, num_sums)
            g_sums, at = carve(scratch, at, ray_rows, num_sums)
            logits, at = carve(scratch, at, ray_rows, num_logits)
            g_logits, at = carve(scratch, at, ray_rows, num_logits)
            g_rgb, at = carve(scratch, at, ray_rows, 3)
            last_color, at = carve(scratch, at, ray_rows, 3)
            residual = np.empty(rays_per_tile, np.float32)
            tile_weights, tile_rgb, lengths = weights[first:last], rgb[first:last], intervals.lengths[first:last]
            # Forward.
            copy_encoded(enc, start, n, visible_enc)
            linear(visible_enc, network.w1, network.b1, h, padded(n, ROW_MULTIPLE))
            rectify(h, n)
            linear(h, network.w2, network.b2, out, padded(n, ROW_MULTIPLE))
            for r in range(rays):
                residual[r] = weights_of_ray(
                    out[r * num_samples : (r + 1) * num_samples], lengths[r], scale, tile_weights[r], transmittances[r]
                )
            count = gather_visible(
                out, transmittances, min_transmittance, visible_row, visible_ray, visible_input, rays, num_samples
            )
            _keep_rows(visible_enc, visible_row, count)
            _keep_rows(h, visible_row, count)
            # Rays for the space before a camera, or for a class that has a grid of its own, need no more than weights.
            has_layers = num_features > 0 or first < targets.colors.shape[0]
            zero_rows(sums, 0, padded_rays)
            if has_layers:
                color_and_semantic_layers(
                    visible_input, visible_ray, conditioning[first:last], network, zero, h1, h2, color, sem, count
                )
                composite_visible(visible_row, visible_ray, count, tile_weights, residual, color, sem, tile_rgb, sums)
            # Losses.
            _losses_of_geometry(first, tile_weights, tile_rgb, intervals, targets, factors, g_rgb, g_w, losses)
            _add_further_gradients(first, further, g_w, rays)
            for r in range(rays):
                for k in range(num_samples):
                    sums[r, num_features] += tile_weights[r, k]
            linear(sums, head, zero, logits, padded_rays)
            _semantics(first, rays, targets, logits, g_logits, losses)
            add_outer(sums, g_logits, g_head[slot], padded_rays)
            linear(g_logits, head_transposed, zero, g_sums, padded_rays)
            if pass_semantics:
                for r in range(rays):
                    for k in range(num_samples):
                        g_w[r, k] += g_sums[r, num_features]
            # Backward. Where no light arrives there is no gradient.
            if has_layers:
                output_gradients(
                    visible_row, visible_ray, count, tile_weights, residual, color, sem, g_rgb, g_sums, pass_semantics,
                    last_color, g_w,
                )  # fmt: skip
                layers_backward(
                    slot, visible_ray, count, pass_semantics, (visible_input, h1, h2), (color, sem, g_h1, g_h2),
                    transposed, zero, g_network, g_conditioning[first:last], g_visible, g_out,
                )  # fmt: skip
            else:
                zero_rows(g_conditioning, first, last)
                zero_rows(g_out, 0, count)
            raw_density_gradients(
                visible_row, visible_ray, count, out, lengths, scale, tile_weights, transmittances, residual, g_w, g_out
            )
            density_backward(
                slot, visible_row, count, visible_enc, h, g_out, transposed, zero, g_network, g_h1, g_visible_enc,
                g_enc, start, n,
            )  # fmt: skip
