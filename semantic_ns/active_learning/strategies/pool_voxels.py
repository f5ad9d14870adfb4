"""The surface that the pool shows, in voxels: which units show which, what each is worth, and where it turns."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numpy import ndarray

from semantic_ns.active_learning.acquisition import mean_by_group
from semantic_ns.surface.voxels import VoxelGrid, Voxels, voxelise

_CREASE_COSINE = float(np.cos(np.deg2rad(30.0)))


@dataclass(frozen=True, eq=False)
class PoolVoxels:
    """Voxels that pixels of the pool show.

    Attributes:
        voxels: The voxels, metres in the frame of the scene.
        of_pixels: The number of the voxel of each pixel, -1 for a pixel without one.
    """

    voxels: Voxels
    of_pixels: Int64[ndarray, "pixels"]

    def __len__(self) -> int:
        return len(self.voxels)

    @property
    def keys(self) -> Int64[ndarray, "voxels"]:
        """The key of each voxel, ascending."""
        return self.voxels.keys

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
            normals: normals of the pixels, unit length.
        """
        return self.voxels.is_crease(self._mean_normals(normals), _CREASE_COSINE)

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


def voxelise_pixels(
    points_m: Float32[ndarray, "pixels 3"], is_used: Bool[ndarray, "pixels"], size_m: float
) -> PoolVoxels:
    """Divide the points of the pixels into voxels; those that are not used, or not finite, get none.

    Args:
        points_m: The point that each pixel shows, scene frame, metres.
        is_used: pixels whose points count.
        size_m: edge of a voxel.
    """
    return PoolVoxels(*voxelise(VoxelGrid(size_m), points_m, is_used))
