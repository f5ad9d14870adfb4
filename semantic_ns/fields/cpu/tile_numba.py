"""What a tile of rays goes through in the kernels of the lean field: layers, compositing, and the way back.

Samples that light reaches are visible: sample ``visible_row[i]`` of the tile, on its ray ``visible_ray[i]``, is row i
of whatever belongs to the visible ones. See ``render_numba`` for the other symbols. Tiles are padded to whole blocks
with rows of zeros.
"""

from typing import no_type_check

import numpy as np

from semantic_ns.kernels.compilation import part
from semantic_ns.kernels.exponential_numba import exp32
from semantic_ns.kernels.layers_numba import ROW_MULTIPLE, rectified, rectify
from semantic_ns.kernels.limits_numba import GRADIENT_RAW_DENSITY_LIMIT, RAW_DENSITY_LIMIT
from semantic_ns.kernels.matrix_numba import add_outer, linear, padded


@part
@no_type_check
def _add_rows(g, out, num_rows):
    for r in range(num_rows):
        for j in range(out.shape[0]):
            out[j] += g[r, j]


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
def zero_rows(a, first, last):
    """Fill the rows from ``first`` to ``last`` with zeros."""
    for r in range(first, last):
        for j in range(a.shape[1]):
            a[r, j] = np.float32(0)


@part
@no_type_check
def carve(scratch, at, rows, columns):
    """A matrix out of scratch memory, and where the next one begins."""
    return scratch[at : at + rows * columns].reshape(rows, columns), at + rows * columns


