"""Conjugate gradients for many right-hand sides on a graph of fixed degree."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part

_BLOCK = 1024
_MARGIN = 1e-6
"""By how much a value has to be below tau to be left out unseen: more than rounding amounts to."""


@part
@no_type_check
def count_votes(nodes, labels, votes):
    """Add the labels [N] of points to the votes [M, C] of their voxels; points without either do not vote."""
    for i in range(nodes.shape[0]):
        if nodes[i] >= 0 and labels[i] >= 0:
            votes[nodes[i], labels[i]] += np.float32(1)


@kernel
@no_type_check
def cluster_means(clusters, sizes, x, means):
    """Fill ``means`` [divisions, clusters, C], zeros so far, with the means of x [M, C] over each cluster."""
    for d in prange(clusters.shape[0]):
        for i in range(clusters.shape[1]):
            cluster = clusters[d, i]
            for c in range(x.shape[1]):
                means[d, cluster, c] += x[i, c]
        for cluster in range(means.shape[1]):
            scale = np.float32(1) / max(sizes[d, cluster], np.float32(1))
            for c in range(x.shape[1]):
                means[d, cluster, c] *= scale


@part
@no_type_check
def _multiply_rows(starts, others, weights, diagonal, clusters, means, strength, x, first, last, out):
    """Rows of (D - W) x less what the clusters add."""
    for i in range(first, last):
        for c in range(x.shape[1]):
            out[i, c] = diagonal[i] * x[i, c]
        for d in range(clusters.shape[1]):
            cluster = clusters[i, d]
            for c in range(x.shape[1]):
                out[i, c] -= strength * means[cluster, c]
        for e in range(starts[i], starts[i + 1]):
            weight, j = weights[e], others[e]
            for c in range(x.shape[1]):
                out[i, c] -= weight * x[j, c]


@kernel
@no_type_check
def multiply(starts, others, weights, diagonal, clusters, means, strength, x, out, partial):
    """Fill ``out`` [M, C] with (D - W) x - strength sum_d means of the clusters of each row.

    The edges of row i are those from ``starts`` [M + 1] of i up to that of the next row, to ``others`` [edges].
    ``clusters`` [M, divisions] are rows of ``means`` [clusters of all divisions, C]; ``partial`` [blocks, C] receives
    the products x . out of blocks of rows.
    """
    for block in prange(partial.shape[0]):
        first, last = block * _BLOCK, min((block + 1) * _BLOCK, x.shape[0])
        _multiply_rows(starts, others, weights, diagonal, clusters, means, strength, x, first, last, out)
        partial[block] = 0.0
        for i in range(first, last):
            for c in range(x.shape[1]):
                partial[block, c] += x[i, c] * out[i, c]


@kernel
@no_type_check
def fill_residual(starts, others, weights, held, clusters, means, strength, x, target, out):
    """Fill ``out`` [M, C] with b less the product of `multiply`, of which h [M] is what votes add to the diagonal.

    Values are subtracted before they are weighed: where strong edges join what is alike, nothing is left of them that
    would hide the weakest.
    """
    for block in prange((x.shape[0] + _BLOCK - 1) // _BLOCK):
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, x.shape[0])):
            for c in range(x.shape[1]):
                out[i, c] = target[i, c] - held[i] * x[i, c]
            for d in range(clusters.shape[1]):
                cluster = clusters[i, d]
                for c in range(x.shape[1]):
                    out[i, c] -= strength * (x[i, c] - means[cluster, c])
            for e in range(starts[i], starts[i + 1]):
                weight, j = weights[e], others[e]
                for c in range(x.shape[1]):
                    out[i, c] -= weight * (x[i, c] - x[j, c])


@kernel
@no_type_check
def advance(x, residual, direction, product, diagonal, step, partial):
    """X += a p, r -= a A p; ``partial`` [blocks, C] receives r . D^-1 r."""
    for block in prange(partial.shape[0]):
        first, last = block * _BLOCK, min((block + 1) * _BLOCK, x.shape[0])
        partial[block] = 0.0
        for i in range(first, last):
            inverse = np.float32(1) / diagonal[i]
            for c in range(x.shape[1]):
                x[i, c] += step[c] * direction[i, c]
                residual[i, c] -= step[c] * product[i, c]
                partial[block, c] += residual[i, c] * residual[i, c] * inverse


@kernel
@no_type_check
def turn(direction, residual, diagonal, ratio):
    """P = D^-1 r + b p."""
    for i in prange(direction.shape[0]):
        inverse = np.float32(1) / diagonal[i]
        for c in range(direction.shape[1]):
            direction[i, c] = residual[i, c] * inverse + ratio[c] * direction[i, c]


@part
@no_type_check
def _simplex_threshold(row, descending):
    """The tau of `posterior.onto_simplex`, out of the largest values in their order; ``descending`` [C] is room.

    Most values are far below tau: bounds of it from below leave them out, as in Michelot (1986), before any are sorted.
    """
    bound, count = -np.inf, 0
    for _ in range(3):
        total, num_left = 0.0, 0
        for c in range(row.shape[0]):
            if row[c] > bound:
                total += row[c]
                num_left += 1
        bound = (total - 1.0) / max(num_left, 1) - _MARGIN
    for c in range(row.shape[0]):
        if row[c] > bound:
            place = count
            while place > 0 and descending[place - 1] < row[c]:
                descending[place] = descending[place - 1]
                place -= 1
            descending[place] = row[c]
            count += 1
    total, tau = 0.0, 0.0
    for k in range(count):
        total += descending[k]
        excess = (total - 1.0) / (k + 1)
        if descending[k] > excess:
            tau = excess
    return tau


@kernel
@no_type_check
def onto_simplex(x, found):
    """Fill ``found`` [M, C] with the distributions nearest to x [M, C]."""
    for block in prange((x.shape[0] + _BLOCK - 1) // _BLOCK):
        descending = np.empty(x.shape[1], np.float32)
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, x.shape[0])):
            tau = _simplex_threshold(x[i], descending)
            for c in range(x.shape[1]):
                found[i, c] = max(x[i, c] - tau, 0.0)


def number_of_blocks(num_rows: int) -> int:
    """Rows of the partial sums."""
    return max(1, -(-num_rows // _BLOCK))
