"""Marching of rays through an occupancy grid that asks the field on the way and stops where no light arrives.

Rays go in tiles, and those of a tile in passes: each pass takes the next few samples of every ray that still has light,
so behind a surface nothing is evaluated, and the points of a pass are many enough to read the hash grid level by level.
The slow, obvious twin evaluates all samples and leaves out afterwards what ``packed_visibility`` does not keep.

Arguments shared by the kernels; see ``heads_numba`` for the network and ``occupancy_numba`` for the rest:

* ``bundle``, ``steps``, ``occupancy``      as ``march`` takes them
* ``grid``                                  ``GridArrays``
* ``limits``                                ``Limits`` of ``packed_rendering``
"""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.encodings.hash_grid_numba import encode_rows
from semantic_ns.kernels.compilation import kernel, part
from semantic_ns.kernels.exponential_numba import exp32
from semantic_ns.kernels.layers_numba import BLOCK, ROW_MULTIPLE, copy_rows
from semantic_ns.kernels.limits_numba import RAW_DENSITY_LIMIT
from semantic_ns.kernels.matrix_numba import padded
from semantic_ns.methods.semantic_ngp.heads_numba import (
    add_weighted,
    density_layers,
    head_layers,
    interval_transmittance,
)
from semantic_ns.methods.semantic_ngp.occupancy_numba import last_distance, next_samples

# A pass has at most so many points: their encodings and outputs stay in the second-level cache.
_POINTS = 1024
_RAYS_PER_TILE = 128
_LEAST_SAMPLES, _MOST_SAMPLES = 4, 16
_POINTS_PER_TASK = 2048
_QUARTER, _HALF, _ONE, _TWO = np.float32(0.25), np.float32(0.5), np.float32(1), np.float32(2)
_EPSILON = np.float32(1e-10)


@part
@no_type_check
def _to_unit_cube(px, py, pz, x):
    """Contraction of space (Barron et al. 2022, equation (10), largest coordinate as norm), then to [0, 1]."""
    norm = max(abs(px), abs(py), abs(pz))
    factor = _ONE if norm < _ONE else (_TWO - _ONE / norm) / norm
    x[0], x[1], x[2] = (px * factor + _TWO) * _QUARTER, (py * factor + _TWO) * _QUARTER, (pz * factor + _TWO) * _QUARTER


@part
@no_type_check
def _evaluate(x, count, grid, network, enc, h, out):
    """Encodings and outputs of the density network of ``count`` points."""
    encode_rows(x, 0, count, grid.table, grid.cells_per_axis, grid.table_size, enc)
    for begin in range(0, count, BLOCK):
        rows = padded(min(BLOCK, count - begin), ROW_MULTIPLE)
        density_layers(enc[begin : begin + rows], network, h, out[begin : begin + rows], rows)


