"""Pixels of maps that look like given pixels of the images."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel

_DISTANCE_WEIGHT = 1e-3
"""Weight of the squared distance in strides beside that of colours (RGB in 0..1): it decides among those alike."""


@kernel
@no_type_check
def nearest_alike(depths, colors, pixels, own_colors, stride, chosen):
    """Fill ``chosen`` [N, 2] with the row and column of the map's pixel around each image pixel that looks most alike.

    ``depths`` [F, h, w], ``colors`` [F, h, w, 3] are maps of every ``stride``-th pixel, ``pixels`` [N, 3] frame, row
    and column in the image. Of pixels that look alike the nearest is taken.
    """
    height, width = depths.shape[1], depths.shape[2]
    for i in prange(pixels.shape[0]):
        frame, row, column = pixels[i, 0], pixels[i, 1], pixels[i, 2]
        best = np.float32(np.inf)
        for k in range(4):
            r, c = row // stride + k // 2, column // stride + k % 2
            # Behind the last row or column of the maps there is none; the first of the four is moved back to them, so
            # that one is always found.
            if (r >= height or c >= width) and k > 0:
                continue
            r, c = min(r, height - 1), min(c, width - 1)
            away = np.float32((r * stride - row) ** 2 + (c * stride - column) ** 2) / np.float32(stride * stride)
            score = np.float32(_DISTANCE_WEIGHT) * away
            for channel in range(3):
                score += (own_colors[i, channel] - colors[frame, r, c, channel]) ** 2
            if score < best:
                best = score
                chosen[i, 0], chosen[i, 1] = r, c
