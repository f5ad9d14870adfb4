"""Voxels of like colour and direction in one neighbourhood, touching or not."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int32, UInt32
from numpy import ndarray

from semantic_ns.propagation.surface_graph import SurfaceGraph

_NUM_DIVISIONS = 4
"""Shifted against each other: neighbours that a border of one parts are mostly together in another."""
_EDGE = 1 / 12
"""Length of a neighbourhood, in roots of the area of the surface: about 0.6 m in a room."""
_COLOR_STEP = 1 / 28
"""Edge of a cell along red, green and blue, which are in 0..1."""
_NORMAL_STEP = 1.0
"""Edge of a cell along the components of unit normals."""


@dataclass(frozen=True)
class Clusters:
    """Divisions of all voxels into clusters.

    Attributes:
        numbers: number, from 0, of the cluster of each voxel in each division.
        sizes: voxels in each cluster, 0 behind the last one of a division.
    """

    numbers: Int32[ndarray, "divisions nodes"]
    sizes: Float32[ndarray, "divisions clusters"]

    @cached_property
    def rows(self) -> UInt32[ndarray, "nodes divisions"]:
        """The cluster of each voxel in each division, counted through all divisions."""
        first = np.arange(len(self.numbers))[:, None] * self.sizes.shape[1]
        return np.ascontiguousarray((self.numbers + first).T.astype(np.uint32))


def find_clusters(graph: SurfaceGraph) -> Clusters:
    """Divide the voxels by the cells of coarse grids over position, colour and normal.

    The grids are those of the bilateral grid (Chen, Paris and Durand 2007), with the normal as further axes; they
    differ by a shift, drawn from a fixed seed.

    Args:
        graph: graph of M voxels.
    """
    edge = _EDGE * graph.num_nodes**0.5  # in voxels: their number is the area over that of a voxel's face
    features = np.concatenate(
        [graph.centres * (graph.resolution / edge), graph.colors / _COLOR_STEP, graph.normals / _NORMAL_STEP], axis=1
    )
    shifts = np.random.default_rng(0).random((_NUM_DIVISIONS, features.shape[1]))
    numbers = np.stack([_numbered(np.floor(features + shift).astype(np.int32)) for shift in shifts])
    num_clusters = int(numbers.max(initial=-1)) + 1
    sizes = np.stack([np.bincount(row, minlength=num_clusters) for row in numbers])
    return Clusters(numbers, sizes.astype(np.float32))


def _numbered(cells: Int32[ndarray, "nodes axes"]) -> Int32[ndarray, "nodes"]:
    return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int32)
