"""Linear systems of a surface, solved by conjugate gradients, from nothing or from a solution of before."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from semantic_ns.propagation import posterior_numba as kernels
from semantic_ns.propagation.clusters import Clusters
from semantic_ns.propagation.surface_graph import Edges

_LANES = 8
"""Classes that a vector register holds: fewer cost as much."""


class Workspace(NamedTuple):
    """What a product with the matrix is written to, taken once for all iterations.

    Attributes:
        product: the product.
        partial: sums over blocks of rows.
        means: means over clusters.
    """

    product: Float32[ndarray, "nodes classes"]
    partial: Float64[ndarray, "blocks classes"]
    means: Float32[ndarray, "divisions clusters classes"]


@dataclass(frozen=True)
class LinearSystem:
    """The matrix D - W - f sum_d P_d diag(1 / sizes) P_d^T, with P_d [M, clusters] the membership in division d.

    Attributes:
        edges: W.
        clusters: divisions of the voxels.
        coupling: f.
        diagonal: D.
        held: what D has beside the weights of the edges and the coupling.
    """

    edges: Edges
    clusters: Clusters
    coupling: float
    diagonal: Float32[ndarray, "nodes"]
    held: Float32[ndarray, "nodes"]

    def times(self, x: Float32[ndarray, "nodes classes"], work: "Workspace") -> None:
        """Fill the product in `work`, and its sums over blocks of rows of x times that."""
        kernels.multiply(
            *self.edges, self.diagonal, self.clusters.rows, self._means(x, work), np.float32(self.coupling), x,
            work.product, work.partial,
        )  # fmt: skip

    def residual(
        self, x: Float32[ndarray, "nodes classes"], target: Float32[ndarray, "nodes classes"], work: "Workspace"
    ) -> Float32[ndarray, "nodes classes"]:
        """B - A x, more exact than by `times` where strong edges join what is alike."""
        found = np.empty_like(x)
        kernels.fill_residual(
            *self.edges, self.held, self.clusters.rows, self._means(x, work), np.float32(self.coupling), x, target,
            found,
        )  # fmt: skip
        return found

    def _means(self, x: Float32[ndarray, "nodes classes"], work: "Workspace") -> Float32[ndarray, "clusters classes"]:
        work.means.fill(0)
        kernels.cluster_means(self.clusters.numbers, self.clusters.sizes, x, work.means)
        return work.means.reshape(-1, x.shape[1])

    def workspace(self, num_classes: int) -> "Workspace":
        """Room for products with C columns."""
        size = len(self.diagonal)
        return Workspace(
            np.empty((size, num_classes), np.float32),
            np.empty((kernels.number_of_blocks(size), num_classes)),
            np.empty((*self.clusters.sizes.shape, num_classes), np.float32),
        )

    @cached_property
    def own_diagonal(self) -> Float32[ndarray, "nodes"]:
        """The diagonal of the matrix: D less what voxels have of the means of their own clusters.

        A voxel that is alone in its clusters and hangs on the weakest of edges has some 1e-5 here where D has .2.
        """
        sums = np.zeros(len(self.held))
        for numbers, sizes in zip(self.clusters.numbers, self.clusters.sizes, strict=True):
            sums += (self.coupling * (1 - 1 / np.maximum(sizes, 1)))[numbers]
        rows = np.repeat(np.arange(len(self.held)), np.diff(self.edges.starts))
        return (sums + np.bincount(rows, self.edges.weights, len(self.held)) + self.held).astype(np.float32)


def solve(
    system: LinearSystem, target: Float32[ndarray, "nodes classes"], max_iterations: int, tolerance: float
) -> Float32[ndarray, "nodes classes"]:
    """Solve A x = b for each column, from nothing, until each of them is solved.

    Args:
        system: A.
        target: b.
        max_iterations: largest number of iterations.
        tolerance: residual norm over that of the right-hand side at which a column is solved.
    """
    diagonal = system.diagonal
    x, residual = np.zeros_like(target), target.copy()
    direction, work = target / diagonal[:, None], system.workspace(target.shape[1])
    squared = (residual * residual / diagonal[:, None]).sum(axis=0, dtype=np.float64)
    enough = tolerance**2 * squared
    for _ in range(max_iterations):
        if (squared <= enough).all():
            break
        system.times(direction, work)
        step = squared / np.maximum(work.partial.sum(axis=0), 1e-30)
        kernels.advance(x, residual, direction, work.product, diagonal, step.astype(np.float32), work.partial)
        before, squared = squared, work.partial.sum(axis=0)
        ratio = squared / np.maximum(before, 1e-30)
        kernels.turn(direction, residual, diagonal, ratio.astype(np.float32))
    return x


def solve_from(
    system: LinearSystem,
    start: Float32[ndarray, "nodes classes"],
    target: Float32[ndarray, "nodes classes"],
    max_iterations: int,
    tolerance: float,
) -> Float32[ndarray, "nodes classes"]:
    """Solve A x = b for each column from what is near its solution; a column rests once it is solved.

    The residuals are those of `start`, so that no error adds up from one call to the next. The preconditioner is the
    diagonal of A itself: where edges are weak, too, a column is solved when it rests.

    Args:
        system: A.
        start: x to begin at, which is written over.
        target: b.
        max_iterations: largest number of iterations.
        tolerance: residual norm over that of the right-hand side at which a column is solved; of a column whose right-
            hand side is less than all those that are somewhere above 0, over the least of these.
    """
    diagonal, solution = system.own_diagonal, np.empty_like(target)
    columns, x = np.arange(target.shape[1]), start
    work = system.workspace(len(columns))
    residual = system.residual(x, target, work)
    direction = residual / diagonal[:, None]
    squared, norms = _column_products(residual, direction), _column_products(target, target / diagonal[:, None])
    is_asked = (target > 0).any(axis=0)
    enough = tolerance**2 * np.maximum(norms, norms[is_asked].min(initial=np.inf) if is_asked.any() else 0.0)
    for _ in range(max_iterations):
        num_open = int((squared > enough).sum())
        if num_open == 0:
            break
        width = -(-num_open // _LANES) * _LANES
        if width < len(columns):
            solution[:, columns] = x
            kept = np.sort(np.argsort(-squared / np.maximum(enough, 1e-30), kind="stable")[:width])
            x, residual, direction = (np.ascontiguousarray(part[:, kept]) for part in (x, residual, direction))
            columns, squared, enough = columns[kept], squared[kept], enough[kept]
            work = system.workspace(width)
        system.times(direction, work)
        step = squared / np.maximum(work.partial.sum(axis=0), 1e-30)
        kernels.advance(x, residual, direction, work.product, diagonal, step.astype(np.float32), work.partial)
        before, squared = squared, work.partial.sum(axis=0)
        ratio = squared / np.maximum(before, 1e-30)
        kernels.turn(direction, residual, diagonal, ratio.astype(np.float32))
    if len(columns) == target.shape[1]:
        return x
    solution[:, columns] = x
    return solution


def _column_products(
    a: Float32[ndarray, "nodes classes"], b: Float32[ndarray, "nodes classes"]
) -> Float64[ndarray, "classes"]:
    return np.einsum("nc,nc->c", a, b, dtype=np.float64)
