"""Layers of small networks on blocks of rows that stay in the cache, forward and backward.

Matrices are [in, out], in whole blocks. A leading ``g_`` is the gradient of the loss in what follows.
"""

from typing import no_type_check

import numpy as np

from semantic_ns.kernels.compilation import inlined_part, part
from semantic_ns.kernels.matrix_numba import add_outer, linear, padded

BLOCK = 64
"""Samples that go through the networks of packed samples together."""
ROW_MULTIPLE = 4
"""Rows are padded to whole multiples of this."""
_ZERO = np.float32(0)


@inlined_part
@no_type_check
def rectified(value):
    """ReLU; a product, because only of this does the compiler make vector code in place."""
    return np.float32(value > _ZERO) * value


@part
@no_type_check
def rectify(values, rows):
    """Rectify rows in place."""
    for i in range(rows):
        for j in range(values.shape[1]):
            values[i, j] = rectified(values[i, j])


@part
@no_type_check
def copy_rows(source, begin, count, block):
    """Rows ``begin`` to ``begin + count`` of ``source`` into ``block``; zeros up to whole rows and columns."""
    columns = source.shape[1]
    for i in range(padded(count, ROW_MULTIPLE)):
        for j in range(block.shape[1]):
            block[i, j] = source[begin + i, j] if i < count and j < columns else _ZERO


@part
@no_type_check
def layer_backward(inputs, g_outputs, transposed, no_bias, g_matrix, g_bias, g_inputs, rows):
    """Gradients of a linear layer; those of its bias are left out where ``g_bias`` is empty."""
    add_outer(inputs, g_outputs, g_matrix, rows)
    for i in range(rows):
        for j in range(g_bias.shape[0]):
            g_bias[j] += g_outputs[i, j]
    linear(g_outputs, transposed, no_bias, g_inputs, rows)
