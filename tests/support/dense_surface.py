"""Points on a small surface, and the matrices of its graph by their definition."""

import itertools

import numpy as np

from semantic_ns.propagation.clusters import Clusters
from semantic_ns.propagation.surface_graph import SurfaceGraph, SurfacePoints


def random_points(seed: int, count: int = 4000) -> SurfacePoints:
    """Points on two planes of the unit cube that meet in an edge, each with a colour of its own and some noise."""
    g = np.random.default_rng(seed)
    plane = g.integers(0, 2, count)
    uv = 0.1 + 0.5 * g.random((count, 2))
    positions = np.where(plane[:, None] == 0, np.c_[uv, np.full(count, 0.1)], np.c_[np.full(count, 0.1), uv])
    colors = np.where(plane[:, None] == 0, 0.2, 0.8) + 0.01 * g.standard_normal((count, 3))
    normals = np.where(plane[:, None] == 0, np.array([0, 0, 1.0]), np.array([1.0, 0, 0]))
    return SurfacePoints(*(x.astype(np.float32) for x in (positions, colors, normals)))


def cluster_laplacian(clusters: Clusters) -> np.ndarray:
    """Of sum over divisions of |x_v - mean of the cluster of v|^2, by definition."""
    num_nodes = clusters.numbers.shape[1]
    total = np.zeros((num_nodes, num_nodes))
    for row in clusters.numbers:
        same = row[:, None] == row[None]
        away = np.eye(num_nodes) - same / same.sum(1, keepdims=True)
        total += away.T @ away
    return total


def laplacian(graph: SurfaceGraph) -> np.ndarray:
    """Dense D - W."""
    result = np.zeros((graph.num_nodes, graph.num_nodes))
    for i, e in itertools.product(range(graph.num_nodes), range(27)):
        j = graph.neighbours[i, e]
        if j >= 0:
            result[i, j] -= graph.weights[i, e]
            result[i, i] += graph.weights[i, e]
    return result
