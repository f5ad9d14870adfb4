"""Colours and labels of drawn pixels in one pass."""

from typing import no_type_check

from numba import prange

from semantic_ns.kernels.compilation import kernel


@kernel
@no_type_check
def gather_pixels(images, labels, image_numbers, indices, colors, classes):
    """Fill ``colors`` [R, channels] and ``classes`` [R, 1] from ``images`` [N, H, W, channels] and ``labels``.

    ``indices`` [R, 3] are image, row and column of each pixel; the image's place among the ``images`` is replaced by
    its number in the data set, ``image_numbers`` [N].
    """
    for r in prange(indices.shape[0]):
        image, row, column = indices[r, 0], indices[r, 1], indices[r, 2]
        for channel in range(colors.shape[1]):
            colors[r, channel] = images[image, row, column, channel]
        classes[r, 0] = labels[image, row, column, 0]
        indices[r, 0] = image_numbers[image]
