"""Proposal sampling of whole rays, and the training of the proposal network, as one CPU kernel each.

The samples equal nerfstudio's ``ProposalNetworkSampler`` with one proposal network: spaced bins, density of the
proposal network at their centres, weights, inverse-CDF resampling (Barron et al. 2022, section 3); the loss equals its
``interlevel_loss``.

Symbols: R rays, P proposal samples, S field samples; spacings are normalised, in [0, 1], distances in scene units.
``jitter`` [R, 2] holds one uniform draw per ray for each stage; a negative value means no jitter. ``network`` is a
``ProposalMatrices``, ``grid`` are ``GridArrays``, ``box`` is a ``UnitBox``.
"""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.encodings.hash_grid_numba import encode_rows
from semantic_ns.kernels.compilation import kernel, part
from semantic_ns.kernels.exponential_numba import exp32
from semantic_ns.kernels.limits_numba import GRADIENT_RAW_DENSITY_LIMIT, RAW_DENSITY_LIMIT
from semantic_ns.kernels.matrix_numba import add_outer, linear, padded

# Enough points that a level's table, once in the second-level cache, is used many times.
_RAYS_PER_TILE = 64
# Rows that go through the network at once.
_ROWS_PER_BLOCK = 64
_HISTOGRAM_PADDING = np.float32(0.01)
_EPSILON = np.float32(1e-7)
_QUARTER, _HALF, _ONE, _TWO = np.float32(0.25), np.float32(0.5), np.float32(1), np.float32(2)


@part
@no_type_check
def _spacing(t, piecewise):
    """Distance to spacing: linear up to 1, linear in disparity beyond (or linear throughout)."""
    if not piecewise:
        return t
    return t * _HALF if t < _ONE else _ONE - _HALF / t


@part
@no_type_check
def _distance(spacing, piecewise):
    if not piecewise:
        return spacing
    return spacing * _TWO if spacing < _HALF else _HALF / (_ONE - spacing)


@part
@no_type_check
def _unit_centres(origin, direction, distances, box, x):
    """Centres of one ray's intervals in the unit cube, ``x`` [S, 3].

    With the L-infinity contraction of Barron et al. 2022, equation (10), or by the scene box.
    """
    for k in range(distances.shape[0] - 1):
        t = (distances[k] + distances[k + 1]) * _HALF
        px, py, pz = origin[0] + t * direction[0], origin[1] + t * direction[1], origin[2] + t * direction[2]
        if box.contracts:
            norm = max(abs(px), abs(py), abs(pz))
            factor = _ONE if norm < _ONE else (_TWO - _ONE / norm) / norm
            x[k, 0] = (px * factor + _TWO) * _QUARTER
            x[k, 1] = (py * factor + _TWO) * _QUARTER
            x[k, 2] = (pz * factor + _TWO) * _QUARTER
        else:
            x[k, 0] = (px - box.low[0]) / box.size[0]
            x[k, 1] = (py - box.low[1]) / box.size[1]
            x[k, 2] = (pz - box.low[2]) / box.size[2]


@kernel
@no_type_check
def unit_positions(origins, directions, distances, box, x):
    """Centres of the intervals of every ray in the unit cube, ``x`` [R S, 3]."""
    num_rays, num_samples = distances.shape[0], distances.shape[1] - 1
    for r in prange(num_rays):
        rows = x[r * num_samples : (r + 1) * num_samples]
        _unit_centres(origins[r], directions[r], distances[r], box, rows)


@part
@no_type_check
def _resample(spacings, weights, anneal, jitter, pdf, new_spacings):
    """Invert the padded cumulative distribution at evenly spaced values (nerfstudio's ``PDFSampler``)."""
    num_bins, num_edges = weights.shape[0], new_spacings.shape[0]
    total = np.float32(0)
    for k in range(num_bins):
        # The power costs as much as all else, and after the first steps it is 1.
        pdf[k] = (weights[k] if anneal == _ONE else weights[k] ** anneal) + _HISTOGRAM_PADDING
        total += pdf[k]
    for k in range(num_bins):
        pdf[k] /= total
    offset = jitter if jitter >= 0 else _HALF
    k, below = 0, np.float32(0)
    for i in range(num_edges):
        u = (np.float32(i) + offset) / np.float32(num_edges)
        while k < num_bins - 1 and below + pdf[k] <= u:
            below += pdf[k]
            k += 1
        fraction = min(max((u - below) / pdf[k], np.float32(0)), _ONE)
        new_spacings[i] = spacings[k] + fraction * (spacings[k + 1] - spacings[k])


