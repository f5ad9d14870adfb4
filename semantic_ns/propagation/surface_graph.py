"""A scene's surface as a graph: voxels that camera rays end in, joined where they touch and look alike."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt32
from numpy import ndarray

from semantic_ns.propagation import surface_graph_numba as kernels
from semantic_ns.surface.voxels import Voxels, fitting_grid, voxelise

COLOR_SLOPE = 30.0
"""How fast an edge weakens with the difference of colours (RGB in 0..1)."""
NORMAL_SLOPE = 2.1
"""How fast an edge weakens with the length of the difference of normals."""
BRIGHTNESS = 0.5
"""What a difference in brightness counts beside one in hue: light and shade change the brightness within a class."""
_FLOOR = 3e-3
"""Weight of an edge between voxels that have nothing in common, so that every voxel is reached."""


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


def build_surface_graph(
    points: SurfacePoints, num_nodes: int, color_slope: float = COLOR_SLOPE, normal_slope: float = NORMAL_SLOPE
) -> SurfaceGraph:
    """Divide the points into about as many voxels as asked for, and join those that touch.

    The weight of an edge is exp(-a |c_i - c_j| - b |n_i - n_j|) over the root of the number of axes along which the
    voxels differ: paint and creases separate, as in random-walker segmentation (Grady 2006, equation (1)). Differences
    are not squared as they are there, for a strong contrast is as often a pattern on one thing as a weaker one: with
    squares labels hardly ever got over either. The part of c_i - c_j along grey counts less, see `BRIGHTNESS`.

    Args:
        points: points of all views together.
        num_nodes: voxels wanted, see `fitting_grid`.
        color_slope: a, 0 or more.
        normal_slope: b, 0 or more.
    """
    voxels, of_points = voxelise(fitting_grid(points.positions, num_nodes), points.positions)
    means = np.empty((len(voxels), 9), np.float32)
    values = np.concatenate([points.positions, points.colors, points.normals], axis=1)
    kernels.mean_of_nodes(of_points, values, means, np.empty(len(voxels), np.int64))
    centres, colors, normals = (np.ascontiguousarray(part) for part in np.split(means, 3, axis=1))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    neighbours = voxels.neighbours()
    weights = np.empty(neighbours.shape, np.float32)
    kernels.edge_weights(
        neighbours, colors, normals, np.float32(color_slope), np.float32(normal_slope), np.float32(BRIGHTNESS),
        np.float32(_FLOOR), weights,
    )  # fmt: skip
    return SurfaceGraph(voxels, neighbours, weights, centres, colors, normals)
