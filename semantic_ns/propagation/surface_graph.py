"""A scene's surface as a graph: voxels that camera rays end in, joined where they touch and look alike."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt32
from numpy import ndarray

from semantic_ns.propagation import surface_graph_numba as kernels
from semantic_ns.surface.voxels import Voxels, fitting_grid, voxelise


@dataclass(frozen=True)
class EdgeWeights:
    """How alike two voxels are that touch: exp(-a |c_i - c_j|^p - b |n_i - n_j|^p) + floor.

    Attributes:
        color_slope: a, for colours RGB in 0..1.
        normal_slope: b, for normals of unit length.
        brightness: what the part of c_i - c_j along grey counts beside the rest: light and shade change the brightness
            within a class.
        is_squared: whether p is 2, else it is 1.
        floor: weight of an edge between voxels that have nothing in common, so that every voxel is reached.
    """

    color_slope: float
    normal_slope: float
    brightness: float
    is_squared: bool
    floor: float


SOFT_EDGES = EdgeWeights(color_slope=30.0, normal_slope=2.1, brightness=0.5, is_squared=False, floor=3e-3)
"""For labels that are spread once: a strong contrast is as often a pattern on one thing as a weaker one."""
SHARP_EDGES = EdgeWeights(color_slope=1500.0, normal_slope=3.0, brightness=1.0, is_squared=True, floor=1e-5)
"""For a mark, which is to stay on the thing that it is on: with soft edges `sns-label` took twice the marks."""


@dataclass(frozen=True)
class SurfacePoints:
    """Points on the surface, as cameras see them.

    Attributes:
        positions: positions in the unit cube of the field's hash grid.
        colors: RGB in 0..1.
        normals: unit length, towards either side, in the frame of the scene.
    """

    positions: Float32[ndarray, "points 3"]
    colors: Float32[ndarray, "points 3"]
    normals: Float32[ndarray, "points 3"]


class Edges(NamedTuple):
    """The edges of a graph, row by row, each from either side.

    Attributes:
        starts: place of the first edge of each voxel and, at the end, the number of edges.
        others: the voxel at the other end of each edge, in the order of `Voxels.neighbours`.
        weights: their weights, above 0.
    """

    starts: UInt32[ndarray, "nodes_and_one"]
    others: UInt32[ndarray, "edges"]
    weights: Float32[ndarray, "edges"]


@dataclass(frozen=True)
class SurfaceGraph:
    """Occupied voxels of a grid over the unit cube, and the edges between those that touch.

    Attributes:
        voxels: the nodes of the graph.
        neighbours: voxels around each voxel, -1 where there is none; see `Voxels.neighbours` for their order.
        weights: weights of the edges to them, symmetric, 0 where there is no edge.
        centres, colours, normals: means of the points in each voxel; normals have unit length.
    """

    voxels: Voxels
    neighbours: Int32[ndarray, "nodes 27"]
    weights: Float32[ndarray, "nodes 27"]
    centres: Float32[ndarray, "nodes 3"]
    colors: Float32[ndarray, "nodes 3"]
    normals: Float32[ndarray, "nodes 3"]

    @property
    def num_nodes(self) -> int:
        """Number of voxels M."""
        return len(self.voxels)

    @cached_property
    def edges(self) -> Edges:
        """The edges alone, through which one gets faster than through all neighbours."""
        is_edge = self.weights > 0
        starts = np.zeros(self.num_nodes + 1, np.uint32)
        np.cumsum(is_edge.sum(axis=1), out=starts[1:])
        return Edges(starts, self.neighbours[is_edge].astype(np.uint32), self.weights[is_edge])

    @property
    def resolution(self) -> int:
        """Voxels along an axis of the cube."""
        return self.voxels.grid.resolution


def build_surface_graph(points: SurfacePoints, num_nodes: int, edge_weights: EdgeWeights = SOFT_EDGES) -> SurfaceGraph:
    """Divide the points into about as many voxels as asked for, and join those that touch.

    The weight of an edge is that of `EdgeWeights`, but for the floor over the root of the number of axes along which
    the voxels differ: paint and creases separate, as in random-walker segmentation (Grady 2006, equation (1), where
    differences are squared).

    Args:
        points: points of all views together.
        num_nodes: voxels wanted, see `fitting_grid`.
        edge_weights: how alike voxels are.
    """
    voxels, of_points = voxelise(fitting_grid(points.positions, num_nodes), points.positions)
    means = np.empty((len(voxels), 9), np.float32)
    values = np.concatenate([points.positions, points.colors, points.normals], axis=1)
    kernels.mean_of_nodes(of_points, values, means, np.empty(len(voxels), np.int64))
    centres, colors, normals = (np.ascontiguousarray(part) for part in np.split(means, 3, axis=1))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    neighbours = voxels.neighbours()
    weights = np.empty(neighbours.shape, np.float32)
    color_slope, normal_slope, brightness, floor = (
        np.float32(getattr(edge_weights, name)) for name in ("color_slope", "normal_slope", "brightness", "floor")
    )
    kernels.edge_weights(
        neighbours, colors, normals, color_slope, normal_slope, brightness, edge_weights.is_squared, floor, weights
    )
    return SurfaceGraph(voxels, neighbours, weights, centres, colors, normals)
