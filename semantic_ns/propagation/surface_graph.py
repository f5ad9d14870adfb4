"""A scene's surface as a graph: voxels that camera rays end in, joined where they touch and look alike."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64
from numpy import ndarray

from semantic_ns.propagation import surface_graph_numba as kernels

COLOR_SLOPE = 1500.0
"""How fast an edge weakens with the squared difference of colours (RGB in 0..1)."""
NORMAL_SLOPE = 6.0
"""How fast an edge weakens with one minus the cosine between normals."""
_FLOOR = 1e-5
"""Weight of an edge between voxels that have nothing in common, so that every voxel is reached."""


@dataclass(frozen=True)
class SurfacePoints:
    """Points on the surface, as cameras see them.

    Attributes:
        positions: in the unit cube of the field's hash grid.
        colors: RGB in 0..1.
        normals: unit length, towards either side, in the frame of the scene.
    """

    positions: Float32[ndarray, "points 3"]
    colors: Float32[ndarray, "points 3"]
    normals: Float32[ndarray, "points 3"]


@dataclass(frozen=True)
class SurfaceGraph:
    """Occupied voxels of a grid over the unit cube, and the edges between those that touch.

    Attributes:
        resolution: voxels along an axis of the cube.
        keys: (x resolution + y) resolution + z of each voxel, ascending.
        neighbours: voxels around each voxel, -1 where there is none; entry 13 is the voxel itself.
        weights: of the edges to them, symmetric, 0 where there is no edge.
        centres, colours, normals: means of the points in each voxel; normals have unit length.
    """

    resolution: int
    keys: Int64[ndarray, "nodes"]
    neighbours: Int32[ndarray, "nodes 27"]
    weights: Float32[ndarray, "nodes 27"]
    centres: Float32[ndarray, "nodes 3"]
    colors: Float32[ndarray, "nodes 3"]
    normals: Float32[ndarray, "nodes 3"]

    @property
    def num_nodes(self) -> int:
        """Number of voxels M."""
        return len(self.keys)

    def keys_of(self, positions: Float32[ndarray, "points 3"]) -> Int64[ndarray, "points"]:
        """The key of the voxel, occupied or not, that each position lies in; -1 outside the cube."""
        return _keys_of(positions, self.resolution)

    def nodes_of(self, positions: Float32[ndarray, "points 3"]) -> Int32[ndarray, "points"]:
        """The voxel that each position lies in, -1 where none is occupied there."""
        nodes = np.empty(len(positions), np.int32)
        kernels.find_all(self.keys, self.keys_of(positions), nodes)
        return nodes


def build_surface_graph(
    points: SurfacePoints, num_nodes: int, color_slope: float = COLOR_SLOPE, normal_slope: float = NORMAL_SLOPE
) -> SurfaceGraph:
    """Divide the points into about as many voxels as asked for, and join those that touch.

    The weight of an edge is exp(-a |c_i - c_j|^2 - b (1 - n_i . n_j)) over the root of the number of axes along which
    the voxels differ: paint and creases separate, as in random-walker segmentation (Grady 2006, equation (1)).

    Args:
        points: of all views together.
        num_nodes: voxels wanted; a surface fills a share of the cube that falls with the resolution, so that the
            number grows with its square.
        color_slope: a, 0 or more.
        normal_slope: b, 0 or more.
    """
    keys, resolution = _fitting_keys(points.positions, num_nodes)
    unique, nodes = np.unique(keys, return_inverse=True)
    first = int(np.searchsorted(unique, 0))  # points outside the cube have the key -1
    unique, nodes = unique[first:], (nodes.reshape(-1) - first).astype(np.int32)
    means = np.empty((len(unique), 9), np.float32)
    values = np.concatenate([points.positions, points.colors, points.normals], axis=1)
    kernels.mean_of_nodes(nodes, values, means, np.empty(len(unique), np.int64))
    centres, colors, normals = (np.ascontiguousarray(part) for part in np.split(means, 3, axis=1))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    neighbours, weights = np.empty((len(unique), 27), np.int32), np.empty((len(unique), 27), np.float32)
    kernels.find_neighbours(unique, resolution, neighbours)
    kernels.edge_weights(
        neighbours, colors, normals, np.float32(color_slope), np.float32(normal_slope), np.float32(_FLOOR), weights
    )
    return SurfaceGraph(resolution, unique, neighbours, weights, centres, colors, normals)


def _keys_of(positions: Float32[ndarray, "points 3"], resolution: int) -> Int64[ndarray, "points"]:
    keys = np.empty(len(positions), np.int64)
    kernels.voxel_keys(np.ascontiguousarray(positions), resolution, keys)
    return keys


def _fitting_keys(positions: Float32[ndarray, "points 3"], num_nodes: int) -> tuple[Int64[ndarray, "points"], int]:
    """Keys at a resolution that gives about the number of voxels, and the resolution."""
    sample = positions[:: max(1, len(positions) // 200_000)]
    resolution = 128
    for _ in range(3):
        found = len(np.unique(_keys_of(sample, resolution)))
        resolution = int(np.clip(round(resolution * (num_nodes / max(found, 1)) ** 0.5), 8, 4096))
    keys = _keys_of(positions, resolution)
    # A sample misses voxels that all points together reach.
    found = len(np.unique(keys))
    resolution = int(np.clip(round(resolution * (num_nodes / max(found, 1)) ** 0.5), 8, 4096))
    return _keys_of(positions, resolution), resolution
