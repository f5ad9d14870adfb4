"""The pixels that a brush passes over."""

from typing import no_type_check

import numpy as np

from semantic_ns.kernels.compilation import part


@part
@no_type_check
def paint_stroke(points, radius, mask):
    """Set ``mask`` [H, W] where the centre of a pixel lies within ``radius`` of the line through ``points`` [N, 2].

    Points are (x, y) in pixels, y down; the centre of the first pixel is at (0.5, 0.5). One point makes a disc.
    """
    height, width = mask.shape
    for i in range(max(1, points.shape[0] - 1)):
        ax, ay = points[i, 0], points[i, 1]
        bx, by = (points[i + 1, 0], points[i + 1, 1]) if points.shape[0] > 1 else (ax, ay)
        dx, dy = bx - ax, by - ay
        squared_length = dx * dx + dy * dy
        first_row = max(0, int(np.floor(min(ay, by) - radius - 0.5)))
        last_row = min(height - 1, int(np.ceil(max(ay, by) + radius - 0.5)))
        first_column = max(0, int(np.floor(min(ax, bx) - radius - 0.5)))
        last_column = min(width - 1, int(np.ceil(max(ax, bx) + radius - 0.5)))
        for row in range(first_row, last_row + 1):
            for column in range(first_column, last_column + 1):
                px, py = column + 0.5 - ax, row + 0.5 - ay
                along = 0.0
                if squared_length > 0.0:
                    along = min(max((px * dx + py * dy) / squared_length, 0.0), 1.0)
                ex, ey = px - along * dx, py - along * dy
                if ex * ex + ey * ey <= radius * radius:
                    mask[row, column] = True