@part
@no_type_check
def _distances(spacings, near, far, piecewise, distances):
    """Normalised spacings of one ray to distances."""
    s_near, s_far = _spacing(near, piecewise), _spacing(far, piecewise)
    for k in range(spacings.shape[0]):
        distances[k] = _distance(spacings[k] * s_far + (_ONE - spacings[k]) * s_near, piecewise)


@part
@no_type_check
def _hidden_layer(enc, network, hidden, num_rows):
    """First layer of the proposal network after the ReLU."""
    linear(enc, network.w1, network.b1, hidden, num_rows)
    for r in range(num_rows):
        for j in range(hidden.shape[1]):
            # Not max(), which the compiler does not turn into vector code here.
            hidden[r, j] = np.float32(hidden[r, j] > np.float32(0)) * hidden[r, j]


@part
@no_type_check
def _output_layer(hidden, network, num_rows, raw):
    """Raw density, the second layer."""
    for r in range(num_rows):
        value = network.b2[0]
        for j in range(hidden.shape[1]):
            value += hidden[r, j] * network.w2[j, 0]
        raw[r] = value


@kernel
@no_type_check
def propose(
    origins, directions, near, far, jitter, box, network, grid, scale, anneal, piecewise,
    spacings, weights, new_spacings, new_distances,
):  # fmt: skip
    """Fill ``spacings`` [R, P + 1] and ``weights`` [R, P] of the proposal, and the edges of the field's samples.

    The latter are ``new_spacings`` and ``new_distances`` [R, S + 1].
    """
    num_rays, num_bins = weights.shape
    num_features, width = network.w1.shape
    for tile in prange((num_rays + _RAYS_PER_TILE - 1) // _RAYS_PER_TILE):
        first, last = tile * _RAYS_PER_TILE, min(num_rays, (tile + 1) * _RAYS_PER_TILE)
        num_points = (last - first) * num_bins
        x = np.empty((num_points, 3), np.float32)
        enc = np.zeros((padded(num_points, 4), num_features), np.float32)
        hidden = np.empty((_ROWS_PER_BLOCK, width), np.float32)
        raw = np.empty(padded(num_points, 4), np.float32)
        distances = np.empty((_RAYS_PER_TILE, num_bins + 1), np.float32)
        pdf = np.empty(num_bins, np.float32)
        for r in range(first, last):
            for k in range(num_bins + 1):
                edge = np.float32(k)
                if jitter[r, 0] >= 0:
                    lower = np.float32(0) if k == 0 else np.float32(k) - _HALF
                    upper = np.float32(num_bins) if k == num_bins else np.float32(k) + _HALF
                    edge = lower + (upper - lower) * jitter[r, 0]
                spacings[r, k] = edge / np.float32(num_bins)
            rows = x[(r - first) * num_bins : (r - first + 1) * num_bins]
            _distances(spacings[r], near[r], far[r], piecewise, distances[r - first])
            _unit_centres(origins[r], directions[r], distances[r - first], box, rows)
        encode_rows(x, 0, num_points, grid.table, grid.cells_per_axis, grid.table_size, enc)
        for block in range(0, num_points, _ROWS_PER_BLOCK):
            count = min(_ROWS_PER_BLOCK, enc.shape[0] - block)
            _hidden_layer(enc[block : block + count], network, hidden, count)
            _output_layer(hidden, network, count, raw[block : block + count])
        for r in range(first, last):
            through = raw[(r - first) * num_bins : (r - first + 1) * num_bins]
            for k in range(num_bins):
                length = distances[r - first, k + 1] - distances[r - first, k]
                through[k] = exp32(-scale * exp32(min(through[k], RAW_DENSITY_LIMIT)) * length)
            transmittance = _ONE
            for k in range(num_bins):
                weights[r, k] = transmittance * (_ONE - through[k])
                transmittance *= through[k]
            _resample(spacings[r], weights[r], anneal, jitter[r, 1], pdf, new_spacings[r])
            _distances(new_spacings[r], near[r], far[r], piecewise, new_distances[r])


@part
@no_type_check
def _interlevel_of_ray(field_spacings, field_weights, spacings, weights, gradient):
    """Loss of one ray (Barron et al. 2022, equations (12), (13)) and its gradient in the proposal weights."""
    num_bins, num_samples = weights.shape[0], field_weights.shape[0]
    loss, low, high = np.float32(0), 0, 0
    for j in range(num_bins):
        gradient[j] = np.float32(0)
    for k in range(num_samples):
        # Bins that overlap the sample: the last one that starts before it to the first one that ends behind it.
        while low < num_bins - 1 and spacings[low + 1] <= field_spacings[k]:
            low += 1
        high = max(high, low)
        while high < num_bins - 1 and spacings[high + 1] <= field_spacings[k + 1]:
            high += 1
        bound = np.float32(0)
        for j in range(low, high + 1):
            bound += weights[j]
        excess = max(field_weights[k] - bound, np.float32(0))
        loss += excess * excess / (field_weights[k] + _EPSILON)
        for j in range(low, high + 1):
            gradient[j] -= _TWO * excess / (field_weights[k] + _EPSILON)
    return loss


@kernel
@no_type_check
def interlevel(  # noqa: C901
    origins, directions, near, far, box, network, grid, scale, piecewise,
    spacings, weights, field_spacings, field_weights, losses, x, g_enc, g_network,
):  # fmt: skip
    """Interlevel loss [R] of each ray with its gradients: ``g_enc`` [R P, E] at the unit positions ``x`` [R P, 3].

    Gradients of the network are added to ``g_network``, one slice per slot. All are of the sum over rays and samples.
    """
    num_rays, num_bins = weights.shape
    num_features, width = network.w1.shape
    # In a parallel loop numba silently drops what is written to an array through a member of a tuple.
    g_w1, g_b1, g_w2, g_b2 = g_network
    no_bias = np.zeros(padded(num_features, 8), np.float32)
    w1_t = np.zeros((width, padded(num_features, 8)), np.float32)
    for i in range(num_features):
        for j in range(width):
            w1_t[j, i] = network.w1[i, j]
    num_slots, num_tiles = g_b1.shape[0], (num_rays + _RAYS_PER_TILE - 1) // _RAYS_PER_TILE
    for slot in prange(num_slots):
        for tile in range(slot * num_tiles // num_slots, (slot + 1) * num_tiles // num_slots):
            first, last = tile * _RAYS_PER_TILE, min(num_rays, (tile + 1) * _RAYS_PER_TILE)
            rows_of_ray = padded(num_bins, 4)
            enc = np.zeros(((last - first) * num_bins, num_features), np.float32)
            distances = np.empty((_RAYS_PER_TILE, num_bins + 1), np.float32)
            ray_enc = np.zeros((rows_of_ray, num_features), np.float32)
            hidden, raw = np.empty((rows_of_ray, width), np.float32), np.empty(rows_of_ray, np.float32)
            g_hidden = np.zeros((rows_of_ray, width), np.float32)
            g_rows = np.empty((rows_of_ray, w1_t.shape[1]), np.float32)
            transmittances, g_weights = np.empty(num_bins + 1, np.float32), np.empty(num_bins, np.float32)
            for r in range(first, last):
                rows = x[r * num_bins : (r + 1) * num_bins]
                _distances(spacings[r], near[r], far[r], piecewise, distances[r - first])
                _unit_centres(origins[r], directions[r], distances[r - first], box, rows)
            tile_x = x[first * num_bins : last * num_bins]
            encode_rows(tile_x, 0, tile_x.shape[0], grid.table, grid.cells_per_axis, grid.table_size, enc)
            for r in range(first, last):
                losses[r] = _interlevel_of_ray(field_spacings[r], field_weights[r], spacings[r], weights[r], g_weights)
                for k in range(num_bins):
                    for i in range(num_features):
                        ray_enc[k, i] = enc[(r - first) * num_bins + k, i]
                _hidden_layer(ray_enc, network, hidden, rows_of_ray)
                _output_layer(hidden, network, rows_of_ray, raw)
                transmittances[0] = _ONE
                for k in range(num_bins):
                    transmittances[k + 1] = transmittances[k] - weights[r, k]
                later_sum = np.float32(0)
                for k in range(num_bins - 1, -1, -1):
                    g_optical = g_weights[k] * transmittances[k + 1] - later_sum
                    later_sum += g_weights[k] * weights[r, k]
                    length = distances[r - first, k + 1] - distances[r - first, k]
                    g_raw = g_optical * length * scale * exp32(min(raw[k], GRADIENT_RAW_DENSITY_LIMIT))
                    g_b2[slot, 0] += g_raw
                    for j in range(width):
                        g_w2[slot, j, 0] += g_raw * hidden[k, j]
                        g = g_raw * network.w2[j, 0] if hidden[k, j] > np.float32(0) else np.float32(0)
                        g_hidden[k, j] = g
                        g_b1[slot, j] += g
                add_outer(ray_enc, g_hidden, g_w1[slot], rows_of_ray)
                linear(g_hidden, w1_t, no_bias, g_rows, rows_of_ray)
                for k in range(num_bins):
                    for i in range(g_enc.shape[1]):
                        g_enc[r * num_bins + k, i] = g_rows[k, i]
