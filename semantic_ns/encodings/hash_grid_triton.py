# ruff: noqa: PLR0913, PLR0917  -- a kernel takes every array it touches and what is known of its layout
"""Multi-resolution hash grid on the GPU: Triton kernels over nerfstudio's table layout.

Symbols as in the numba twin (``hash_grid_numba``):

* ``x`` [N, 3]       positions in [0, 1], contiguous
* ``table`` [L T, F] features, level-major, exactly nerfstudio's ``HashEncoding.hash_table``, contiguous
* ``scalings`` [L]   cells per axis of each level (``HashEncoding.scalings``)
* ``y`` [N, L F]     encoded features, level-major, of any strides

Mueller, Evans, Schied, Keller: Instant Neural Graphics Primitives, SIGGRAPH 2022, equations (2)-(4). Corners lie at
``floor`` and ``ceil``, as in nerfstudio, so that the position gradient agrees on the grid lines too. Sums are made in
single precision whatever the table's type. The table gradient is added atomically: its last bits vary from run to run.
"""

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Float32
from torch import Tensor

_PRIME_Y = tl.constexpr(2654435761)
_PRIME_Z = tl.constexpr(805459861)

# Points per program: one per thread. Its eight gathers do not wait for one another, which with the many warps that so
# few registers allow hides the latency of the second-level cache; and small blocks are more often without a gradient.
# Chosen from the compiler's report (32 registers, no spills, at two features), not by timing.
_BLOCK = 128
_WARPS = 4


@triton.jit
@no_type_check
def _axis(x, points, inside, scale, AXIS: tl.constexpr):
    """Lower and upper grid vertex along an axis, and the weight of the upper."""
    position = tl.load(x + points * 3 + AXIS, mask=inside, other=0.0) * scale
    low = tl.floor(position)
    return low.to(tl.int32).to(tl.uint32), tl.ceil(position).to(tl.int32).to(tl.uint32), position - low


@triton.jit
@no_type_check
def _cell(x, points, inside, scale):
    """For each axis, the terms of equation (4) below and above the points, and the weight of those above."""
    x0, x1, wx = _axis(x, points, inside, scale, 0)
    y0, y1, wy = _axis(x, points, inside, scale, 1)
    z0, z1, wz = _axis(x, points, inside, scale, 2)
    return x0, x1, wx, y0 * _PRIME_Y, y1 * _PRIME_Y, wy, z0 * _PRIME_Z, z1 * _PRIME_Z, wz


@triton.jit
@no_type_check
def _side(low, high, weight, UPPER: tl.constexpr):
    """Hash term and weight of one side of the cell along an axis."""
    if UPPER:
        term, share = high, weight
    else:
        term, share = low, 1.0 - weight
    return term, share


@triton.jit
@no_type_check
def _corner(x0, x1, wx, y0, y1, wy, z0, z1, wz, CORNER: tl.constexpr, TABLE_SIZE: tl.constexpr, FEATURES: tl.constexpr):
    """Where a corner's features lie in its level's table [BLOCK, FEATURES], and its weight along each axis [BLOCK].

    Bit d of the corner's number says that it is the upper one along axis d. The offset is a multiple of FEATURES plus
    the feature, which tells the compiler that a row can be read as one vector.
    """
    hx, ax = _side(x0, x1, wx, CORNER & 1)
    hy, ay = _side(y0, y1, wy, (CORNER >> 1) & 1)
    hz, az = _side(z0, z1, wz, CORNER >> 2)
    row = (hx ^ hy ^ hz) & (TABLE_SIZE - 1)
    return row[:, None] * FEATURES + tl.arange(0, FEATURES)[None, :], ax, ay, az


@triton.jit
@no_type_check
def _points(num_points, BLOCK: tl.constexpr):
    """Numbers of this program's points, in 64 bits since a stride multiplies them, and which of them exist."""
    points = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return points, points < num_points