@kernel
@no_type_check
def densities(points, grid, network, scale, sigma):
    """Densities ``sigma`` [N] of points [N, 3] in scene units."""
    for task in prange((points.shape[0] + _POINTS_PER_TASK - 1) // _POINTS_PER_TASK):
        begin = task * _POINTS_PER_TASK
        count = min(_POINTS_PER_TASK, points.shape[0] - begin)
        x = np.empty((_POINTS_PER_TASK, 3), np.float32)
        enc = np.zeros((_POINTS_PER_TASK, network.w1.shape[0]), np.float32)
        h = np.empty((BLOCK, network.w1.shape[1]), np.float32)
        out = np.empty((_POINTS_PER_TASK, network.w2.shape[1]), np.float32)
        for i in range(count):
            _to_unit_cube(points[begin + i, 0], points[begin + i, 1], points[begin + i, 2], x[i])
        _evaluate(x, count, grid, network, enc, h, out)
        for i in range(count):
            sigma[begin + i] = scale * exp32(min(out[i, 0], RAW_DENSITY_LIMIT))


@part
@no_type_check
def _start_rays(bundle, occupancy, begin, count, t, last):
    """Where the rays of a tile begin and end; one that misses the grid ends at -infinity."""
    for r in range(count):
        ray = begin + r
        t[r] = bundle.near[ray]
        last[r] = last_distance(
            bundle.origins[ray], bundle.directions[ray], occupancy.boxes[-1], np.float64(bundle.far[ray])
        )


@part
@no_type_check
def _next_pass(bundle, steps, occupancy, begin, live, num_live, t, last, is_over, sample_ray, edges, x):
    """The next samples of the live rays of a tile, ray by ray; returns their number."""
    limit = max(_LEAST_SAMPLES, min(_MOST_SAMPLES, _POINTS // num_live))
    total = 0
    for i in range(num_live):
        r = live[i]
        origin, direction = bundle.origins[begin + r], bundle.directions[begin + r]
        count, t[r] = next_samples(
            origin, direction, t[r], last[r], steps, occupancy, limit,
            edges[0, total : total + limit], edges[1, total : total + limit],
        )  # fmt: skip
        is_over[r] = count < limit
        for n in range(total, total + count):
            sample_ray[n] = r
            middle = (edges[0, n] + edges[1, n]) * _HALF
            _to_unit_cube(
                origin[0] + middle * direction[0], origin[1] + middle * direction[1], origin[2] + middle * direction[2],
                x[n],
            )  # fmt: skip
        total += count
    return total


@part
@no_type_check
def _mark_visible(sample_ray, edges, out, count, limits, transmittances, visible):
    """Whether each sample of a pass counts; ``transmittances`` of each ray are those behind all its samples so far."""
    for n in range(count):
        r = sample_ray[n]
        through = interval_transmittance(out[n, 0], edges[1, n] - edges[0, n], limits.density_scale)
        visible[n] = transmittances[r] >= limits.min_transmittance and _ONE - through >= limits.min_opacity
        transmittances[r] *= through


@part
@no_type_check
def _still_live(live, num_live, is_over, transmittances, min_transmittance):
    """Keep the rays with samples and light; returns their number."""
    kept = 0
    for i in range(num_live):
        r = live[i]
        if not is_over[r] and transmittances[r] >= min_transmittance:
            live[kept] = r
            kept += 1
    return kept


@kernel
@no_type_check
def collect(bundle, steps, occupancy, grid, network, limits, first, counts, edges, x, enc, hidden):
    """Visible samples of every ray, from ``first`` [R] on, with their number in ``counts`` [R].

    There is room for all samples of a ray in ``edges`` [M, 2], ``x`` [M, 3], ``enc`` [M, E] and ``hidden`` [M, G].
    """
    num_rays = counts.shape[0]
    for tile in prange((num_rays + _RAYS_PER_TILE - 1) // _RAYS_PER_TILE):
        begin = tile * _RAYS_PER_TILE
        num_live = min(_RAYS_PER_TILE, num_rays - begin)
        t, last = np.empty(num_live, np.float64), np.empty(num_live, np.float64)
        live, is_over = np.arange(num_live), np.zeros(num_live, np.bool_)
        transmittances = np.ones(num_live, np.float32)
        sample_ray, visible = np.empty(_POINTS, np.int64), np.empty(_POINTS, np.bool_)
        pass_edges, pass_x = np.empty((2, _POINTS), np.float32), np.empty((_POINTS, 3), np.float32)
        pass_enc = np.zeros((_POINTS, network.w1.shape[0]), np.float32)
        h, out = np.empty((BLOCK, network.w1.shape[1]), np.float32), np.empty((_POINTS, hidden.shape[1]), np.float32)
        _start_rays(bundle, occupancy, begin, num_live, t, last)
        while num_live > 0:
            count = _next_pass(
                bundle, steps, occupancy, begin, live, num_live, t, last, is_over, sample_ray, pass_edges, pass_x
            )
            _evaluate(pass_x, count, grid, network, pass_enc, h, out)
            _mark_visible(sample_ray, pass_edges, out, count, limits, transmittances, visible)
            for n in range(count):
                if visible[n]:
                    ray = begin + sample_ray[n]
                    row = first[ray] + counts[ray]
                    counts[ray] += 1
                    edges[row, 0], edges[row, 1] = pass_edges[0, n], pass_edges[1, n]
                    for axis in range(3):
                        x[row, axis] = pass_x[n, axis]
                    for j in range(enc.shape[1]):
                        enc[row, j] = pass_enc[n, j]
                    for j in range(hidden.shape[1]):
                        hidden[row, j] = out[n, j]
            num_live = _still_live(live, num_live, is_over, transmittances, limits.min_transmittance)


@kernel
@no_type_check
def close_gaps(first, packed_first, source, target):
    """Move the samples of every ray from ``first`` of ``source`` [M, C] to ``packed_first`` of ``target`` [N, C]."""
    for r in prange(packed_first.shape[0] - 1):
        for k in range(packed_first[r + 1] - packed_first[r]):
            for j in range(source.shape[1]):
                target[packed_first[r] + k, j] = source[first[r] + k, j]


@kernel
@no_type_check
def render(
    bundle, steps, occupancy, grid, network, limits, conditioning, rgb, sums, accumulation, expected, median
):  # fmt: skip
    """Add to ``rgb`` [R, 3], semantic ``sums`` [R, F], ``accumulation`` [R], weighted distance ``expected`` [R].

    ``median`` [R] receives the distance at which half of the light is gone, see ``rendering.median_distance``.
    """
    num_rays, width = conditioning.shape
    for tile in prange((num_rays + _RAYS_PER_TILE - 1) // _RAYS_PER_TILE):
        begin = tile * _RAYS_PER_TILE
        num_live = min(_RAYS_PER_TILE, num_rays - begin)
        t, last = np.empty(num_live, np.float64), np.empty(num_live, np.float64)
        live, is_over = np.arange(num_live), np.zeros(num_live, np.bool_)
        # That behind all samples decides what counts, that behind those which count is rendered.
        transmittances, rendered_transmittance = np.ones(num_live, np.float32), np.ones(num_live, np.float32)
        sample_ray, visible = np.empty(_POINTS, np.int64), np.empty(_POINTS, np.bool_)
        edges, x = np.empty((2, _POINTS), np.float32), np.empty((_POINTS, 3), np.float32)
        enc = np.zeros((_POINTS, network.w1.shape[0]), np.float32)
        h, out = np.empty((BLOCK, width), np.float32), np.empty((_POINTS, network.w2.shape[1]), np.float32)
        weights, rays, inputs = np.empty(_POINTS, np.float32), np.empty(_POINTS, np.int64), np.empty_like(out[:BLOCK])
        h2, zero = np.empty((BLOCK, width), np.float32), np.zeros(width, np.float32)
        color = np.empty((BLOCK, network.c3.shape[1]), np.float32)
        features = np.empty((BLOCK, sums.shape[1]), np.float32)
        _start_rays(bundle, occupancy, begin, num_live, t, last)
        while num_live > 0:
            count = _next_pass(bundle, steps, occupancy, begin, live, num_live, t, last, is_over, sample_ray, edges, x)
            _evaluate(x, count, grid, network, enc, h, out)
            _mark_visible(sample_ray, edges, out, count, limits, transmittances, visible)
            num_visible = 0
            for n in range(count):
                if visible[n]:
                    r, start, end = sample_ray[n], edges[0, n], edges[1, n]
                    through = interval_transmittance(out[n, 0], end - start, limits.density_scale)
                    weight, ray = rendered_transmittance[r] * (_ONE - through), begin + r
                    rendered_transmittance[r] *= through
                    expected[ray] += weight * (start + end) * _HALF
                    if accumulation[ray] < _HALF:
                        share = (_HALF - accumulation[ray]) / max(weight, _EPSILON)
                        median[ray] = start + min(max(share, np.float32(0)), _ONE) * (end - start)
                    accumulation[ray] += weight
                    weights[num_visible], rays[num_visible] = weight, ray
                    for j in range(out.shape[1]):
                        out[num_visible, j] = out[n, j]
                    num_visible += 1
            for start in range(0, num_visible, BLOCK):
                rows = min(BLOCK, num_visible - start)
                copy_rows(out, start, rows, inputs)
                head_layers(inputs, rays[start:], conditioning, network, zero, h, h2, color, features, rows)
                add_weighted(weights[start:], rays[start:], color, features, rows, rgb, sums)
            num_live = _still_live(live, num_live, is_over, transmittances, limits.min_transmittance)
