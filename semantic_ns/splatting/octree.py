"""From coloured points of surfaces to Gaussians: the leaves of an octree, each as wide and flat as its points."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int32, Int64
from numpy import ndarray
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.splatting import octree_numba as kernels
from semantic_ns.splatting.project import Gaussians


@dataclass(frozen=True)
class OctreeConfig:
    """When a leaf of the octree is divided.

    Attributes:
        finest: side of the finest leaves, in units of the points.
        coarsest: side of the coarsest leaves.
        color_tolerance: a leaf is divided if its colours deviate by more than this, in 0..1 (root mean square).
        thickness: a leaf is divided if its points deviate from a plane by more than this share of its side.
        overlap: standard deviations of a Gaussian over those of its points.
        opacity: opacity of all Gaussians.
    """

    finest: float
    coarsest: float
    color_tolerance: float = 0.03
    thickness: float = 0.05
    overlap: float = 2.0
    opacity: float = 0.95


def gaussians_of_points(
    points: Float32[ndarray, "points 3"],
    colors: Float32[ndarray, "points 3"],
    sides: Float32[ndarray, "points"],
    config: OctreeConfig,
    classes: Int32[ndarray, "points"] | None = None,
) -> tuple[Gaussians, Float[Tensor, "gaussians 3"]]:
    """Gaussians that stand for points of surfaces, and their colours.

    A leaf ends where its points lie in a plane and have one colour. Its Gaussian has their mean and, a little wider,
    their covariance, so that neighbours overlap.

    Args:
        points: positions.
        colors: in 0..1.
        sides: side of the pixel that saw each point, at its depth: a point stands for a square of that side.
        config: when a leaf is divided.
        classes: class of each point, -1 for none. A leaf with points of two classes is divided, too, so that no
            Gaussian lies across the outline of an object.

    Raises:
        SceneError: there are no finite points.
    """
    own = np.full(len(points), -1, np.int32) if classes is None else classes
    if not np.isfinite(points).all():
        is_finite = np.isfinite(points).all(axis=1)
        points, colors, sides, own = (each[is_finite] for each in (points, colors, sides, own))
    if len(points) == 0:
        raise SceneError("Expected points of surfaces to begin with, found none; give depth images or sparse points.")
    sums = _leaves(points, colors, sides, own, config)
    count = sums[:, :1]
    means, color = sums[:, 1:4] / count, sums[:, 10:13] / count
    widths, axes = np.linalg.eigh(_covariances(sums))
    scales = config.overlap * np.sqrt(np.maximum(widths, 0) + sums[:, 14:] / count / 12)
    axes[:, :, 0] *= np.sign(np.linalg.det(axes))[:, None]  # a rotation, not a reflection
    centre = _origin(points)
    return (
        Gaussians(
            torch.from_numpy((means + centre).astype(np.float32)),
            torch.from_numpy(quaternions(axes).astype(np.float32)),
            torch.from_numpy(scales.astype(np.float32)),
            torch.full((len(sums),), config.opacity),
        ),
        torch.from_numpy(color.astype(np.float32)),
    )


def _origin(points: ndarray) -> ndarray:
    return np.array([points[:, axis].min() for axis in range(3)], np.float64)


@dataclass(frozen=True)
class _Cells:
    """One level of the tree: keys of its cells, ascending; sums over their points; their least and largest class.

    Sums are those of 1, x y z, xx xy xz yy yz zz, r g b, rr + gg + bb, and side^2. A cell without classes has a least
    class above its largest one.
    """

    keys: Int64[ndarray, "cells"]
    sums: Float64[ndarray, "cells 15"]
    least: Int32[ndarray, "cells"]
    largest: Int32[ndarray, "cells"]

    def parents(self) -> "_Cells":
        keys = self.keys >> 3
        begins = np.flatnonzero(np.diff(keys, prepend=-1))
        return _Cells(
            keys[begins],
            np.add.reduceat(self.sums, begins, axis=0),
            np.minimum.reduceat(self.least, begins),
            np.maximum.reduceat(self.largest, begins),
        )


def _leaves(
    points: ndarray, colors: ndarray, sides: ndarray, classes: ndarray, config: OctreeConfig
) -> Float64[ndarray, "leaves 15"]:
    """Sums over the points of each leaf, see `_Cells`."""
    origin = _origin(points)
    levels = max(0, round(np.log2(max(config.coarsest / config.finest, 1.0))))
    extent = max(float(points[:, axis].max() - origin[axis]) for axis in range(3))
    if extent / config.finest >= 1 << kernels.BITS:
        raise SceneError(
            f"Expected points within {config.finest * 2**kernels.BITS:g} units, found them over "
            f"{extent:g}; leave out stray points, or let the finest leaves be larger."
        )
    keys = np.empty(len(points), np.int64)
    kernels.cell_keys(points, origin, config.finest, keys)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    begins = np.flatnonzero(np.diff(keys, prepend=-1, append=-1))
    finest = _Cells(
        keys[begins[:-1]],
        np.empty((len(begins) - 1, kernels.NUM_SUMS)),
        np.empty(len(begins) - 1, np.int32),
        np.empty(len(begins) - 1, np.int32),
    )
    kernels.sum_cells(order, begins, points, colors, sides, classes, origin, finest.sums, finest.least, finest.largest)
    tree = [finest]
    for _ in range(levels):
        tree.append(tree[-1].parents())
    found, is_covered = [], np.zeros(len(tree[-1].keys), dtype=bool)
    for level in range(levels, -1, -1):
        cells = tree[level]
        is_leaf = np.ones(len(cells.keys), bool)
        if level > 0:
            is_leaf = _is_one_surface(cells.sums, config.finest * 2**level, config) & (cells.least >= cells.largest)
        found.append(cells.sums[is_leaf & ~is_covered])
        if level > 0:
            parent = np.searchsorted(cells.keys, tree[level - 1].keys >> 3)
            is_covered = (is_covered | is_leaf)[parent]
    return np.concatenate(found)


def _is_one_surface(sums: ndarray, side: float, config: OctreeConfig) -> ndarray:
    count = sums[:, 0]
    mean = sums[:, 10:13] / count[:, None]
    deviation = np.sqrt(np.maximum(sums[:, 13] / count - (mean**2).sum(axis=1), 0) / 3)
    thickness = np.sqrt(np.maximum(np.linalg.eigvalsh(_covariances(sums))[:, 0], 0))
    return (deviation <= config.color_tolerance) & (thickness <= config.thickness * side)


def _covariances(sums: Float64[ndarray, "cells 15"]) -> Float64[ndarray, "cells 3 3"]:
    count = sums[:, 0]
    mean = sums[:, 1:4] / count[:, None]
    full = sums[:, [4, 5, 6, 5, 7, 8, 6, 8, 9]].reshape(-1, 3, 3) / count[:, None, None]
    return full - mean[:, :, None] * mean[:, None, :]


def quaternions(rotations: Float64[ndarray, "gaussians 3 3"]) -> Float64[ndarray, "gaussians 4"]:
    """Unit quaternions w, x, y, z of rotation matrices, with w >= 0."""
    r = rotations
    # The largest eigenvector of a symmetric 4x4 matrix (Bar-Itzhack 2000): well-conditioned for every rotation.
    matrix = np.empty((len(r), 4, 4))
    matrix[:, 0, 0] = r[:, 0, 0] + r[:, 1, 1] + r[:, 2, 2]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        matrix[:, i + 1, i + 1] = r[:, i, i] - r[:, j, j] - r[:, k, k]
        matrix[:, 0, i + 1] = matrix[:, i + 1, 0] = r[:, k, j] - r[:, j, k]
        matrix[:, j + 1, k + 1] = matrix[:, k + 1, j + 1] = r[:, j, k] + r[:, k, j]
    found = np.linalg.eigh(matrix)[1][:, :, 3]
    return found * np.where(found[:, :1] < 0, -1.0, 1.0)
