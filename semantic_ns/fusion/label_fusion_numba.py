"""The votes of one view for the pixels of another, one task per row."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel


@kernel
@no_type_check
def add_votes(
    depth, intrinsics, to_source, tolerances, nearest, source_depth, source_intrinsics, choice, scores, sums, totals
):
    """Add weighted scores of a source to ``sums`` [H, W, C] and weights to ``totals`` [H, W] where both see one point.

    * ``depth`` [H, W], ``source_depth`` [h, w]: planar, metres, 0 where unknown
    * ``intrinsics``, ``source_intrinsics`` [4]: fx, fy, cx, cy in pixels, pixel centres at +0.5
    * ``to_source`` [3, 4]: from the target camera to that of the source, OpenCV
    * ``tolerances`` [2]: metres, and share of the depth; the larger one holds
    * ``nearest``: the weight is the depth in the target over that in the source, both at least this many metres; all
      weights are 1 if it is 0
    * ``choice`` [h, w]: row of ``scores`` [R, C] for each pixel of the source; negative where it abstains
    """
    height, width = depth.shape
    source_height, source_width = source_depth.shape
    num_classes = scores.shape[1]
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    gx, gy, px, py = source_intrinsics[0], source_intrinsics[1], source_intrinsics[2], source_intrinsics[3]
    m = to_source
    for row in prange(height):
        for column in range(width):
            d = np.float64(depth[row, column])
            if d <= 0.0:
                continue
            x, y = (column + 0.5 - cx) / fx * d, (row + 0.5 - cy) / fy * d
            z = m[2, 0] * x + m[2, 1] * y + m[2, 2] * d + m[2, 3]
            if z <= 0.0:
                continue
            there_x = gx * (m[0, 0] * x + m[0, 1] * y + m[0, 2] * d + m[0, 3]) / z + px
            there_y = gy * (m[1, 0] * x + m[1, 1] * y + m[1, 2] * d + m[1, 3]) / z + py
            # Compared before the conversion, which has no answer for numbers that no integer holds.
            if there_x < 0.0 or there_y < 0.0 or there_x >= source_width or there_y >= source_height:
                continue
            there_column, there_row = np.int64(there_x), np.int64(there_y)
            there_depth = np.float64(source_depth[there_row, there_column])
            if there_depth <= 0.0 or abs(z - there_depth) >= max(tolerances[0], tolerances[1] * z):
                continue
            vote = choice[there_row, there_column]
            if vote < 0:
                continue
            weight = np.float32(1.0)
            if nearest > 0.0:
                weight = np.float32(max(d, nearest) / max(z, nearest))
            totals[row, column] += weight
            for c in range(num_classes):
                sums[row, column, c] += weight * scores[vote, c]
