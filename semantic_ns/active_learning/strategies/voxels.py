"""The surface that the pool shows, in voxels: which units show which, what each is worth, and which are near."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numpy import ndarray

from semantic_ns.active_learning.acquisition import mean_by_group
from semantic_ns.active_learning.strategies import voxels_numba as kernels

_CREASE_COSINE = float(np.cos(np.deg2rad(30.0)))


@dataclass(frozen=True, eq=False)
class Voxels:
    """Occupied cells of a grid over the scene.

    Attributes:
        keys: of each voxel, ascending; see :func:`voxel_keys`.
        of_pixels: voxel of each pixel, -1 for a pixel without one.
    """

    keys: Int64[ndarray, "voxels"]
    of_pixels: Int64[ndarray, "pixels"]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def is_used(self) -> Bool[ndarray, "pixels"]:
        """Pixels that have a voxel."""
        return self.of_pixels >= 0

    def mean(self, values: Float32[ndarray, "pixels *channels"]) -> Float64[ndarray, "voxels *channels"]:
        """Mean of the values of the pixels in each voxel."""
        return mean_by_group(values[self.is_used], self.of_pixels[self.is_used], len(self))

    def num_frames(self, frames: Int32[ndarray, "pixels"]) -> Int64[ndarray, "voxels"]:
        """Number of frames that have a pixel in each voxel."""
        pairs = distinct_pairs(self.of_pixels[self.is_used], frames[self.is_used])
        return np.bincount(pairs[0], minlength=len(self))

    def by_group(
        self, groups: Int64[ndarray, "pixels"], num_groups: int
    ) -> tuple[Int64[ndarray, "groups_plus_one"], Int64[ndarray, "pairs"]]:
        """The voxels of the pixels of each group, each once, ascending.

        Args:
            groups: 0..G-1 for each pixel.
            num_groups: G.

        Returns:
            index of each group's first entry, and their number at the end; the entries.
        """
        numbers, voxels = distinct_pairs(groups[self.is_used], self.of_pixels[self.is_used])
        return np.searchsorted(numbers, np.arange(num_groups + 1)), voxels

    def is_crease(self, normals: Float32[ndarray, "pixels 3"]) -> Bool[ndarray, "voxels"]:
        """Voxels that touch one whose mean normal lies more than 30 degrees from theirs, whichever way both point.

        Args:
            normals: of the pixels, unit length.
        """
        result = np.zeros(len(self), np.bool_)
        kernels.find_creases(self.keys, self._mean_normals(normals), _CREASE_COSINE, result)
        return result

    def _mean_normals(self, normals: Float32[ndarray, "pixels 3"]) -> Float64[ndarray, "voxels 3"]:
        # A normal may point either way: the first eigenvector of the mean of n n^T does not care.
        axes = np.linalg.eigh(self.mean(normals[:, :, None] * normals[:, None, :]))[1]
        return np.ascontiguousarray(axes[:, :, -1])


def distinct_pairs(
    first: Int32[ndarray, "pixels"] | Int64[ndarray, "pixels"],
    second: Int32[ndarray, "pixels"] | Int64[ndarray, "pixels"],
) -> tuple[Int64[ndarray, "pairs"], Int64[ndarray, "pairs"]]:
    """Pairs of numbers >= 0 that occur, each once, in ascending order."""
    if len(first) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    factor = int(second.max()) + 1
    return np.divmod(np.unique(first.astype(np.int64) * factor + second), factor)


def voxel_keys(points_m: Float32[ndarray, "points 3"], size_m: float) -> Int64[ndarray, "points"]:
    """The key of the voxel that each point lies in: floor(x / size) of each axis as a number of 21 bits, x first.

    Numbers grow with the coordinates; 2^20 is the cell that begins at 0. Points beyond the grid, which is 100 km wide
    for voxels of 5 cm, belong to its border.
    """
    margin = kernels.RADIUS  # so that every voxel has neighbours
    cells = np.clip(np.floor(points_m.astype(np.float64) / size_m), margin - kernels.HALF, kernels.HALF - 1 - margin)
    x, y, z = (cells.astype(np.int64) + kernels.HALF).T
    return (x << 2 * kernels.BITS) | (y << kernels.BITS) | z


def voxelise(points_m: Float32[ndarray, "pixels 3"], is_used: Bool[ndarray, "pixels"], size_m: float) -> Voxels:
    """Divide the points of the pixels into voxels; those that are not used get none.

    Args:
        points_m: finite where used.
        is_used: pixels whose points count.
        size_m: edge of a voxel.
    """
    of_pixels = np.full(len(points_m), -1, np.int64)
    keys, of_pixels[is_used] = np.unique(voxel_keys(points_m[is_used], size_m), return_inverse=True)
    return Voxels(keys, of_pixels)
