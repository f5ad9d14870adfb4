"""Points in voxels: a grid over space, those of its voxels that are occupied, and which of these touch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numpy import ndarray

from semantic_ns.surface import voxels_numba as kernels

_LEAST_RESOLUTION, _LARGEST_RESOLUTION = 8, 4096
_POINTS_OF_SAMPLE = 200_000


@dataclass(frozen=True)
class VoxelGrid:
    """Cubes of one size, with faces at the multiples of it.

    The key of a voxel holds its number along x, y and z, floor(coordinate / edge) + 2^20, in 21 bits each, x first.
    Keys therefore grow with x, then y, then z.

    Attributes:
        edge: Edge of a voxel, in the unit of the points.
        resolution: Number of voxels along an axis of the unit cube, outside of which there are none. For a grid over
            all space it is 0: the voxels reach 2^20 edges from the origin either way, which are 50 km for 5 cm, and
            points beyond belong to those at the border.
    """

    edge: float
    resolution: int = 0

    @classmethod
    def of_unit_cube(cls, resolution: int) -> "VoxelGrid":
        """The grid that divides the unit cube into so many voxels along each axis; there are none outside it."""
        return cls(1 / resolution, resolution)

    def keys_of(self, points: Float32[ndarray, "points 3"]) -> Int64[ndarray, "points"]:
        """The key of the voxel that each point lies in; -1 outside the unit cube of such a grid, or if not finite."""
        keys = np.empty(len(points), np.int64)
        kernels.voxel_keys(np.ascontiguousarray(points), self.resolution, self.edge, keys)
        return keys


@dataclass(frozen=True, eq=False)
class Voxels:
    """Occupied voxels of a grid.

    Attributes:
        grid: The grid that they belong to.
        keys: The key of each voxel, ascending; see `VoxelGrid`.
    """

    grid: VoxelGrid
    keys: Int64[ndarray, "voxels"]

    def __len__(self) -> int:
        return len(self.keys)

    def at(self, points: Float32[ndarray, "points 3"]) -> Int32[ndarray, "points"]:
        """The number of the voxel that each point lies in, -1 where none is occupied."""
        numbers = np.empty(len(points), np.int32)
        kernels.find_all(self.keys, self.grid.keys_of(points), numbers)
        return numbers

    def neighbours(self) -> Int32[ndarray, "voxels 27"]:
        """The numbers of the voxels that touch each voxel, -1 where none is occupied.

        Entry 9 (x + 1) + 3 (y + 1) + z + 1 is the voxel at the offset (x, y, z); entry 13 is the voxel itself.
        """
        neighbours = np.empty((len(self), kernels.NUM_TOUCHING), np.int32)
        kernels.find_neighbours(self.keys, neighbours)
        return neighbours

    def is_crease(self, normals: Float64[ndarray, "voxels 3"], cosine: float) -> Bool[ndarray, "voxels"]:
        """Voxels that touch one whose normal is turned against theirs, whichever way both point.

        Args:
            normals: The normal of the surface in each voxel, unit length.
            cosine: The cosine of the angle up to which a surface counts as flat.
        """
        result = np.zeros(len(self), np.bool_)
        kernels.find_creases(self.keys, normals, cosine, result)
        return result


def voxelise(
    grid: VoxelGrid, points: Float32[ndarray, "points 3"], is_used: Bool[ndarray, "points"] | None = None
) -> tuple[Voxels, Int64[ndarray, "points"]]:
    """The voxels that points occupy, and the number of the voxel of each point, -1 for a point without one.

    Args:
        grid: The grid that the voxels belong to.
        points: Points in its frame and unit; those that are not finite have no voxel.
        is_used: The points that count; all by default. The others have no voxel.
    """
    keys = grid.keys_of(points)
    if is_used is not None:
        keys[~is_used] = -1
    used = np.flatnonzero(keys >= 0)
    # Without the others, for sorting is slow where many are equal.
    keys = keys if len(used) == len(keys) else keys[used]
    occupied, numbers = np.empty_like(keys), np.empty_like(keys)
    num_voxels = kernels.number_voxels(keys, np.argsort(keys), occupied, numbers)
    voxels = Voxels(grid, occupied[:num_voxels].copy())
    if len(used) == len(points):
        return voxels, numbers
    of_points = np.full(len(points), -1, np.int64)
    of_points[used] = numbers
    return voxels, of_points


def fitting_grid(points: Float32[ndarray, "points 3"], num_voxels: int) -> VoxelGrid:
    """The grid of the unit cube of which points occupy about so many voxels.

    Args:
        points: Points on a surface in the unit cube; those outside it have no voxel.
        num_voxels: The number of voxels wanted. A surface fills a share of the cube that falls with the resolution, so
            that the number grows with its square.
    """
    sample = points[:: max(1, len(points) // _POINTS_OF_SAMPLE)]
    grid = VoxelGrid.of_unit_cube(128)
    # The last time with all points, which together reach voxels that a sample misses.
    for some in (sample, sample, sample, points):
        found = len(np.unique(grid.keys_of(some)))
        resolution = round(grid.resolution * (num_voxels / max(found, 1)) ** 0.5)
        grid = VoxelGrid.of_unit_cube(int(np.clip(resolution, _LEAST_RESOLUTION, _LARGEST_RESOLUTION)))
    return grid
