"""Adam's step over one parameter in one pass on all cores."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part

# Entries of one task: many enough that a small parameter stays on one core.
_CHUNK = 1 << 15


@part
@no_type_check
def _step_of_chunk(parameter, gradient, mean, square, decays, shrinkage, step_size, root_correction, epsilon):
    beta1, beta2 = decays
    rest1, rest2 = np.float32(1) - beta1, np.float32(1) - beta2
    for i in range(parameter.shape[0]):
        g = gradient[i]
        m = mean[i] * beta1 + g * rest1
        v = square[i] * beta2 + g * g * rest2
        mean[i], square[i] = m, v
        # Not "/", which looks for a zero each time and so keeps the compiler from making vector code.
        step = np.divide(m, np.sqrt(v) * root_correction + epsilon)
        parameter[i] = parameter[i] * shrinkage - step_size * step


@kernel
@no_type_check
def adam_step(parameter, gradient, mean, square, decays, shrinkage, step_size, root_correction, epsilon):
    """Change ``parameter`` and its moments ``mean`` and ``square``, all flat, by ``gradient``.

    Kingma, Ba 2015, algorithm 1, after the parameter has been multiplied by ``shrinkage`` (Loshchilov, Hutter 2019).
    ``decays`` are beta_1 and beta_2, ``step_size`` is lr / (1 - beta_1^t), ``root_correction`` 1 / sqrt(1 - beta_2^t).
    """
    num_entries = parameter.shape[0]
    for chunk in prange((num_entries + _CHUNK - 1) // _CHUNK):
        first, last = chunk * _CHUNK, min(num_entries, (chunk + 1) * _CHUNK)
        _step_of_chunk(
            parameter[first:last], gradient[first:last], mean[first:last], square[first:last],
            decays, shrinkage, step_size, root_correction, epsilon,
        )  # fmt: skip
