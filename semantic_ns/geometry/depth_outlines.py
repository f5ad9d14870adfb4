"""Outlines in depth images: where something stands before something else, and what lies farther away beside it."""

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

_JUMP = 0.05
"""Least jump of depth, as a share of the nearer depth."""
_BEND = 0.05
"""Least second difference of 1 / depth, which is 0 along a plane, as a share of 1 / depth."""


def are_outlines(depth: Float[ndarray, "height width"]) -> Bool[ndarray, "height width"]:
    """Pixels of a surface beside which, in the same row or column, a farther one begins.

    Their neighbour on one side is 5 % farther, and 1 / depth bends there, as it does along no plane, however steep.

    Args:
        depth: planar depth, 0 where unknown; no outline is beside unknown pixels.
    """
    padded = np.pad(depth, 1)
    inverses = 1 / np.where(padded > 0, padded, np.inf)
    inverse = inverses[1:-1, 1:-1]
    found = np.zeros(depth.shape, bool)
    for row, column in ((0, 1), (1, 0)):
        one, other = _moved(padded, row, column), _moved(padded, -row, -column)
        bend = np.abs(_moved(inverses, row, column) + _moved(inverses, -row, -column) - 2 * inverse)
        is_known = (depth > 0) & (one > 0) & (other > 0)
        found |= is_known & (np.maximum(one, other) > (1 + _JUMP) * depth) & (bend > _BEND * inverse)
    return found


def lie_behind_outlines(depth: Float[ndarray, "height width"], radius_px: int) -> Bool[ndarray, "height width"]:
    """Pixels with an outline at most `radius_px` rows and columns away that is nearer to the camera than they are.

    Light of such a pixel passes close to something nearer.

    Args:
        depth: planar depth, 0 where unknown; unknown pixels lie behind nothing.
        radius_px: half the side of the square that is looked at.
    """
    from scipy import ndimage  # slow to import, which registration must not be

    of_outlines = np.where(are_outlines(depth), depth, np.inf)
    nearest = ndimage.minimum_filter(of_outlines, size=2 * radius_px + 1, mode="constant", cval=np.inf)
    return depth > (1 + _JUMP) * nearest


def _moved(padded: Shaped[ndarray, "_rows _columns"], row: int, column: int) -> Shaped[ndarray, "height width"]:
    """The neighbours so many rows and columns on, of an image with a margin of one pixel."""
    height, width = padded.shape[0] - 2, padded.shape[1] - 2
    return padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]
