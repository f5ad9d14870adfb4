"""Multi-resolution hash grid on the CPU: numba kernels over nerfstudio's table layout.

Symbols, used by every kernel of this module:

* ``x`` [N, 3]       positions in [0, 1]
* ``table`` [L T, F] features, level-major, exactly nerfstudio's ``HashEncoding.hash_table``
* ``s`` [L]          cells per axis of each level (``HashEncoding.scalings``)
* ``y`` [N, L F]     encoded features, level-major

Mueller, Evans, Schied, Keller: Instant Neural Graphics Primitives, SIGGRAPH 2022, equations (2)-(4).
A point exactly on a grid line gives its upper neighbour the weight 0, so for values ``floor + 1`` and nerfstudio's
``ceil`` agree; for the gradient in the position they do not, and it takes ``ceil``.
"""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import inlined_part, kernel
from semantic_ns.kernels.pairs_numba import blend_pairs, prefetch_pair, spread_pair

# Points that one task encodes level by level: the level's table stays in the second-level cache meanwhile.
_CHUNK = 4096
# Points whose corners are computed together, in vector registers, before their features are fetched one by one.
_BLOCK = 64
_PRIME_Y = np.uint32(2654435761)
_PRIME_Z = np.uint32(805459861)
_ONE = np.uint32(1)


@inlined_part
@no_type_check
def _hash(ix, iy, iz, mask):
    """Equation (4): spatial hash of a grid vertex, modulo a power of two."""
    return (ix ^ (iy * _PRIME_Y) ^ (iz * _PRIME_Z)) & mask


@inlined_part
@no_type_check
def _corners(block, count, scale, mask, rows, shares):
    """Table rows and trilinear weights, [8, points] each, of the corners around the points ``block`` [3, points].

    Corner c lies at offset (c & 1, c >> 1 & 1, c >> 2). One loop without branches: it compiles to vector code.
    """
    for i in range(count):
        px, py, pz = block[0, i] * scale, block[1, i] * scale, block[2, i] * scale
        fx, fy, fz = np.floor(px), np.floor(py), np.floor(pz)
        wx, wy, wz = px - fx, py - fy, pz - fz
        vx, vy, vz = np.float32(1) - wx, np.float32(1) - wy, np.float32(1) - wz
        x0 = np.uint32(np.int32(fx))
        y0, z0 = np.uint32(np.int32(fy)) * _PRIME_Y, np.uint32(np.int32(fz)) * _PRIME_Z
        x1, y1, z1 = np.uint32(x0 + _ONE), np.uint32(y0 + _PRIME_Y), np.uint32(z0 + _PRIME_Z)
        edge00, edge10, edge01, edge11 = y0 ^ z0, y1 ^ z0, y0 ^ z1, y1 ^ z1
        rows[0, i], rows[1, i] = (x0 ^ edge00) & mask, (x1 ^ edge00) & mask
        rows[2, i], rows[3, i] = (x0 ^ edge10) & mask, (x1 ^ edge10) & mask
        rows[4, i], rows[5, i] = (x0 ^ edge01) & mask, (x1 ^ edge01) & mask
        rows[6, i], rows[7, i] = (x0 ^ edge11) & mask, (x1 ^ edge11) & mask
        share00, share10, share01, share11 = vy * vz, wy * vz, vy * wz, wy * wz
        shares[0, i], shares[1, i] = vx * share00, wx * share00
        shares[2, i], shares[3, i] = vx * share10, wx * share10
        shares[4, i], shares[5, i] = vx * share01, wx * share01
        shares[6, i], shares[7, i] = vx * share11, wx * share11


@inlined_part
@no_type_check
def _blend(rows, shares, count, level_table, y, first, column):
    """Equation (2): features of the eight corners by their weights, for one level of a block of points."""
    if level_table.shape[1] == 2:  # the usual case
        # Corners that differ in x alone lie in one line of the cache most of the time.
        for c in range(0, 8, 2):
            for i in range(count):
                prefetch_pair(level_table, rows[c, i])
        for i in range(count):
            blend_pairs(rows, shares, i, level_table, y, (first + i) * y.shape[1] + column)
        return
    for i in range(count):
        for f in range(level_table.shape[1]):
            a = np.float32(0)
            for c in range(8):
                a += shares[c, i] * level_table[np.uint64(rows[c, i]), f]
            y[first + i, column + f] = a


