"""Images without holes, in place: the kernel beside :mod:`semantic_ns.geometry.pull_and_push`.

Symbols: H x W pixels of C channels; P pixels of all smaller images, each half as wide and as high as the one before,
rounded up, down to a single pixel.

* ``image`` [H, W, C]          values times their weight, and then values without holes
* ``kept``                     number of the first channels, which stay as they are
* ``last``                     number of the channels of which the image itself is filled; of the others it is the
  smaller images alone
* ``weight`` [H, W]            how well each pixel is known, in 0..1
* ``coarse`` [P, C], ``coarse_weight`` [P]    the smaller images one after the other
"""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import inlined_part, kernel, part

_LEAST_WEIGHT = np.float32(1e-8)
_QUARTER, _FAR, _SIDE, _NEAR = np.float32(1 / 4), np.float32(1 / 16), np.float32(3 / 16), np.float32(9 / 16)


@part
@no_type_check
def _pull_row(fine, fine_weight, kept, coarse, coarse_weight, y):
    """Fill a row of an image of half the size with means of four pixels; beyond the border there is nothing."""
    height, width, channels = fine.shape
    for x in range(coarse.shape[1]):
        total = np.float32(0)
        for c in range(kept, channels):
            coarse[y, x, c] = np.float32(0)
        for row in range(2 * y, min(2 * y + 2, height)):
            for column in range(2 * x, min(2 * x + 2, width)):
                total += fine_weight[row, column]
                for c in range(kept, channels):
                    coarse[y, x, c] += fine[row, column, c]
        coarse_weight[y, x] = _QUARTER * total
        for c in range(kept, channels):
            coarse[y, x, c] *= _QUARTER


@inlined_part
@no_type_check
def neighbours(place, count):
    """The nearest of ``count`` coarse pixels of one axis, and the nearest on the other side, of a fine pixel."""
    nearest = place // 2
    return nearest, min(max(nearest + (1 if place % 2 else -1), 0), count - 1)


@inlined_part
@no_type_check
def between(coarse, y0, y1, x0, x1, c):
    """A channel of the image of half the size, between the four pixels around a fine one."""
    nearest, farthest = _NEAR * coarse[y0, x0, c], _FAR * coarse[y1, x1, c]
    return nearest + _SIDE * (coarse[y0, x1, c] + coarse[y1, x0, c]) + farthest


@part
@no_type_check
def _push_row(coarse, fine, fine_weight, kept, last, y):
    """Add to a row what is not known of it: the image of half the size, between whose pixels lie those of the row."""
    y0, y1 = neighbours(y, coarse.shape[0])
    for x in range(fine.shape[1]):
        rest = np.float32(1) - fine_weight[y, x]
        if rest <= np.float32(0):
            continue
        x0, x1 = neighbours(x, coarse.shape[1])
        for c in range(kept, last):
            fine[y, x, c] += rest * between(coarse, y0, y1, x0, x1, c)


@part
@no_type_check
def _level(height, width, number):
    """Height, width and first pixel of the smaller image of a number, the first of which is 0."""
    first = 0
    height, width = (height + 1) // 2, (width + 1) // 2
    for _ in range(number):
        first += height * width
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width, first


@part
@no_type_check
def _known_pixel(coarse, coarse_weight, kept, place):
    """Turn the last pixel, sum by weight, into a mean."""
    for c in range(kept, coarse.shape[1]):
        coarse[place, c] /= max(coarse_weight[place], _LEAST_WEIGHT)


@kernel
@no_type_check
def fill(image, weight, kept, last, num_levels, coarse, coarse_weight):
    """Fill the holes of ``image``; there are ``num_levels`` smaller images, and none of a single pixel."""
    height, width, channels = image.shape
    fine, fine_weight = image, weight
    for number in range(num_levels):
        h, w, first = _level(height, width, number)
        small = coarse[first : first + h * w].reshape(h, w, channels)
        small_weight = coarse_weight[first : first + h * w].reshape(h, w)
        for y in prange(h):
            _pull_row(fine, fine_weight, kept, small, small_weight, y)
        fine, fine_weight = small, small_weight
    _known_pixel(coarse, coarse_weight, kept, len(coarse) - 1)
    for above in range(1, num_levels + 1):
        number = num_levels - above
        h, w, first = _level(height, width, number)
        small = coarse[first : first + h * w].reshape(h, w, channels)
        end = channels
        if number == 0:
            fine, fine_weight, end = image, weight, last
        else:
            h, w, first = _level(height, width, number - 1)
            fine = coarse[first : first + h * w].reshape(h, w, channels)
            fine_weight = coarse_weight[first : first + h * w].reshape(h, w)
        for y in prange(len(fine)):
            _push_row(small, fine, fine_weight, kept, end, y)
