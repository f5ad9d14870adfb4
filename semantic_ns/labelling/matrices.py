"""The sparse matrices of a surface, and their factors."""

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import SuperLU, splu

from semantic_ns.propagation.clusters import Clusters
from semantic_ns.propagation.posterior import LEAST_COUPLING
from semantic_ns.propagation.surface_graph import SurfaceGraph


def graph_laplacian(graph: SurfaceGraph) -> csc_array:
    """The Laplacian of the voxels."""
    rows, places = np.nonzero(graph.weights > 0)
    columns, weights = graph.neighbours[rows, places], graph.weights[rows, places].astype(np.float64)
    shape = graph.num_nodes, graph.num_nodes
    joined = coo_array((weights, (rows, columns)), shape=shape).tocsc()
    return _less_from_diagonal(joined)


def laplacian_of(graph: SurfaceGraph, clusters: Clusters) -> csc_array:
    """The Laplacian of voxels and, behind them, clusters.

    A cluster is a node that is joined to its voxels by edges of the weight f. Where x is at its minimum, it is the mean
    of theirs, so that these edges cost f sum_v |x_v - m(v)|^2, the term of `solve_posterior`.
    """
    num_voxels, num_clusters = graph.num_nodes, clusters.sizes.shape[1]
    rows, places = np.nonzero(graph.weights > 0)
    columns, weights = graph.neighbours[rows, places].astype(np.int64), graph.weights[rows, places].astype(np.float64)
    divisions = np.arange(len(clusters.numbers))[:, None]
    nodes = (num_voxels + divisions * num_clusters + clusters.numbers).reshape(-1)
    members = np.tile(np.arange(num_voxels), len(clusters.numbers))
    # Places behind the last cluster of a division are left out.
    used, nodes = np.unique(nodes, return_inverse=True)
    nodes = nodes.reshape(-1) + num_voxels
    coupling = np.full(len(nodes), LEAST_COUPLING)
    size = num_voxels + len(used)
    joined = coo_array(
        (
            np.concatenate([weights, coupling, coupling]),
            (np.concatenate([rows, nodes, members]), np.concatenate([columns, members, nodes])),
        ),
        shape=(size, size),
    ).tocsc()
    return _less_from_diagonal(joined)


def _less_from_diagonal(joined: csc_array) -> csc_array:
    """The Laplacian D - W of symmetric weights W."""
    degrees = np.asarray(joined.sum(axis=1)).reshape(-1)
    places = np.arange(len(degrees))
    return csc_array(coo_array((degrees, (places, places)), shape=joined.shape).tocsc() - joined)


def factored(laplacian: csc_array, leak: float, weights: Float64[ndarray, "voxels"] | None = None) -> SuperLU:
    """The factors of a Laplacian with more on its diagonal.

    Args:
        laplacian: The matrix.
        leak: What is added to all of its diagonal, above 0.
        weights: What is added for the first nodes, beside that.
    """
    (size, _) = shape = laplacian.shape  # pyright: ignore[reportGeneralTypeIssues]  # of scipy's stubs: None
    places = np.arange(size)
    leaks = np.full(size, leak)
    if weights is not None:
        leaks[: len(weights)] += weights
    diagonal = coo_array((leaks, (places, places)), shape=shape)
    # Symmetric mode keeps to the diagonal, which is safe for this matrix and halves what is filled in.
    options = {"SymmetricMode": True}
    return splu(csc_array(laplacian + diagonal), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
