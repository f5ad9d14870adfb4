"""Proposal sampling of whole rays, and the training of the proposal network, as one CPU kernel each.

The samples equal nerfstudio's ``ProposalNetworkSampler`` with one proposal network: spaced bins, density of the
proposal network at their centres, weights, inverse-CDF resampling (Barron et al. 2022, section 3); the loss equals its
``interlevel_loss``.

Symbols: R rays, P proposal samples, S field samples; ``s`` are normalised spacings in [0, 1], ``t`` distances in scene
units. ``jitter`` [R, 2] holds one uniform draw per ray for each stage; a negative value means no jitter.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit, prange
from numba.np.ufunc.parallel import get_thread_id

from semantic_ns.encodings.hash_grid_numba import encode_rows

_RAYS_PER_TILE = 8
_HISTOGRAM_PADDING = np.float32(0.01)
_RAW_DENSITY_LIMIT = np.float32(15.0)
_EPSILON = np.float32(1e-7)
_HALF, _ONE, _TWO = np.float32(0.5), np.float32(1), np.float32(2)


@njit(fastmath=True, cache=True)
@no_type_check
def _spacing(t, piecewise):
    """Distance to spacing: linear up to 1, linear in disparity beyond (or linear throughout)."""
    if not piecewise:
        return t
    return t * _HALF if t < _ONE else _ONE - _HALF / t


@njit(fastmath=True, cache=True)
@no_type_check
def _distance(spacing, piecewise):
    if not piecewise:
        return spacing
    return spacing * _TWO if spacing < _HALF else _HALF / (_ONE - spacing)


@njit(fastmath=True, cache=True)
@no_type_check
def _contract_to_unit(p, contract, low, size):
    """Scene position to the unit cube, in place: L-infinity contraction (Barron et al. 2022, equation (10))."""
    if contract:
        norm = max(abs(p[0]), abs(p[1]), abs(p[2]))
        factor = _ONE if norm < _ONE else (_TWO - _ONE / norm) / norm
        for axis in range(3):
            p[axis] = (p[axis] * factor + _TWO) * np.float32(0.25)
    else:
        for axis in range(3):
            p[axis] = (p[axis] - low[axis]) / size[axis]


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
@no_type_check
def unit_positions(origins, directions, t_edges, contract, low, size, x):
    """Centres of the intervals of every ray in the unit cube, ``x`` [R S, 3]."""
    num_rays, num_samples = t_edges.shape[0], t_edges.shape[1] - 1
    for r in prange(num_rays):
        p = np.empty(3, np.float32)
        for k in range(num_samples):
            t = (t_edges[r, k] + t_edges[r, k + 1]) * _HALF
            for axis in range(3):
                p[axis] = origins[r, axis] + t * directions[r, axis]
            _contract_to_unit(p, contract, low, size)
            for axis in range(3):
                x[r * num_samples + k, axis] = p[axis]


@njit(fastmath=True, cache=True)
@no_type_check
def _resample(s_edges, weights, anneal, jitter, new_edges):
    """Invert the padded cumulative distribution at evenly spaced values (nerfstudio's ``PDFSampler``)."""
    num_bins, num_edges = weights.shape[0], new_edges.shape[0]
    total = np.float32(0)
    pdf = np.empty(num_bins, np.float32)
    for k in range(num_bins):
        pdf[k] = weights[k] ** anneal + _HISTOGRAM_PADDING
        total += pdf[k]
    offset = jitter if jitter >= 0 else _HALF
    k, below = 0, np.float32(0)
    for i in range(num_edges):
        u = (np.float32(i) + offset) / np.float32(num_edges)
        while k < num_bins - 1 and below + pdf[k] / total <= u:
            below += pdf[k] / total
            k += 1
        fraction = min(max((u - below) / (pdf[k] / total), np.float32(0)), _ONE)
        new_edges[i] = s_edges[k] + fraction * (s_edges[k + 1] - s_edges[k])


@njit(fastmath=True, cache=True)
@no_type_check
def _place_bins(origin, direction, near, far, piecewise, box, s_edges, t_edges, x):
    """Bin edges of one ray as distances, and its bin centres in the unit cube."""
    contract, low, size = box
    s_near, s_far = _spacing(near, piecewise), _spacing(far, piecewise)
    for k in range(s_edges.shape[0]):
        t_edges[k] = _distance(s_edges[k] * s_far + (_ONE - s_edges[k]) * s_near, piecewise)
    p = np.empty(3, np.float32)
    for k in range(s_edges.shape[0] - 1):
        t = (t_edges[k] + t_edges[k + 1]) * _HALF
        for axis in range(3):
            p[axis] = origin[axis] + t * direction[axis]
        _contract_to_unit(p, contract, low, size)
        for axis in range(3):
            x[k, axis] = p[axis]


@njit(fastmath=True, cache=True)
@no_type_check
def _raw_density(enc, network, hidden):
    """The proposal network at one point; ``hidden`` receives its hidden layer after the ReLU."""
    w1, b1, w2, b2 = network
    for j in range(w1.shape[1]):
        hidden[j] = b1[j]
    for i in range(w1.shape[0]):
        for j in range(w1.shape[1]):
            hidden[j] += enc[i] * w1[i, j]
    raw = b2[0]
    for j in range(w1.shape[1]):
        hidden[j] = max(hidden[j], np.float32(0))
        raw += hidden[j] * w2[j, 0]
    return raw


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
@no_type_check
def propose(
    origins, directions, near, far, jitter, box, network, table, scalings, table_size, scale, anneal, piecewise,
    s_edges, weights, s_new, t_new,
):  # fmt: skip
    """Fill ``s_edges`` [R, P+1], ``weights`` [R, P] of the proposal and the field's edges ``s_new, t_new`` [R, S+1]."""
    num_rays, num_bins = weights.shape
    num_features, width = network[0].shape
    for tile in prange((num_rays + _RAYS_PER_TILE - 1) // _RAYS_PER_TILE):
        first, last = tile * _RAYS_PER_TILE, min(num_rays, (tile + 1) * _RAYS_PER_TILE)
        x = np.empty((_RAYS_PER_TILE * num_bins, 3), np.float32)
        enc = np.empty((_RAYS_PER_TILE * num_bins, num_features), np.float32)
        hidden = np.empty(width, np.float32)
        t_edges = np.empty((_RAYS_PER_TILE, num_bins + 1), np.float32)
        for r in range(first, last):
            for k in range(num_bins + 1):
                edge = np.float32(k)
                if jitter[r, 0] >= 0:
                    lower = np.float32(0) if k == 0 else np.float32(k) - _HALF
                    upper = np.float32(num_bins) if k == num_bins else np.float32(k) + _HALF
                    edge = lower + (upper - lower) * jitter[r, 0]
                s_edges[r, k] = edge / np.float32(num_bins)
            rows = x[(r - first) * num_bins : (r - first + 1) * num_bins]
            _place_bins(
                origins[r], directions[r], near[r], far[r], piecewise, box, s_edges[r], t_edges[r - first], rows
            )
        encode_rows(x, 0, (last - first) * num_bins, table, scalings, table_size, enc)
        for r in range(first, last):
            transmittance = _ONE
            for k in range(num_bins):
                raw = _raw_density(enc[(r - first) * num_bins + k], network, hidden)
                delta = t_edges[r - first, k + 1] - t_edges[r - first, k]
                through = np.float32(math.exp(-scale * np.float32(math.exp(raw)) * delta))
                weights[r, k] = transmittance * (_ONE - through)
                transmittance *= through
            _resample(s_edges[r], weights[r], anneal, jitter[r, 1], s_new[r])
            s_near, s_far = _spacing(near[r], piecewise), _spacing(far[r], piecewise)
            for i in range(s_new.shape[1]):
                t_new[r, i] = _distance(s_new[r, i] * s_far + (_ONE - s_new[r, i]) * s_near, piecewise)


@njit(fastmath=True, cache=True)
@no_type_check
def _interlevel_of_ray(s_field, w_field, s_edges, weights, gradient):
    """Loss of one ray (Barron et al. 2022, equations (12), (13)) and its gradient in the proposal weights."""
    num_bins, num_samples = weights.shape[0], w_field.shape[0]
    loss, low, high = np.float32(0), 0, 0
    for j in range(num_bins):
        gradient[j] = np.float32(0)
    for k in range(num_samples):
        # Bins that overlap the sample: the last one that starts before it to the first one that ends behind it.
        while low < num_bins - 1 and s_edges[low + 1] <= s_field[k]:
            low += 1
        high = max(high, low)
        while high < num_bins - 1 and s_edges[high + 1] <= s_field[k + 1]:
            high += 1
        bound = np.float32(0)
        for j in range(low, high + 1):
            bound += weights[j]
        excess = max(w_field[k] - bound, np.float32(0))
        loss += excess * excess / (w_field[k] + _EPSILON)
        for j in range(low, high + 1):
            gradient[j] -= _TWO * excess / (w_field[k] + _EPSILON)
    return loss


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
@no_type_check
def interlevel(
    origins, directions, near, far, box, network, table, scalings, table_size, scale, piecewise,
    s_edges, weights, s_field, w_field, losses, x, g_enc, g_network,
):  # fmt: skip
    """Interlevel loss [R] of each ray with its gradients: ``g_enc`` [R P, E] at the unit positions ``x`` [R P, 3].

    Gradients of the network are added to ``g_network``, one slice per thread. All are of the sum over rays and samples.
    """
    w1, _, w2, _ = network
    g_w1, g_b1, g_w2, g_b2 = g_network
    num_rays, num_bins = weights.shape
    num_features, width = w1.shape
    for tile in prange((num_rays + _RAYS_PER_TILE - 1) // _RAYS_PER_TILE):
        thread = get_thread_id()
        first, last = tile * _RAYS_PER_TILE, min(num_rays, (tile + 1) * _RAYS_PER_TILE)
        enc = np.empty((_RAYS_PER_TILE * num_bins, num_features), np.float32)
        t_edges = np.empty((_RAYS_PER_TILE, num_bins + 1), np.float32)
        hidden, raw = np.empty((num_bins, width), np.float32), np.empty(num_bins, np.float32)
        light, g_weights = np.empty(num_bins + 1, np.float32), np.empty(num_bins, np.float32)
        for r in range(first, last):
            rows = x[r * num_bins : (r + 1) * num_bins]
            _place_bins(
                origins[r], directions[r], near[r], far[r], piecewise, box, s_edges[r], t_edges[r - first], rows
            )
        tile_x = x[first * num_bins : last * num_bins]
        encode_rows(tile_x, 0, tile_x.shape[0], table, scalings, table_size, enc)
        for r in range(first, last):
            losses[r] = _interlevel_of_ray(s_field[r], w_field[r], s_edges[r], weights[r], g_weights)
            light[0] = _ONE
            for k in range(num_bins):
                raw[k] = _raw_density(enc[(r - first) * num_bins + k], network, hidden[k])
                light[k + 1] = light[k] - weights[r, k]
            behind = np.float32(0)
            for k in range(num_bins - 1, -1, -1):
                n = (r - first) * num_bins + k
                g_optical = g_weights[k] * light[k + 1] - behind
                behind += g_weights[k] * weights[r, k]
                delta = t_edges[r - first, k + 1] - t_edges[r - first, k]
                g_raw = g_optical * delta * scale * np.float32(math.exp(min(raw[k], _RAW_DENSITY_LIMIT)))
                g_b2[thread, 0] += g_raw
                for i in range(num_features):
                    g_enc[r * num_bins + k, i] = np.float32(0)
                if g_raw == np.float32(0):
                    continue
                for j in range(width):
                    g_w2[thread, j, 0] += g_raw * hidden[k, j]
                    g_hidden = g_raw * w2[j, 0] if hidden[k, j] > np.float32(0) else np.float32(0)
                    g_b1[thread, j] += g_hidden
                    for i in range(num_features):
                        g_w1[thread, i, j] += enc[n, i] * g_hidden
                        g_enc[r * num_bins + k, i] += g_hidden * w1[i, j]
