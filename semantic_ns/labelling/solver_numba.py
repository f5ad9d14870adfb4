"""The most likely class of each voxel and its probability, out of the columns of all marks."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part

_BLOCK = 512
"""Voxels whose x stays in the cache of a core while the columns pass by."""


@part
@no_type_check
def largest_of_nearest_distribution(values):
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
def most_likely(
    columns, nearness, places, multipliers, levels, pieces, is_seen, base, base_nearness, labels, probabilities, nearest
):
    """Fill ``labels``, ``probabilities`` and ``nearest``, each [M], from the columns [., M] of the marks at ``places``.

    x is the sum over the marks, in their order, of ``multipliers`` [K, C] times their columns, plus ``levels``
    [pieces, C] of each voxel's piece, plus ``base`` [C, M] unless it has no rows. ``is_seen`` [pieces] says where a
    mark reaches; elsewhere the label is -1 and the probability 0. ``nearest`` receives the largest ``nearness``
    [., M], or ``base_nearness`` [M] where that is larger.
    """
    num_voxels, num_classes = columns.shape[1], multipliers.shape[1]
    for block in prange((num_voxels + _BLOCK - 1) // _BLOCK):
        first = block * _BLOCK
        size = min(_BLOCK, num_voxels - first)
        x = np.zeros((num_classes, size), np.float32)
        near = base_nearness[first : first + size].copy()
        x[: base.shape[0]] = base[:, first : first + size]
        for k in range(places.shape[0]):
            column = columns[places[k], first : first + size]
            for c in range(num_classes):
                weight = multipliers[k, c]
                row = x[c]
                for i in range(size):
                    row[i] += weight * column[i]
            close = nearness[places[k], first : first + size]
            for i in range(size):
                near[i] = max(near[i], close[i])
        values = np.empty(num_classes, np.float32)
        for i in range(size):
            v = first + i
            piece = pieces[v]
            nearest[v] = near[i]
            if not is_seen[piece]:
                labels[v] = -1
                probabilities[v] = np.float32(0)
                continue
            for c in range(num_classes):
                values[c] = np.float32(x[c, i] + levels[piece, c])
            labels[v] = np.argmax(values)
            probabilities[v] = largest_of_nearest_distribution(values)
