"""Classes of all voxels of one surface, again and again while votes change."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int32
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from semantic_ns.propagation.clusters import Clusters
from semantic_ns.propagation.conjugate_gradients import LinearSystem, solve_from
from semantic_ns.propagation.pieces import SurfacePieces
from semantic_ns.propagation.posterior import LabelPosterior, onto_simplex, solution_of_votes, system_of_votes
from semantic_ns.propagation.surface_graph import SurfaceGraph

_MAX_ITERATIONS = 300
_TOLERANCE = 3e-4
"""A third of the one of `solve_posterior`, which goes on with every class until the slowest is solved: so the classes
are nearer to the exact ones than those that are computed anew."""

_LEAST_TOTAL = 1e-6
"""Of all classes, where anything is known."""


@dataclass(frozen=True, eq=False)
class _Solved:
    """What is kept of the votes of before.

    Attributes:
        votes: the votes.
        prior: what voxels look like, where that was looked at.
        shares: the solution, of which all classes sum to 1 where anything is known.
        posterior: what was found.
    """

    votes: Float32[ndarray, "nodes classes"]
    prior: Float32[ndarray, "nodes classes"] | None
    shares: Float32[ndarray, "nodes classes"]
    posterior: LabelPosterior


class PosteriorUpdates:
    """The posterior of one surface, as often as votes change.

    The first time it is that of `solve_posterior`, to the bit, and it stays while the votes do. From then on the next
    solution begins at the one of before, and only classes that are not solved yet are gone on with: the less votes
    change the less that takes.

    Args:
        graph: the voxels.
        clusters: those of the graph.
    """

    def __init__(self, graph: SurfaceGraph, clusters: Clusters) -> None:
        self._graph, self._clusters = graph, clusters
        self._before: _Solved | None = None

    def prepare(self) -> None:
        """Compute what all votes but the first need, so that none of them waits for it."""
        _ = self._parts, self._pieces

    def solve(
        self, votes: Float32[ndarray, "nodes classes"], prior: Float32[ndarray, "nodes classes"] | None = None
    ) -> LabelPosterior:
        """Spread votes over the surface, see `solve_posterior`.

        Args:
            votes: votes of labelled pixels.
            prior: class probabilities of voxels by how they look, zero rows where nothing is known.
        """
        before = self._before
        if before is not None and np.array_equal(before.votes, votes) and before.prior is prior:
            return before.posterior
        if before is None or before.votes.shape != votes.shape:
            posterior, solution = solution_of_votes(self._graph, votes, self._clusters, prior)
        else:
            system, target, eta = system_of_votes(self._graph, votes, prior=prior, clusters=self._clusters)
            is_reached = self._are_reached(votes if prior is None else votes + prior)[:, None]
            solution = self._solution(system, before.shares * is_reached, target)
            posterior = LabelPosterior(onto_simplex(solution) * is_reached, eta)
        # Those of an exact solution sum to 1. Else, what one class is away by would become an error of all others.
        total = solution.sum(axis=1, keepdims=True)
        total[total < _LEAST_TOTAL] = 1
        self._before = _Solved(votes.copy(), prior, np.divide(solution, total, out=solution), posterior)
        return posterior

    def _are_reached(self, evidence: Float32[ndarray, "nodes classes"]) -> Bool[ndarray, "nodes"]:
        """Voxels of the parts of the surface of which anything is known."""
        return (np.bincount(self._parts, evidence.sum(axis=1)) > 0)[self._parts]

    def _solution(
        self,
        system: LinearSystem,
        x: Float32[ndarray, "nodes classes"],
        target: Float32[ndarray, "nodes classes"],
    ) -> Float32[ndarray, "nodes classes"]:
        """What is solved from x, 0 where no vote reaches: such parts of the surface are held by nothing."""
        factors, work = self._pieces.factor(system), system.workspace(x.shape[1])
        self._pieces.correct(x, system.residual(x, target, work), factors)
        x = solve_from(system, x, target, _MAX_ITERATIONS, _TOLERANCE)
        # Pieces follow what lies around them, where it has changed.
        self._pieces.correct(x, system.residual(x, target, work), factors)
        return x

    @cached_property
    def _pieces(self) -> SurfacePieces:
        return SurfacePieces(self._graph.edges, self._clusters)

    @cached_property
    def _parts(self) -> Int32[ndarray, "nodes"]:
        """Which of the parts, that neither edges nor clusters join, each voxel is of; from 0."""
        num_nodes, (starts, others, _) = self._graph.num_nodes, self._graph.edges
        voxels, clusters = np.arange(num_nodes), self._clusters.rows.astype(np.int64) + num_nodes
        ends = (
            np.concatenate([np.repeat(voxels, np.diff(starts)), np.repeat(voxels, clusters.shape[1])]),
            np.concatenate([others.astype(np.int64), clusters.reshape(-1)]),
        )
        size = num_nodes + self._clusters.sizes.size
        joined = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(size, size))
        numbers = connected_components(joined, directed=False)[1][:num_nodes]
        return np.unique(numbers, return_inverse=True)[1].reshape(-1).astype(np.int32)
