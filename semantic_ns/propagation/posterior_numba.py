"""Conjugate gradients for many right-hand sides on a graph of fixed degree."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel, part

_BLOCK = 1024


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
def _multiply_rows(neighbours, weights, diagonal, clusters, means, strength, x, first, last, out):
    """Rows of (D - W) x less what the clusters add."""
    for i in range(first, last):
        for c in range(x.shape[1]):
            out[i, c] = diagonal[i] * x[i, c]
        for d in range(clusters.shape[0]):
            cluster = clusters[d, i]
            for c in range(x.shape[1]):
                out[i, c] -= strength * means[d, cluster, c]
        for e in range(neighbours.shape[1]):
            weight = weights[i, e]
            if weight > np.float32(0):
                j = neighbours[i, e]
                for c in range(x.shape[1]):
                    out[i, c] -= weight * x[j, c]


@kernel
@no_type_check
def multiply(neighbours, weights, diagonal, clusters, means, strength, x, out, partial):
    """Fill ``out`` [M, C] with (D - W) x - strength sum_d means_d of the clusters of each row.

    ``clusters`` [divisions, M], ``means`` [divisions, clusters, C]; ``partial`` [blocks, C] receives the products
    x . out of blocks of rows.
    """
    for block in prange(partial.shape[0]):
        first, last = block * _BLOCK, min((block + 1) * _BLOCK, x.shape[0])
        _multiply_rows(neighbours, weights, diagonal, clusters, means, strength, x, first, last, out)
        partial[block] = 0.0
        for i in range(first, last):
            for c in range(x.shape[1]):
                partial[block, c] += x[i, c] * out[i, c]


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


def number_of_blocks(num_rows: int) -> int:
    """Rows of the partial sums."""
    return max(1, -(-num_rows // _BLOCK))
