"""Multi-resolution hash grid on the CPU: numba kernels over nerfstudio's table layout.

Symbols, used by every kernel of this module:

* ``x`` [N, 3]       positions in [0, 1]
* ``table`` [L T, F] features, level-major, exactly nerfstudio's ``HashEncoding.hash_table``
* ``s`` [L]          cells per axis of each level (``HashEncoding.scalings``)
* ``y`` [N, L F]     encoded features, level-major

Mueller, Evans, Schied, Keller: Instant Neural Graphics Primitives, SIGGRAPH 2022, equations (2)-(4).
A point exactly on a grid line gives its upper neighbour the weight 0, so ``floor + 1`` and nerfstudio's ``ceil`` agree.
"""

from typing import no_type_check

import numpy as np
from numba import njit, prange

# Points that one task encodes level by level: the level's table stays in the second-level cache meanwhile.
_CHUNK = 2048
_PRIME_Y = np.uint32(2654435761)
_PRIME_Z = np.uint32(805459861)
_ONE = np.uint32(1)


@njit(cache=True)
@no_type_check
def _hash(ix, iy, iz, mask):
    """Equation (4): spatial hash of a grid vertex, modulo a power of two."""
    return (ix ^ (iy * _PRIME_Y) ^ (iz * _PRIME_Z)) & mask


@njit(fastmath=True, cache=True)
@no_type_check
def _cell(x, n, scale, base, mask):
    """Table rows of the eight corners around a point, x fastest, and its weights: along x, and of the four x-edges."""
    px, py, pz = x[n, 0] * scale, x[n, 1] * scale, x[n, 2] * scale
    fx, fy, fz = np.floor(px), np.floor(py), np.floor(pz)
    wx, wy, wz = px - fx, py - fy, pz - fz
    x0, y0, z0 = np.uint32(np.int64(fx)), np.uint32(np.int64(fy)), np.uint32(np.int64(fz))
    x1 = x0 + _ONE
    hy0, hy1 = y0 * _PRIME_Y, (y0 + _ONE) * _PRIME_Y
    hz0, hz1 = z0 * _PRIME_Z, (z0 + _ONE) * _PRIME_Z
    rows = (
        base + np.int64((x0 ^ hy0 ^ hz0) & mask),
        base + np.int64((x1 ^ hy0 ^ hz0) & mask),
        base + np.int64((x0 ^ hy1 ^ hz0) & mask),
        base + np.int64((x1 ^ hy1 ^ hz0) & mask),
        base + np.int64((x0 ^ hy0 ^ hz1) & mask),
        base + np.int64((x1 ^ hy0 ^ hz1) & mask),
        base + np.int64((x0 ^ hy1 ^ hz1) & mask),
        base + np.int64((x1 ^ hy1 ^ hz1) & mask),
    )
    vy, vz = np.float32(1) - wy, np.float32(1) - wz
    return rows, wx, (vy * vz, wy * vz, vy * wz, wy * wz)


@njit(fastmath=True, cache=True)
@no_type_check
def _interpolate(x, n, scale, base, mask, table, y, column):
    """One level of one point: equation (2) at the eight corners, blended trilinearly."""
    rows, wx, edges = _cell(x, n, scale, base, mask)
    for f in range(table.shape[1]):
        low = table[rows[0], f] * edges[0] + table[rows[2], f] * edges[1]
        low += table[rows[4], f] * edges[2] + table[rows[6], f] * edges[3]
        high = table[rows[1], f] * edges[0] + table[rows[3], f] * edges[1]
        high += table[rows[5], f] * edges[2] + table[rows[7], f] * edges[3]
        y[n, column + f] = (np.float32(1) - wx) * low + wx * high


@njit(fastmath=True, cache=True)
@no_type_check
def encode_rows(x, first, last, table, s, table_size, y):
    """Encode the points ``first`` to ``last`` level by level: each level's table stays in the cache meanwhile."""
    mask = np.uint32(table_size - 1)
    for level in range(s.shape[0]):
        for n in range(first, last):
            _interpolate(x, n, s[level], level * table_size, mask, table, y, level * table.shape[1])


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
@no_type_check
def encode(x, table, s, table_size, y):
    """Write the trilinear interpolation of every level into ``y``."""
    num_points = x.shape[0]
    for chunk in prange((num_points + _CHUNK - 1) // _CHUNK):
        encode_rows(x, chunk * _CHUNK, min(num_points, (chunk + 1) * _CHUNK), table, s, table_size, y)


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
@no_type_check
def scatter_table_gradient(x, y_gradient, s, table_size, table_gradient):
    """Add d loss / d table to ``table_gradient``; levels run in parallel, so no two threads share a row."""
    num_points, num_levels, num_features = x.shape[0], s.shape[0], table_gradient.shape[1]
    mask = np.uint32(table_size - 1)
    for level in prange(num_levels):
        scale, base = s[level], level * table_size
        for n in range(num_points):
            # Samples that no light reaches have no gradient, and are many.
            touched = False
            for f in range(num_features):
                touched |= y_gradient[n, level * num_features + f] != np.float32(0)
            if not touched:
                continue
            rows, wx, edges = _cell(x, n, scale, base, mask)
            for f in range(num_features):
                g = y_gradient[n, level * num_features + f]
                low, high = g * (np.float32(1) - wx), g * wx
                table_gradient[rows[0], f] += low * edges[0]
                table_gradient[rows[1], f] += high * edges[0]
                table_gradient[rows[2], f] += low * edges[1]
                table_gradient[rows[3], f] += high * edges[1]
                table_gradient[rows[4], f] += low * edges[2]
                table_gradient[rows[5], f] += high * edges[2]
                table_gradient[rows[6], f] += low * edges[3]
                table_gradient[rows[7], f] += high * edges[3]


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
@no_type_check
def position_gradient(x, table, y_gradient, s, table_size, x_gradient):
    """Write d loss / d x; needed for normals and camera optimisation only."""
    num_points, num_levels, num_features = x.shape[0], s.shape[0], table.shape[1]
    mask = np.uint32(table_size - 1)
    for n in prange(num_points):
        gx, gy, gz = np.float32(0), np.float32(0), np.float32(0)
        for level in range(num_levels):
            scale, base = s[level], level * table_size
            px, py, pz = x[n, 0] * scale, x[n, 1] * scale, x[n, 2] * scale
            fx, fy, fz = np.floor(px), np.floor(py), np.floor(pz)
            wx, wy, wz = px - fx, py - fy, pz - fz
            x0, y0, z0 = np.uint32(np.int64(fx)), np.uint32(np.int64(fy)), np.uint32(np.int64(fz))
            for corner in range(8):
                bx, by, bz = corner & 1, (corner >> 1) & 1, (corner >> 2) & 1
                row = base + np.int64(_hash(x0 + np.uint32(bx), y0 + np.uint32(by), z0 + np.uint32(bz), mask))
                value = np.float32(0)
                for f in range(num_features):
                    value += table[row, f] * y_gradient[n, level * num_features + f]
                ax = wx if bx else np.float32(1) - wx
                ay = wy if by else np.float32(1) - wy
                az = wz if bz else np.float32(1) - wz
                gx += scale * value * ay * az * (np.float32(1) if bx else np.float32(-1))
                gy += scale * value * ax * az * (np.float32(1) if by else np.float32(-1))
                gz += scale * value * ax * ay * (np.float32(1) if bz else np.float32(-1))
        x_gradient[n, 0], x_gradient[n, 1], x_gradient[n, 2] = gx, gy, gz