@part
@no_type_check
def tile_shape(num_rays, num_samples, rows_per_tile):
    """Rays of a tile, number of tiles, and rows of its buffers."""
    rays = max(1, rows_per_tile // num_samples)
    return rays, (num_rays + rays - 1) // rays, padded(rays * num_samples, ROW_MULTIPLE)


@part
@no_type_check
def training_floats(network, transposed, rows):
    """Size of :func:`training_buffers`."""
    (num_encoded, width), num_hidden = network.w1.shape, network.w2.shape[1]
    num_outputs = network.s1.shape[1] + network.c3.shape[1]
    return rows * (num_encoded + transposed.w1.shape[1] + 5 * width + 4 * num_hidden + num_outputs)


@part
@no_type_check
def training_buffers(scratch, rows, network, transposed):
    """Room for what a tile needs forward and for its gradients, and where the scratch memory goes on.

    The gradient of the density network's hidden layer takes the place of the colour network's first one; those before
    sigmoid and ReLU take the places of colours and features.
    """
    (num_encoded, width), num_hidden = network.w1.shape, network.w2.shape[1]
    visible_enc, at = carve(scratch, 0, rows, num_encoded)
    h, at = carve(scratch, at, rows, width)
    h1, at = carve(scratch, at, rows, width)
    h2, at = carve(scratch, at, rows, width)
    out, at = carve(scratch, at, rows, num_hidden)
    visible_input, at = carve(scratch, at, rows, num_hidden)
    features, at = carve(scratch, at, rows, network.s1.shape[1])
    color, at = carve(scratch, at, rows, network.c3.shape[1])
    g_visible_enc, at = carve(scratch, at, rows, transposed.w1.shape[1])
    g_h1, at = carve(scratch, at, rows, width)
    g_h2, at = carve(scratch, at, rows, width)
    g_out, at = carve(scratch, at, rows, num_hidden)
    g_visible, at = carve(scratch, at, rows, num_hidden)
    return (
        (visible_enc, h, h1, h2, out, visible_input, features, color),
        (g_visible_enc, g_h1, g_h2, g_out, g_visible),
        at,
    )


# Forward


@part
@no_type_check
def copy_encoded(enc, start, count, tile_enc):
    """The encoded positions of a tile, with zeros for missing columns and up to whole blocks of rows."""
    for r in range(count):
        for j in range(enc.shape[1]):
            tile_enc[r, j] = enc[start + r, j]
        for j in range(enc.shape[1], tile_enc.shape[1]):
            tile_enc[r, j] = np.float32(0)
    zero_rows(tile_enc, count, padded(count, ROW_MULTIPLE))


@part
@no_type_check
def weights_of_ray(raw, lengths, scale, weights, transmittances):
    """Rendering weights of one ray; ``transmittances`` [S] receives T_k.

    Returns the residual transmittance, that behind the last sample.
    """
    transmittance = np.float32(1)
    for k in range(lengths.shape[0]):
        transmittances[k] = exp32(-scale * exp32(min(raw[k, 0], RAW_DENSITY_LIMIT)) * lengths[k])
    for k in range(lengths.shape[0]):
        through = transmittances[k]
        transmittances[k] = transmittance
        weights[k] = transmittance * (np.float32(1) - through)
        transmittance *= through
    return transmittance


@part
@no_type_check
def gather_visible(
    hidden, transmittances, min_transmittance, visible_row, visible_ray, visible_input, num_rays, num_samples
):
    """Copy the network inputs of samples that light reaches; returns their number."""
    count = 0
    for r in range(num_rays):
        for k in range(num_samples):
            n = r * num_samples + k
            if transmittances[r, k] > min_transmittance:
                visible_row[count], visible_ray[count] = n, r
                for j in range(visible_input.shape[1]):
                    visible_input[count, j] = hidden[n, j]
                count += 1
    zero_rows(visible_input, count, padded(count, ROW_MULTIPLE))
    return count


@part
@no_type_check
def color_and_semantic_layers(visible_input, visible_ray, conditioning, network, zero, h1, h2, color, features, count):
    """Colours and features of the visible samples; ``conditioning`` [rays, H] is that of the tile."""
    rows = padded(count, ROW_MULTIPLE)
    linear(visible_input, network.c1, zero, h1, rows)
    for i in range(count):
        ray = visible_ray[i]
        for j in range(h1.shape[1]):
            h1[i, j] = rectified(h1[i, j] + conditioning[ray, j])
    zero_rows(h1, count, rows)
    linear(h1, network.c2, network.d2, h2, rows)
    rectify(h2, rows)
    linear(h2, network.c3, network.d3, color, rows)
    # One long loop becomes vector code, many short ones do not.
    flat = color.reshape(-1)
    for i in range(count):
        for channel in range(3):
            flat[3 * i + channel] = color[i, channel]
    for i in range(3 * count):
        flat[i] = np.float32(1) / (np.float32(1) + exp32(-flat[i]))
    for i in range(count - 1, -1, -1):
        for channel in range(2, -1, -1):
            color[i, channel] = flat[3 * i + channel]
    linear(visible_input, network.s1, network.t1, features, rows)
    rectify(features, rows)


@part
@no_type_check
def composite_visible(visible_row, visible_ray, count, weights, residual, color, features, rgb, sums):
    """Fill the tile's ``rgb`` [rays, 3] and the first columns of ``sums`` [rays, F or more]."""
    num_rays, num_samples = weights.shape
    for r in range(num_rays):
        for channel in range(3):
            rgb[r, channel] = np.float32(0)
        for j in range(features.shape[1]):
            sums[r, j] = np.float32(0)
    for i in range(count):
        r, k = visible_ray[i], visible_row[i] - visible_ray[i] * num_samples
        weight = weights[r, k]
        color_weight = weight + residual[r] if k == num_samples - 1 else weight
        for channel in range(3):
            rgb[r, channel] += color_weight * color[i, channel]
        for j in range(features.shape[1]):
            sums[r, j] += weight * features[i, j]


# Backward


@part
@no_type_check
def output_gradients(
    visible_row, visible_ray, count, weights, residual, color, features, g_rgb, g_sums, pass_semantics, last_color,
    g_weights,
):  # fmt: skip
    """Turn colours and features into the gradients before their sigmoid and ReLU; add to those of the weights."""
    num_rays, num_samples = weights.shape
    zero_rows(last_color, 0, num_rays)
    for i in range(count):
        if visible_row[i] - visible_ray[i] * num_samples == num_samples - 1:
            for channel in range(3):
                last_color[visible_ray[i], channel] = color[i, channel]
    for i in range(count):
        r, k = visible_ray[i], visible_row[i] - visible_ray[i] * num_samples
        weight = weights[r, k]
        color_weight = weight + residual[r] if k == num_samples - 1 else weight
        towards_weight = np.float32(0)
        for channel in range(3):
            value, g = color[i, channel], g_rgb[r, channel]
            towards_weight += g * (value - last_color[r, channel])
            color[i, channel] = color_weight * g * value * (np.float32(1) - value)
        for channel in range(3, color.shape[1]):
            color[i, channel] = np.float32(0)
        towards_features = np.float32(0)
        for j in range(features.shape[1]):
            value, g = features[i, j], g_sums[r, j]
            towards_features += g * value
            features[i, j] = weight * g if value > np.float32(0) else np.float32(0)
        if pass_semantics:
            towards_weight += towards_features
        g_weights[r, k] += towards_weight
    zero_rows(color, count, padded(count, ROW_MULTIPLE))
    zero_rows(features, count, padded(count, ROW_MULTIPLE))


@part
@no_type_check
def layers_backward(
    slot, visible_ray, count, pass_semantics, activations, gradients, transposed, zero, g_network, g_conditioning,
    g_visible, g_out,
):  # fmt: skip
    """Gradients of the colour and semantic layers.

    ``g_out`` receives those of their inputs, ``g_conditioning`` those of what is constant along a ray.
    ``activations`` are the visible samples' inputs and the colour network's hidden layers; ``gradients`` those before
    sigmoid and ReLU, then room for those of the hidden layers.
    """
    visible_input, h1, h2 = activations
    g_color, g_features, g_h1, g_h2 = gradients
    rows = padded(count, ROW_MULTIPLE)
    add_outer(h2, g_color, g_network.c3[slot], rows)
    _add_rows(g_color, g_network.d3[slot], count)
    linear(g_color, transposed.c3, zero, g_h2, rows)
    _mask_by_relu(g_h2, h2, rows)
    add_outer(h1, g_h2, g_network.c2[slot], rows)
    _add_rows(g_h2, g_network.d2[slot], count)
    linear(g_h2, transposed.c2, zero, g_h1, rows)
    _mask_by_relu(g_h1, h1, rows)
    add_outer(visible_input, g_h1, g_network.c1[slot], rows)
    add_outer(visible_input, g_features, g_network.s1[slot], rows)
    _add_rows(g_features, g_network.t1[slot], count)
    zero_rows(g_conditioning, 0, g_conditioning.shape[0])
    _add_rows_of_rays(g_h1, visible_ray, count, g_conditioning)
    linear(g_h1, transposed.c1, zero, g_out, rows)
    if pass_semantics:
        linear(g_features, transposed.s1, zero, g_visible, rows)
        for i in range(count):
            for j in range(1, g_out.shape[1]):
                g_out[i, j] += g_visible[i, j]


@part
@no_type_check
def raw_density_gradients(
    visible_row, visible_ray, count, out, lengths, scale, weights, transmittances, residual, g_weights, g_out
):
    """Fill column 0 of the visible samples' ``g_out``; overwrites ``g_weights``.

    dw_k/da_k = T_{k+1} and dw_j/da_k = -w_j for j > k, with a = sigma delta.
    """
    num_rays, num_samples = lengths.shape
    for r in range(num_rays):
        later_sum = np.float32(0)
        for k in range(num_samples - 1, -1, -1):
            after = transmittances[r, k + 1] if k + 1 < num_samples else residual[r]
            g_optical = g_weights[r, k] * after - later_sum
            later_sum += g_weights[r, k] * weights[r, k]
            slope = exp32(min(out[r * num_samples + k, 0], GRADIENT_RAW_DENSITY_LIMIT))
            g_weights[r, k] = g_optical * lengths[r, k] * scale * slope
    for i in range(count):
        g_out[i, 0] = g_weights[visible_ray[i], visible_row[i] - visible_ray[i] * num_samples]
    zero_rows(g_out, count, padded(count, ROW_MULTIPLE))


@part
@no_type_check
def density_backward(
    slot, visible_row, count, visible_enc, h, g_out, transposed, zero, g_network, g_h, g_visible_enc, g_enc, start,
    num_rows,
):  # fmt: skip
    """Gradients of the density network; fills the tile's rows of ``g_enc``, zeros where no light arrives."""
    rows = padded(count, ROW_MULTIPLE)
    add_outer(h, g_out, g_network.w2[slot], rows)
    _add_rows(g_out, g_network.b2[slot], count)
    linear(g_out, transposed.w2, zero, g_h, rows)
    _mask_by_relu(g_h, h, rows)
    add_outer(visible_enc, g_h, g_network.w1[slot], rows)
    _add_rows(g_h, g_network.b1[slot], count)
    linear(g_h, transposed.w1, zero, g_visible_enc, rows)
    zero_rows(g_enc, start, start + num_rows)
    for i in range(count):
        for j in range(g_enc.shape[1]):
            g_enc[start + visible_row[i], j] = g_visible_enc[i, j]
