"""Classes of all voxels of a surface from labels of some of them, few or wrong as they may be."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, Integer
from numpy import ndarray

from semantic_ns.propagation import posterior_numba as kernels
from semantic_ns.propagation.clusters import Clusters, find_clusters
from semantic_ns.propagation.config import ALL_PARTS, SpreadingConfig
from semantic_ns.propagation.conjugate_gradients import LinearSystem, solve
from semantic_ns.propagation.surface_graph import SurfaceGraph

_PRIOR_PAIRS = 500
"""Pairs of votes in agreement that are taken for granted: few labels say nothing about how noisy they are."""
DENSE_LABELS = 0.5
"""Share of labelled pixels above which labels are dense: what looks alike has nothing to add to them, and if they are
clean they stand as they are."""
LEAST_NOISE = 0.01
"""Share of wrong labels below which none is estimated: what labels are trusted with that nobody doubts."""
_LEAST_EVIDENCE = 0.6
"""Chosen on four rooms with 90 % of the labels wrong, where more voxels and fewer of them do worse."""
_LEAST_SHARE_OF_VOXELS = 1 / 16
LEAST_PRIOR = 0.002
"""Weight of what a voxel looks like, beside an edge between voxels that look the same, where hardly any voxel has a
vote."""
_PRIOR_BY_SHARE = 0.3
"""It grows with the share of voxels that have votes: a classifier that is fitted to many is right more often."""
_VOTE_STRENGTH = 1.0
"""Weight of one vote, over its variance, beside an edge between voxels that look the same."""
_HOLD = np.float32(1e3)
"""What holds a voxel with a label at 1, beside an edge between voxels that look the same."""
_MAX_ITERATIONS, _TOLERANCE = 300, 1e-3
_LEAK = 1e-9
"""On the diagonal, so that a surface without votes has a solution, which is 0."""
_REACH_ITERATIONS = 200
LEAST_COUPLING = 0.003
"""Weight that couples a voxel to an appearance cluster where hardly any voxel has a vote."""
_COUPLING_BY_SHARE = 0.5
"""The coupling to a cluster grows with the share of voxels that have votes: the mean of a cluster of which few members
are known says little, and would wash out the way along the surface."""


@dataclass(frozen=True)
class LabelPosterior:
    """What labels and surface together say about each voxel.

    Attributes:
        probabilities: class probabilities; all zero where no label reaches.
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
        return LEAST_NOISE
    counts = votes.sum(axis=1, dtype=np.float64)
    agreeing = float((votes.astype(np.float64) * (votes - 1)).sum()) + _PRIOR_PAIRS
    agreement = agreeing / (float((counts * (counts - 1)).sum()) + _PRIOR_PAIRS)
    both_true = (agreement - 1 / num_classes) / (1 - 1 / num_classes)
    return float(np.clip(1 - max(both_true, 0.0) ** 0.5, LEAST_NOISE, 0.98))


def share_of_voxels(votes: Float32[ndarray, "nodes classes"]) -> float:
    """Share of the voxels that would be fine enough for labels as noisy as these, 1/16 to 1.

    Of n votes for a voxel n (1 - eta) tell its class and the others scatter, by the root of n: the square of the ratio,
    n (1 - eta)^2 for many classes, is to reach `_LEAST_EVIDENCE`. Fewer voxels have more votes each, at best by the
    inverse of this share.
    """
    counts = votes.sum(axis=1, dtype=np.float64)
    num_voted = int((counts > 0).sum())
    if num_voted == 0:
        return 1.0
    evidence = counts.sum() / num_voted * (1 - noise_rate(votes)) ** 2
    return float(np.clip(evidence / _LEAST_EVIDENCE, _LEAST_SHARE_OF_VOXELS, 1.0))


def coupling_weight(votes: Float32[ndarray, "nodes classes"]) -> float:
    """Weight f that couples a voxel to its appearance clusters, one in each division."""
    return LEAST_COUPLING + _COUPLING_BY_SHARE * _share_with_votes(votes)


def prior_weight(votes: Float32[ndarray, "nodes classes"]) -> float:
    """Weight h of what a voxel looks like."""
    return LEAST_PRIOR + _PRIOR_BY_SHARE * _share_with_votes(votes)


def _share_with_votes(votes: Float32[ndarray, "nodes classes"]) -> float:
    return float((votes.sum(axis=1) > 0).mean()) if len(votes) else 0.0


def vote_strength(eta: float) -> float:
    """Weight s of one vote of the noise rate eta, beside an edge between voxels that look the same."""
    return _VOTE_STRENGTH * (1 - eta) / (eta + 0.02)