@triton.jit
@no_type_check
def _columns(level, FEATURES: tl.constexpr):
    """Columns of a level in ``y``, 64 bits wide."""
    return (level * FEATURES + tl.arange(0, FEATURES)).to(tl.int64)


@triton.jit(do_not_specialize=["num_points"])
@no_type_check
def encode_kernel(
    x,
    table,
    scalings,
    y,
    num_points,
    row_stride,
    column_stride,
    TABLE_SIZE: tl.constexpr,
    FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One level of one block of points: equation (2) at the eight corners, blended trilinearly."""
    level = tl.program_id(1)
    points, inside = _points(num_points, BLOCK)
    x0, x1, wx, y0, y1, wy, z0, z1, wz = _cell(x, points, inside, tl.load(scalings + level))
    table += level.to(tl.int64) * TABLE_SIZE * FEATURES
    value = tl.zeros([BLOCK, FEATURES], tl.float32)
    for corner in tl.static_range(8):
        offset, ax, ay, az = _corner(x0, x1, wx, y0, y1, wy, z0, z1, wz, corner, TABLE_SIZE, FEATURES)
        features = tl.load(table + offset, mask=inside[:, None], other=0.0).to(tl.float32)
        value += features * (ax * ay * az)[:, None]
    place = y + points[:, None] * row_stride + _columns(level, FEATURES)[None, :] * column_stride
    # What is written here is not read again soon; the table in the same cache is.
    tl.store(place, value, mask=inside[:, None], eviction_policy="evict_first")


@triton.jit(do_not_specialize=["num_points"])
@no_type_check
def scatter_kernel(
    x,
    y_gradient,
    scalings,
    table_gradient,
    num_points,
    row_stride,
    column_stride,
    TABLE_SIZE: tl.constexpr,
    FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add one level's gradient of one block of points to ``table_gradient``."""
    level = tl.program_id(1)
    points, inside = _points(num_points, BLOCK)
    place = y_gradient + points[:, None] * row_stride + _columns(level, FEATURES)[None, :] * column_stride
    gradient = tl.load(place, mask=inside[:, None], other=0.0, eviction_policy="evict_first").to(tl.float32)
    # Samples that no light reaches have no gradient, are many, and lie together behind surfaces. Not "> 0": NaN counts.
    touched = tl.max((gradient != 0.0).to(tl.int32), axis=1)
    if tl.max(touched, axis=0) > 0:
        x0, x1, wx, y0, y1, wy, z0, z1, wz = _cell(x, points, inside, tl.load(scalings + level))
        table_gradient += level.to(tl.int64) * TABLE_SIZE * FEATURES
        for corner in tl.static_range(8):
            offset, ax, ay, az = _corner(x0, x1, wx, y0, y1, wy, z0, z1, wz, corner, TABLE_SIZE, FEATURES)
            share = gradient * (ax * ay * az)[:, None]
            # Nothing in this kernel reads what others add, so the additions need no order among other accesses.
            tl.atomic_add(table_gradient + offset, share, mask=(touched > 0)[:, None], sem="relaxed")


@triton.jit(do_not_specialize=["num_points"])
@no_type_check
def position_kernel(
    x,
    table,
    y_gradient,
    scalings,
    x_gradient,
    num_points,
    row_stride,
    column_stride,
    num_levels,
    TABLE_SIZE: tl.constexpr,
    FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradient of one block of points, over all levels: a sum in registers, which needs no atomics."""
    points, inside = _points(num_points, BLOCK)
    gx = tl.zeros([BLOCK], tl.float32)
    gy = tl.zeros([BLOCK], tl.float32)
    gz = tl.zeros([BLOCK], tl.float32)
    for level in range(num_levels):
        scale = tl.load(scalings + level)
        x0, x1, wx, y0, y1, wy, z0, z1, wz = _cell(x, points, inside, scale)
        place = y_gradient + points[:, None] * row_stride + _columns(level, FEATURES)[None, :] * column_stride
        gradient = tl.load(place, mask=inside[:, None], other=0.0).to(tl.float32) * scale
        for corner in tl.static_range(8):
            offset, ax, ay, az = _corner(x0, x1, wx, y0, y1, wy, z0, z1, wz, corner, TABLE_SIZE, FEATURES)
            features = tl.load(table + offset, mask=inside[:, None], other=0.0).to(tl.float32)
            value = tl.sum(features * gradient, axis=1)
            # A weight grows with the position on the upper side and shrinks on the lower.
            gx += value * ay * az * (2 * (corner & 1) - 1)
            gy += value * ax * az * (2 * ((corner >> 1) & 1) - 1)
            gz += value * ax * ay * (2 * (corner >> 2) - 1)
        table += TABLE_SIZE * FEATURES
    tl.store(x_gradient + points * 3, gx, mask=inside)
    tl.store(x_gradient + points * 3 + 1, gy, mask=inside)
    tl.store(x_gradient + points * 3 + 2, gz, mask=inside)


def is_interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter: ``TRITON_INTERPRET=1`` was set when this module was loaded."""
    return not isinstance(encode_kernel, triton.JITFunction)


def _launch(kernel: Any, levels: int, x: Tensor, *arguments: Any) -> None:
    """Run a kernel over blocks of points and levels, on the tensors' device, which need not be the current one.

    Blocks come first in the grid and so run first: all points of a level before the next level, so that the table of
    about one level (4 MiB at 2^19 rows of two features) competes for the second-level cache.

    Products are rounded before they are added to. With a fused multiply-add a point's place in its cell would be that
    of another position than the one whose cell was taken, and the result not that of the other back ends.
    """
    if x.shape[0] == 0:
        return  # a grid without blocks is refused by some drivers
    with torch.cuda.device_of(x):
        blocks = (x.shape[0] + _BLOCK - 1) // _BLOCK
        kernel[(blocks, levels)](x, *arguments, BLOCK=_BLOCK, num_warps=_WARPS, enable_fp_fusion=False)


def encode(
    x: Float32[Tensor, "points 3"],
    table: Float[Tensor, "rows features"],
    scalings: Float32[Tensor, " levels"],
    table_size: int,
    y: Float32[Tensor, "points channels"],
) -> None:
    """Write the trilinear interpolation of every level into ``y``.

    Args:
        x: positions in [0, 1], contiguous.
        table: features of all levels, contiguous, of any floating type; 1, 2, 4 or 8 to a row.
        scalings: cells per axis of each level.
        table_size: rows of one level, a power of two.
        y: the result, of any strides. Writes are coalesced where the points of a column are adjacent.
    """
    points, levels, features = x.shape[0], scalings.shape[0], table.shape[1]
    _launch(encode_kernel, levels, x, table, scalings, y, points, *y.stride(), table_size, features)


def scatter_table_gradient(
    x: Float32[Tensor, "points 3"],
    y_gradient: Float[Tensor, "points channels"],
    scalings: Float32[Tensor, " levels"],
    table_size: int,
    table_gradient: Float32[Tensor, "rows features"],
) -> None:
    """Add d loss / d table to ``table_gradient`` (single precision, contiguous); ``y_gradient`` of any strides."""
    points, levels, features = x.shape[0], scalings.shape[0], table_gradient.shape[1]
    strides = y_gradient.stride()
    _launch(scatter_kernel, levels, x, y_gradient, scalings, table_gradient, points, *strides, table_size, features)


def position_gradient(
    x: Float32[Tensor, "points 3"],
    table: Float[Tensor, "rows features"],
    y_gradient: Float[Tensor, "points channels"],
    scalings: Float32[Tensor, " levels"],
    table_size: int,
    x_gradient: Float32[Tensor, "points 3"],
) -> None:
    """Write d loss / d x; needed for normals and camera optimisation only."""
    layout = (x.shape[0], *y_gradient.stride(), scalings.shape[0], table_size, table.shape[1])
    _launch(position_kernel, 1, x, table, y_gradient, scalings, x_gradient, *layout)  # it loops over the levels
