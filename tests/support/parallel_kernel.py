"""A kernel of several threads, in a file of its own so that processes share its machine code."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel


@kernel
@no_type_check
def add_sines(values, sums):
    """Add the sines of the values to a number of sums."""
    for block in prange(sums.shape[0]):
        for i in range(block, values.shape[0], sums.shape[0]):
            sums[block] += np.sin(values[i])