@inlined_part
@no_type_check
def encode_rows(x, first, last, table, s, table_size, y):
    """Encode the points ``first`` to ``last`` of ``x`` into the first rows of ``y``, level by level.

    Each level's table stays in the cache meanwhile.
    """
    mask = np.uint32(table_size - 1)
    rows, shares = np.empty((8, _BLOCK), np.uint32), np.empty((8, _BLOCK), np.float32)
    block = np.empty((3, _BLOCK), np.float32)
    for level in range(s.shape[0]):
        level_table, column = table[level * table_size : (level + 1) * table_size], level * table.shape[1]
        for start in range(first, last, _BLOCK):
            count = min(_BLOCK, last - start)
            for i in range(count):
                for axis in range(3):
                    block[axis, i] = x[start + i, axis]
            _corners(block, count, s[level], mask, rows, shares)
            _blend(rows, shares, count, level_table, y, start - first, column)


@kernel
@no_type_check
def encode(x, table, s, table_size, y):
    """Write the trilinear interpolation of every level into ``y``."""
    num_points = x.shape[0]
    for chunk in prange((num_points + _CHUNK - 1) // _CHUNK):
        first, last = chunk * _CHUNK, min(num_points, (chunk + 1) * _CHUNK)
        encode_rows(x, first, last, table, s, table_size, y[first:last])


@inlined_part
@no_type_check
def _gather_touched(x, y_gradient, start, stop, column, num_features, block, gradient):
    """Points with a gradient, and it, into ``block`` and ``gradient``; returns their number.

    Samples that no light reaches have none, and are many. What is not a number is not zero: a run that diverged must
    not look sound.
    """
    count = 0
    for n in range(start, stop):
        touched = False
        for f in range(num_features):
            gradient[count, f] = y_gradient[n, column + f]
            touched |= gradient[count, f] != np.float32(0)
        if touched:
            for axis in range(3):
                block[axis, count] = x[n, axis]
            count += 1
    return count


@inlined_part
@no_type_check
def _scatter(rows, shares, count, gradient, level_gradient):
    """Transpose of :func:`_blend`."""
    if level_gradient.shape[1] == 2:  # the usual case
        for i in range(count):
            spread_pair(rows, shares, i, level_gradient, gradient)
        return
    for i in range(count):
        for c in range(8):
            for f in range(level_gradient.shape[1]):
                level_gradient[np.uint64(rows[c, i]), f] += shares[c, i] * gradient[i, f]


@kernel
@no_type_check
def scatter_table_gradient(x, y_gradient, s, table_size, table_gradient):
    """Write d loss / d table into ``table_gradient``; levels run in parallel, so no two threads share a row.

    What was in it does not count: clearing a level's part just before it is summed brings it into the cache.
    """
    num_points, num_levels, num_features = x.shape[0], s.shape[0], table_gradient.shape[1]
    mask = np.uint32(table_size - 1)
    for slot in prange(num_levels):
        # Fine levels cost more, and neighbours go to one thread: first the even levels, then the odd ones.
        level = 2 * slot if 2 * slot < num_levels else 2 * slot - (num_levels - 1 + num_levels % 2)
        rows, shares = np.empty((8, _BLOCK), np.uint32), np.empty((8, _BLOCK), np.float32)
        block, gradient = np.empty((3, _BLOCK), np.float32), np.empty((_BLOCK + 1, num_features), np.float32)
        level_gradient, column = table_gradient[level * table_size : (level + 1) * table_size], level * num_features
        level_gradient[:] = np.float32(0)
        for start in range(0, num_points, _BLOCK):
            stop = min(start + _BLOCK, num_points)
            count = _gather_touched(x, y_gradient, start, stop, column, num_features, block, gradient)
            _corners(block, count, s[level], mask, rows, shares)
            _scatter(rows, shares, count, gradient, level_gradient)


@kernel
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
            cx, cy, cz = np.ceil(px), np.ceil(py), np.ceil(pz)
            x1, y1, z1 = np.uint32(np.int64(cx)), np.uint32(np.int64(cy)), np.uint32(np.int64(cz))
            for corner in range(8):
                bx, by, bz = corner & 1, (corner >> 1) & 1, (corner >> 2) & 1
                row = base + np.int64(_hash(x1 if bx else x0, y1 if by else y0, z1 if bz else z0, mask))
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
