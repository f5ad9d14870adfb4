"""Depth by stereo made finer: at the size of larger images, and on planes that lie closer than those of the search.

Depth is searched on few planes at few pixels, which decides which surface a pixel shows. How far away it is is decided
here, on planes close to what was found: many of them over the whole range would take far longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from numpy import ndarray
from torch import Tensor

from semantic_ns.geometry.views import NEAREST_M, ViewCameras, sweep_matrices
from semantic_ns.multi_view.stereo import StereoSettings, best_depth_between, compared_maps, enlarged_depth


@dataclass(frozen=True)
class FinerPlanes:
    """Planes around those on which depth was found.

    Attributes:
        factor: planes for each one of the search.
        reach: planes of the search to either side of a depth that are looked at.
        small_step: cost of a neighbour one finer plane away, as a share of that of one plane of the search. More than
            1 / factor: what is left to decide are small differences.
    """

    factor: int = 6
    reach: int = 1
    small_step: float = 0.5

    @property
    def num_planes(self) -> int:
        """Planes that are looked at for a pixel."""
        return 2 * self.reach * self.factor + 1

    def of(self, settings: StereoSettings) -> StereoSettings:
        """The settings of stereo with finer planes over the whole range."""
        num_planes = (settings.num_planes - 1) * self.factor + 1
        return replace(settings, num_planes=num_planes, small_step=self.small_step * settings.small_step)


def first_planes(
    depths: Float32[ndarray, "height width"], settings: StereoSettings, num_looked_at: int
) -> Int64[ndarray, "height width"]:
    """The first of the planes around each depth; unknown depth (0) has the nearest ones."""
    nearest, farthest = 1 / settings.near, 1 / settings.far
    shares = (nearest - 1 / np.where(depths > 0, depths, settings.near)) / (nearest - farthest)
    centres = np.rint(shares * (settings.num_planes - 1)).astype(np.int64)
    return np.clip(centres - num_looked_at // 2, 0, settings.num_planes - num_looked_at)


@torch.no_grad()
def finer_depth(
    depths: Float32[Tensor, "frames rows columns"],
    images: Float[Tensor, "frames 3 height width"],
    cameras: ViewCameras,
    around: Sequence[Int64[Tensor, "_others"]],
    settings: StereoSettings,
    finer: FinerPlanes | None = None,
) -> Float32[Tensor, "frames height width"]:
    """Depth of frames at the size of larger images.

    Costs of the planes around each depth are aggregated along paths as in the search, but a step costs in proportion to
    the planes it crosses: a slanted surface crosses several from pixel to pixel.

    Args:
        depths: what the search found, planar depth in metres, 0 where unknown.
        images: colours 0..1 of the frames.
        cameras: cameras in metres.
        around: frames with which each frame is compared, see `stereo.neighbours`.
        settings: settings of the search.
        finer: the finer planes.

    Returns:
        Planar depth in metres; 0 where none was found, or where it is at an end of the planes looked at.
    """
    from semantic_ns.multi_view import finer_depth_numba, stereo_numba

    finer = finer or FinerPlanes()
    fine, size = finer.of(settings), (images.shape[-2], images.shape[-1])
    maps = compared_maps(images, fine.color_weight).permute(0, 2, 3, 1).contiguous().numpy()
    planes, begun = fine.depths().numpy(), enlarged_depth(depths, size)
    largest, nearest = np.float32(fine.largest_cost), np.float32(NEAREST_M)
    steps = (np.float32(value) for value in (fine.large_step, fine.small_step, fine.edge))
    large, small, edge = steps
    found = torch.zeros(len(images), *size)
    for number, others in enumerate(around):
        if not len(others):
            continue
        first = first_planes(begun[number].numpy(), fine, finer.num_planes)
        cost = np.empty((*size, finer.num_planes), np.float32)
        matrices = sweep_matrices(cameras[others], cameras[number : number + 1]).float().numpy()
        stereo_numba.swept(maps, number, others.numpy(), matrices, planes, first, nearest, largest, cost)
        total, colors = np.zeros_like(cost), images[number].permute(1, 2, 0).contiguous().numpy()
        finer_depth_numba.aggregate_bands(cost, first, colors, large, small, edge, total)
        found[number] = _best(torch.from_numpy(total).permute(2, 0, 1), torch.from_numpy(first), fine)
    return found.where(begun > 0, 0.0)


def _best(
    costs: Float32[Tensor, "planes height width"], first: Int64[Tensor, "height width"], settings: StereoSettings
) -> Float32[Tensor, "height width"]:
    """Depth of the cheapest of the planes from the first one on, 0 where it is the first or the last of them."""
    best = costs.argmin(dim=0)
    is_between = (best > 0) & (best < len(costs) - 1)
    return best_depth_between(costs, settings, first).where(is_between, 0.0)
