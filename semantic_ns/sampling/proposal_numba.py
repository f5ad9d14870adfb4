"""Proposal sampling of whole rays as one CPU kernel, forward only.

The result equals nerfstudio's ``ProposalNetworkSampler`` with one proposal network: spaced bins, density of the
proposal network at their centres, weights, inverse-CDF resampling (Barron et al. 2022, section 3). The gradient of the
proposal network takes nerfstudio's own torch path.

Symbols: R rays, P proposal samples, S field samples; ``s`` are normalised spacings in [0, 1], ``t`` distances in scene
units. ``jitter`` [R, 2] holds one uniform draw per ray for each stage; a negative value means no jitter.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit, prange

from semantic_ns.encodings.hash_grid_numba import encode_rows

_RAYS_PER_TILE = 8
_HISTOGRAM_PADDING = np.float32(0.01)
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


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
@no_type_check
def propose(
    origins, directions, near, far, jitter, box, network, table, scalings, table_size, scale, anneal, piecewise,
    s_edges, weights, s_new, t_new,
):  # fmt: skip
    """Fill ``s_edges`` [R, P+1], ``weights`` [R, P] of the proposal and the field's edges ``s_new, t_new`` [R, S+1]."""
    contract, low, size = box
    w1, b1, w2, b2 = network
    num_rays, num_bins = weights.shape
    num_tiles = (num_rays + _RAYS_PER_TILE - 1) // _RAYS_PER_TILE
    num_features, width = w1.shape
    for tile in prange(num_tiles):
        first, last = tile * _RAYS_PER_TILE, min(num_rays, (tile + 1) * _RAYS_PER_TILE)
        x = np.empty((_RAYS_PER_TILE * num_bins, 3), np.float32)
        enc = np.empty((_RAYS_PER_TILE * num_bins, num_features), np.float32)
        hidden = np.empty(width, np.float32)
        t_edges = np.empty((_RAYS_PER_TILE, num_bins + 1), np.float32)
        for r in range(first, last):
            s_near, s_far = _spacing(near[r], piecewise), _spacing(far[r], piecewise)
            for k in range(num_bins + 1):
                edge = np.float32(k)
                if jitter[r, 0] >= 0:
                    lower = np.float32(0) if k == 0 else np.float32(k) - _HALF
                    upper = np.float32(num_bins) if k == num_bins else np.float32(k) + _HALF
                    edge = lower + (upper - lower) * jitter[r, 0]
                s_edges[r, k] = edge / np.float32(num_bins)
                t_edges[r - first, k] = _distance(s_edges[r, k] * s_far + (_ONE - s_edges[r, k]) * s_near, piecewise)
            p = np.empty(3, np.float32)
            for k in range(num_bins):
                t = (t_edges[r - first, k] + t_edges[r - first, k + 1]) * _HALF
                for axis in range(3):
                    p[axis] = origins[r, axis] + t * directions[r, axis]
                _contract_to_unit(p, contract, low, size)
                for axis in range(3):
                    x[(r - first) * num_bins + k, axis] = p[axis]
        encode_rows(x, 0, (last - first) * num_bins, table, scalings, table_size, enc)
        for r in range(first, last):
            transmittance = _ONE
            s_near, s_far = _spacing(near[r], piecewise), _spacing(far[r], piecewise)
            for k in range(num_bins):
                n = (r - first) * num_bins + k
                for j in range(width):
                    hidden[j] = b1[j]
                for i in range(num_features):
                    for j in range(width):
                        hidden[j] += enc[n, i] * w1[i, j]
                raw = b2[0]
                for j in range(width):
                    raw += max(hidden[j], np.float32(0)) * w2[j, 0]
                delta = t_edges[r - first, k + 1] - t_edges[r - first, k]
                through = np.float32(math.exp(-scale * np.float32(math.exp(raw)) * delta))
                weights[r, k] = transmittance * (_ONE - through)
                transmittance *= through
            _resample(s_edges[r], weights[r], anneal, jitter[r, 1], s_new[r])
            for i in range(s_new.shape[1]):
                t_new[r, i] = _distance(s_new[r, i] * s_far + (_ONE - s_new[r, i]) * s_near, piecewise)
