"""The pieces of a surface that only weak edges join, whose levels are solved for exactly."""

import numpy as np
from jaxtyping import Float32, Int32
from numpy import ndarray
from scipy.sparse import csc_array, csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import SuperLU, splu

from semantic_ns.propagation.clusters import Clusters
from semantic_ns.propagation.conjugate_gradients import LinearSystem
from semantic_ns.propagation.surface_graph import Edges

_STRONG = 0.1
"""Weight from which on an edge joins two voxels to one piece; between voxels that look the same it has 1."""


class SurfacePieces:
    """Pieces whose voxels strong edges join.

    What is wrong with the level of a piece that hangs on weak edges is hardly seen in any residual, and takes conjugate
    gradients the more iterations the weaker these are. With P [M, pieces] the membership, the levels d that are best
    added to x solve P^T A P d = P^T (b - A x): the coarse grid of a multigrid method, or deflation (Nicolaides 1987).

    Args:
        edges: the edges of the voxels.
        clusters: divisions of the voxels.
    """

    def __init__(self, edges: Edges, clusters: Clusters) -> None:
        num_nodes = len(edges.starts) - 1
        shape, starts, others = (num_nodes, num_nodes), edges.starts.astype(np.int64), edges.others.astype(np.int64)
        joined = csr_array((edges.weights.astype(np.float64), others, starts), shape=shape)
        strong = joined.copy()
        strong.data[strong.data < _STRONG] = 0
        strong.eliminate_zeros()
        number, numbers = connected_components(strong, directed=False)
        voxels, ones = np.arange(num_nodes), np.ones(num_nodes)
        of_voxels = csr_array((ones, (voxels, numbers)), shape=(num_nodes, number))
        laplacian = csc_array(of_voxels.T @ (diags_array(joined.sum(axis=1)) - joined) @ of_voxels)
        by_clusters = csc_array((number, number))
        for division, sizes in zip(clusters.numbers, clusters.sizes, strict=True):
            counts = csr_array((ones, (division, voxels)), shape=(len(sizes), num_nodes)) @ of_voxels
            shared = counts.T @ diags_array(1 / np.maximum(sizes, 1).astype(np.float64)) @ counts
            by_clusters += diags_array(of_voxels.sum(axis=0)) - shared
        # The order that leaves the factors sparse takes as long as these, and stays as long as the surface does.
        places = _factors(laplacian + by_clusters + diags_array(np.ones(number)), "MMD_AT_PLUS_A").perm_c
        order = np.argsort(places)
        self._laplacian, self._by_clusters = laplacian[order][:, order], by_clusters[order][:, order]
        self._sum = csr_array(of_voxels.T[order], dtype=np.float32)
        self.numbers: Int32[ndarray, "nodes"] = places[numbers].astype(np.int32)
        """The piece of each voxel."""

    def factor(self, system: LinearSystem) -> SuperLU:
        """The factors of P^T A P."""
        held = np.bincount(self.numbers, system.held, self._laplacian.shape[0])
        return _factors(self._laplacian + system.coupling * self._by_clusters + diags_array(held), "NATURAL")

    def correct(
        self, x: Float32[ndarray, "nodes classes"], residual: Float32[ndarray, "nodes classes"], factors: SuperLU
    ) -> None:
        """Add to each piece of x the level that is best."""
        levels = factors.solve((self._sum @ residual).astype(np.float64))
        x += levels.astype(np.float32)[self.numbers]


def _factors(matrix: csc_array, order: str) -> SuperLU:
    # Symmetric mode keeps to the diagonal, which is safe for this matrix and halves what is filled in.
    return splu(csc_array(matrix), permc_spec=order, diag_pivot_thresh=0.0, options={"SymmetricMode": True})
