"""Adam's step for the Gaussians that one image shows; all others, and their moments, rest."""

import math
from typing import no_type_check

from numba import prange

from semantic_ns.kernels.compilation import kernel

_ROWS_PER_TASK = 1024


@kernel
@no_type_check
def sparse_adam(visible, turns, parameter, gradient, mean, square, rate, beta1, beta2, epsilon):
    """Change the rows ``visible`` of ``parameter`` [N, k] and its moments ``mean`` and ``square`` by ``gradient``.

    ``turns`` [N] counts the steps of each Gaussian, this one included, which correct the bias of its moments.
    """
    num = len(visible)
    for task in prange((num + _ROWS_PER_TASK - 1) // _ROWS_PER_TASK):
        for i in range(task * _ROWS_PER_TASK, min(num, (task + 1) * _ROWS_PER_TASK)):
            n = visible[i]
            bias1, bias2 = 1 - beta1 ** turns[n], 1 - beta2 ** turns[n]
            for k in range(parameter.shape[1]):
                g = gradient[n, k]
                mean[n, k] = beta1 * mean[n, k] + (1 - beta1) * g
                square[n, k] = beta2 * square[n, k] + (1 - beta2) * g * g
                parameter[n, k] -= rate * (mean[n, k] / bias1) / (math.sqrt(square[n, k] / bias2) + epsilon)