def solve_posterior(
    graph: SurfaceGraph,
    votes: Float32[ndarray, "nodes classes"],
    max_iterations: int = _MAX_ITERATIONS,
    tolerance: float = _TOLERANCE,
    spreading: SpreadingConfig = ALL_PARTS,
    prior: Float32[ndarray, "nodes classes"] | None = None,
    clusters: Clusters | None = None,
) -> LabelPosterior:
    """Spread votes over the surface: a random walk that likes to stay on one colour and one plane.

    For each class the minimum over x of

        sum_v s n_v |n_vc / n_v - ((1 - eta) x_v + eta / C)|^2 + sum_ij w_ij |x_i - x_j|^2 + f sum_dv |x_v - m_d(v)|^2
            + h sum_v |x_v - p_v|^2

    with n the votes, eta the noise rate and s the strength of a vote: the random walker (Grady 2006, equation (8), with
    the priors of Grady 2005) whose priors are votes through the noise channel. m_d(v) is the mean of x over the cluster
    of v in division d: a class also reaches what looks alike nearby but does not touch, as in the bilateral solver
    (Barron and Poole 2016). p is what voxels look like; h decides where the walk hardly comes, and is 0 where nothing
    is known. Few votes spread far, many noisy votes for a voxel average out, and many clean ones stand. Solved by
    conjugate gradients with Jacobi preconditioning; the distribution nearest to the solution is taken.

    Args:
        graph: the voxels.
        votes: votes of labelled pixels.
        max_iterations: largest number of iterations of the solver.
        tolerance: residual norm over that of the right-hand side at which it stops.
        spreading: parts to use; without clusters f is 0, without noise eta is 0.01 (colours and normals: the graph's).
        prior: class probabilities of voxels by how they look, zero rows where nothing is known; see `appearance`.
        clusters: those of the graph, where they are known, see `find_clusters`.
    """
    system, target, eta = system_of_votes(graph, votes, spreading, prior, clusters)
    return distributions_of(solve(system, target, max_iterations, tolerance), eta)


def system_of_votes(
    graph: SurfaceGraph,
    votes: Float32[ndarray, "nodes classes"],
    spreading: SpreadingConfig = ALL_PARTS,
    prior: Float32[ndarray, "nodes classes"] | None = None,
    clusters: Clusters | None = None,
) -> tuple[LinearSystem, Float32[ndarray, "nodes classes"], float]:
    """The matrix and the right-hand sides of `solve_posterior`, and the noise rate."""
    num_classes = votes.shape[1]
    eta = noise_rate(votes) if spreading.noise else LEAST_NOISE
    counts = votes.sum(axis=1)
    strength = np.float32(vote_strength(eta))
    clusters = (clusters or find_clusters(graph)) if spreading.clusters else _no_clusters(graph)
    coupling = coupling_weight(votes)
    held = strength * np.float32(1 - eta) * counts
    diagonal = graph.weights.sum(axis=1) + held
    diagonal += np.float32(coupling * len(clusters.numbers) + _LEAK)
    held += np.float32(_LEAK)
    target = strength * (votes - np.float32(eta / num_classes) * counts[:, None])
    if prior is not None:
        weight = np.float32(prior_weight(votes))
        target += weight * prior
        diagonal += weight * prior.sum(axis=1)
        held += weight * prior.sum(axis=1)
    return LinearSystem(graph.edges, clusters, coupling, diagonal, held), target, eta


def solution_of_votes(
    graph: SurfaceGraph,
    votes: Float32[ndarray, "nodes classes"],
    clusters: Clusters,
    prior: Float32[ndarray, "nodes classes"] | None = None,
) -> tuple[LabelPosterior, Float32[ndarray, "nodes classes"]]:
    """What `solve_posterior` finds, and the solution that it is nearest to."""
    system, target, eta = system_of_votes(graph, votes, prior=prior, clusters=clusters)
    solution = solve(system, target, _MAX_ITERATIONS, _TOLERANCE)
    return distributions_of(solution, eta), solution


def distributions_of(solution: Float32[ndarray, "nodes classes"], eta: float) -> LabelPosterior:
    """The distributions nearest to a solution of `system_of_votes`, all zero where it is."""
    total = solution.sum(axis=1, keepdims=True)
    reached = total > 1e-6
    return LabelPosterior(np.where(reached, onto_simplex(solution / np.maximum(total, 1e-6)), 0), eta)


def label_reachability(
    graph: SurfaceGraph, has_label: Bool[ndarray, "nodes"], leak: float = 0.1, tolerance: float = 3e-4
) -> Float32[ndarray, "nodes"]:
    """Probability that a walk over the surface from each voxel meets a label before it dies.

    The random walker of `solve_posterior` without clusters, which dies at a voxel with the rate of one more edge, of
    the weight `leak`: x is 1 where there is a label, else sum_j w_ij x_j / (sum_j w_ij + leak).

    Args:
        graph: the voxels.
        has_label: voxels with a label.
        leak: weight of dying, where an edge between voxels that look the same has 1; at 0.1 walks go some 9 voxels far.
        tolerance: residual norm over that of the right-hand side at which the solver stops.
    """
    target = np.where(has_label, _HOLD, np.float32(0))[:, None]
    diagonal = graph.weights.sum(axis=1) + target[:, 0] + np.float32(leak)
    system = LinearSystem(graph.edges, _no_clusters(graph), 0.0, diagonal, target[:, 0] + np.float32(leak))
    solution = solve(system, target, _REACH_ITERATIONS, tolerance)
    return np.where(has_label, np.float32(1), np.clip(solution[:, 0], 0, 1))


def _no_clusters(graph: SurfaceGraph) -> Clusters:
    return Clusters(np.empty((0, graph.num_nodes), np.int32), np.empty((0, 0), np.float32))


def onto_simplex(x: Float32[ndarray, "rows classes"]) -> Float32[ndarray, "rows classes"]:
    """The distribution nearest to each row: max(x - tau, 0) with the tau that makes it sum to one.

    Held, Wolfe and Crowder (1974). What noise scatters over many classes about zero is dropped, where cutting at zero
    would keep the upper half of it.
    """
    found = np.empty_like(x)
    kernels.onto_simplex(x, found)
    return found
