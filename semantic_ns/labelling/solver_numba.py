"""The most likely class of each voxel and its probability."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part


@part
@no_type_check
def _largest_of_nearest_distribution(values):
    """The largest entry of the distribution nearest to ``values`` [C], which sum to about 1.

    That is max(x - tau, 0), see `propagation.posterior.onto_simplex`. Entries that cannot be above tau are left out of
    the mean that gives it, until none is left to leave out (Michelot 1986).
    """
    total, count = np.float32(0), 0
    for c in range(values.shape[0]):
        total += values[c]
        count += 1
    tau = (total - np.float32(1)) / count
    while True:
        total, kept = np.float32(0), 0
        for c in range(values.shape[0]):
            if values[c] > tau:
                total += values[c]
                kept += 1
        if kept >= count or kept == 0:
            break
        count = kept
        tau = (total - np.float32(1)) / count
    return min(max(values.max() - tau, np.float32(0)), np.float32(1))


@kernel
@no_type_check
def most_likely(x, levels, pieces, is_seen, labels, probabilities):
    """Fill ``labels`` [M] and ``probabilities`` [M] from ``x`` [C, M] plus ``levels`` [pieces, C] of each one's piece.

    ``is_seen`` [pieces] says where a mark reaches; elsewhere the label is -1 and the probability 0.
    """
    for v in prange(x.shape[1]):
        piece = pieces[v]
        if not is_seen[piece]:
            labels[v] = -1
            probabilities[v] = np.float32(0)
            continue
        values = np.empty(x.shape[0], np.float32)
        for c in range(x.shape[0]):
            values[c] = np.float32(x[c, v] + levels[piece, c])
        labels[v] = np.argmax(values)
        probabilities[v] = _largest_of_nearest_distribution(values)
