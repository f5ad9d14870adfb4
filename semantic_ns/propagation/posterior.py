"""Classes of all voxels of a surface from labels of some of them, few or wrong as they may be."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Integer
from numpy import ndarray

from semantic_ns.propagation import posterior_numba as kernels
from semantic_ns.propagation.surface_graph import SurfaceGraph

_PRIOR_PAIRS = 500
"""Pairs of votes in agreement that are taken for granted: few labels say nothing about how noisy they are."""
_LEAST_NOISE = 0.01
_VOTE_STRENGTH = 1.0
"""Weight of one vote, over its variance, beside an edge between voxels that look the same."""
_ENOUGH_VOTES = 8
"""Right votes that a voxel needs in the mean, for its class not to hang on its neighbours."""
_FINEST = 4
"""Times as many voxels as are asked for, at most."""


@dataclass(frozen=True)
class LabelPosterior:
    """What labels and surface together say about each voxel.

    Attributes:
        probabilities: of the classes; all zero where no label reaches.
        noise_rate: estimated share of labels that were replaced by a random class.
    """

    probabilities: Float32[ndarray, "nodes classes"]
    noise_rate: float


def count_votes(
    nodes: Int32[ndarray, "pixels"], labels: Integer[ndarray, "pixels"], num_nodes: int, num_classes: int
) -> Float32[ndarray, "nodes classes"]:
    """How many pixels give each voxel each class.

    Args:
        nodes: voxel of each pixel, -1 for none.
        labels: class of each pixel, -1 for void.
        num_nodes: M.
        num_classes: C.
    """
    votes = np.zeros((num_nodes, num_classes), np.float32)
    kernels.count_votes(nodes, labels, votes)
    return votes


def noise_rate(votes: Float32[ndarray, "nodes classes"]) -> float:
    """Share eta of labels replaced by a random class, from how often two votes for a voxel agree.

    Two votes of one true class agree with probability (1 - eta)^2 + (1 - (1 - eta)^2) / C.

    Returns:
        a rate in [0.01, 0.98]; what part of it comes from voxels that lie across an edge, counts as noise too.
    """
    num_classes = votes.shape[1]
    if num_classes == 1:
        return _LEAST_NOISE
    counts = votes.sum(axis=1, dtype=np.float64)
    agreeing = float((votes.astype(np.float64) * (votes - 1)).sum()) + _PRIOR_PAIRS
    agreement = agreeing / (float((counts * (counts - 1)).sum()) + _PRIOR_PAIRS)
    both_true = (agreement - 1 / num_classes) / (1 - 1 / num_classes)
    return float(np.clip(1 - max(both_true, 0.0) ** 0.5, _LEAST_NOISE, 0.98))


def affordable_nodes(votes: Float32[ndarray, "nodes classes"]) -> int:
    """How many voxels the labels can tell the classes of: M, or up to 4 M where votes are plenty.

    A voxel blurs the edges of things to its size. Where the voxels have at least twice 8 right votes in the mean, there
    are to be as many as leave 8.

    Args:
        votes: for the M voxels there are.
    """
    right_votes = (1 - noise_rate(votes)) * float(votes.sum(dtype=np.float64)) / max(1, len(votes))
    factor = min(right_votes / _ENOUGH_VOTES, _FINEST)
    return round(len(votes) * factor) if factor >= 2 else len(votes)


def solve_posterior(
    graph: SurfaceGraph, votes: Float32[ndarray, "nodes classes"], max_iterations: int = 120, tolerance: float = 1e-3
) -> LabelPosterior:
    """Spread votes over the surface: a random walk that likes to stay on one colour and one plane.

    For each class the minimum over x of

        sum_v s n_v |n_vc / n_v - ((1 - eta) x_v + eta / C)|^2 + sum_ij w_ij |x_i - x_j|^2

    with n the votes, eta the noise rate and s the strength of a vote: the random walker (Grady 2006, equation (8), with
    the priors of Grady 2005) whose priors are votes through the noise channel. Few votes spread far, many noisy votes
    for a voxel average out, and many clean ones stand. Solved by conjugate gradients with Jacobi preconditioning.

    Args:
        graph: the voxels.
        votes: of labelled pixels.
        max_iterations: of the solver.
        tolerance: residual norm over that of the right-hand side at which it stops.
    """
    num_classes = votes.shape[1]
    eta = noise_rate(votes)
    counts = votes.sum(axis=1)
    strength = np.float32(_VOTE_STRENGTH * (1 - eta) / (eta + 0.02))
    diagonal = graph.weights.sum(axis=1) + strength * np.float32(1 - eta) * counts + np.float32(1e-9)
    target = strength * (votes - np.float32(eta / num_classes) * counts[:, None])
    solution = _conjugate_gradients(graph, diagonal, target, max_iterations, tolerance)
    positive = np.maximum(solution, 0.0)
    total = positive.sum(axis=1, keepdims=True)
    reached = total > 1e-6
    return LabelPosterior(np.where(reached, positive / np.maximum(total, 1e-6), 0).astype(np.float32), eta)


def _conjugate_gradients(
    graph: SurfaceGraph,
    diagonal: Float32[ndarray, "nodes"],
    target: Float32[ndarray, "nodes classes"],
    max_iterations: int,
    tolerance: float,
) -> Float32[ndarray, "nodes classes"]:
    """Solve (D - W) x = b for each column."""
    x, residual = np.zeros_like(target), target.copy()
    direction, product = target / diagonal[:, None], np.empty_like(target)
    partial = np.empty((kernels.number_of_blocks(len(target)), target.shape[1]))
    squared = (residual * residual / diagonal[:, None]).sum(axis=0, dtype=np.float64)
    enough = tolerance**2 * squared
    for _ in range(max_iterations):
        if (squared <= enough).all():
            break
        kernels.multiply(graph.neighbours, graph.weights, diagonal, direction, product, partial)
        step = squared / np.maximum(partial.sum(axis=0), 1e-30)
        kernels.advance(x, residual, direction, product, diagonal, step.astype(np.float32), partial)
        before, squared = squared, partial.sum(axis=0)
        ratio = squared / np.maximum(before, 1e-30)
        kernels.turn(direction, residual, diagonal, ratio.astype(np.float32))
    return x
