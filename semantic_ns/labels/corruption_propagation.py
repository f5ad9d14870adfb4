"""Labels that grow from single pixels, as a person's clicks and strokes do (Zhi et al. 2021, section 4.3)."""

import numpy as np
from jaxtyping import Bool, Int, Int16
from numpy import ndarray

from semantic_ns.labels.taxonomy import VOID

_RADIUS = 2
"""Of the square of 5x5 pixels by which regions are dilated."""


def keep_grown_regions(
    labels: Int16[ndarray, "height width"], percent: float, generator: np.random.Generator
) -> Int16[ndarray, "height width"]:
    """Keep, of each class of an image, a region that grew from random pixels; all else becomes void.

    Growth begins at one random pixel of the class. Until the region holds int(percent / 100 * pixels of the class), it
    is dilated by a square of 5x5 pixels. It may run over other classes, of which it keeps and counts nothing; where a
    dilation adds no pixel of the class, one more random pixel joins. The last dilation may overshoot.

    Args:
        labels: classes, -1 is void.
        percent: 0..100 of each class; 0 keeps one pixel, a single click.
        generator: generator of all draws; classes draw in ascending order.
    """
    flat = labels.ravel()
    result = np.full_like(flat, VOID)
    by_class = np.argsort(flat, kind="stable")
    starts = np.flatnonzero(np.diff(flat[by_class], prepend=VOID - 1))
    for pixels in np.split(by_class, starts[1:]):
        if pixels.size == 0 or flat[pixels[0]] == VOID:
            continue
        rows, columns = np.divmod(pixels, labels.shape[1])
        is_kept = _grow(rows, columns, int(percent / 100 * pixels.size), generator)
        result[pixels[is_kept]] = flat[pixels[is_kept]]
    return result.reshape(labels.shape)


def _grow(
    rows: Int[ndarray, "pixels"], columns: Int[ndarray, "pixels"], target: int, generator: np.random.Generator
) -> Bool[ndarray, "pixels"]:
    """Which pixels of a class, in raster order, the region holds once they are at least `target`, or the one seed.

    n dilations of a pixel cover what is at most 2 n from it in the larger of rows and columns. So each pixel has a
    number of dilations after which it is covered, and nothing has to be dilated.
    """

    def dilations_from(seed: int) -> Int[ndarray, "pixels"]:
        distances = np.maximum(np.abs(rows - rows[seed]), np.abs(columns - columns[seed]))
        return -(-distances // _RADIUS)

    covered_after = dilations_from(int(generator.integers(rows.size)))
    num_dilations = 0
    while True:
        num_new = np.bincount(covered_after)
        enough = int(np.searchsorted(np.cumsum(num_new), target))
        idle = np.flatnonzero(num_new[num_dilations + 1 : enough] == 0)
        if idle.size == 0:
            return covered_after <= enough
        num_dilations += 1 + int(idle[0])
        uncovered = np.flatnonzero(covered_after > num_dilations)
        seed = int(uncovered[generator.integers(uncovered.size)])
        covered_after = np.minimum(covered_after, num_dilations + dilations_from(seed))
