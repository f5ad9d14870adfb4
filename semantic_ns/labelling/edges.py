"""Which voxel each pixel shows where that of every n-th pixel alone is known: outlines follow those of the picture."""

import numpy as np
from jaxtyping import Int32, UInt8
from numpy import ndarray

_PER_STEP = 15.0**2
"""Squared difference of colours, 0..255 in each channel, that outweighs the distance of one known pixel to the next:
noise of the picture moves no outline, and its edges do."""
_BAND_PIXELS = 1 << 18
"""Pixels that are looked at together, about."""


def along_edges(
    known: Int32[ndarray, "rows columns"], color: UInt8[ndarray, "height width 3"], stride: int
) -> Int32[ndarray, "height width"]:
    """The voxel of each pixel: of the four known pixels around it, that of the one which looks most like it.

    A thing that is narrower than the distance of two known pixels may lie between them, and is then not there.

    Args:
        known: The voxels of every n-th pixel along rows and columns, the middle one of n x n; -1 for none.
        color: The picture.
        stride: n.
    """
    height, width = color.shape[:2]
    rows, columns = _Axis(height, stride, known.shape[0]), _Axis(width, stride, known.shape[1])
    of_known = color[np.ix_(rows.middles, columns.middles)].astype(np.float32)
    found = np.empty((height, width), np.int32)
    step = max(1, _BAND_PIXELS // width)
    for first in range(0, height, step):
        band = slice(first, min(first + step, height))
        own = color[band].astype(np.float32)
        least = np.full(own.shape[:2], np.inf, np.float32)
        for place_row, far_row in ((rows.own, rows.to_own), (rows.next, rows.to_next)):
            for place_column, far_column in ((columns.own, columns.to_own), (columns.next, columns.to_next)):
                place = np.ix_(place_row[band], place_column)
                cost = np.square(own - of_known[place]).sum(axis=2)
                cost += np.float32(_PER_STEP) * (far_row[band][:, None] + far_column)
                is_better = cost < least
                least[is_better] = cost[is_better]
                found[band][is_better] = known[place][is_better]
    return found


class _Axis:
    """Of each pixel along an axis, the known pixels before and behind it, and how far they are, squared, in steps.

    Args:
        length: Number of pixels.
        stride: n.
        num_known: Number of known pixels.
    """

    def __init__(self, length: int, stride: int, num_known: int) -> None:
        pixels = np.arange(length)
        self.middles = np.minimum(np.arange(num_known) * stride + stride // 2, length - 1)
        self.own = pixels // stride
        self.next = np.clip(self.own + np.where(pixels < self.middles[self.own], -1, 1), 0, num_known - 1)
        self.to_own, self.to_next = (
            np.square((pixels - self.middles[places]) / stride).astype(np.float32) for places in (self.own, self.next)
        )
