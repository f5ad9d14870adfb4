"""Depth of the target view by reprojection of the depths of its sources."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.views import ViewCameras, pixel_centres, reproject, sweep_matrices
from semantic_ns.methods.gsnerf.compat import Compat
from semantic_ns.methods.gsnerf.volumes import DepthRange
from semantic_ns.multi_view.splatting import fill_holes, splat_depth

_REACH = 16
"""Pixels up to which the depth of a hole follows from what is measured."""
_GRID = 3
_ROWS_BEFORE, _ROWS_BEHIND = _GRID + 1, _GRID
"""How far the windows of the released code reach: it counts rows of a window of 7 from one before the first."""
_EMPTY = 1e5
_COLOR_SIGMA, _SPACE_SIGMA = 1.0, 2.0


@dataclass(frozen=True, eq=False)
class TargetDepth:
    """Depth D_T of a target.

    Attributes:
        depth: planar depth, metres, within the bounds.
        is_supported: whether it follows from a source's depth nearby; elsewhere it is guessed.
    """

    depth: Float[Tensor, "height width"]
    is_supported: Bool[Tensor, "height width"]


@torch.no_grad()
def target_depth(
    depths: Float[Tensor, "sources rows columns"],
    sources: ViewCameras,
    target: ViewCameras,
    size: tuple[int, int],
    bounds: DepthRange,
    compat: Compat | None = None,
) -> TargetDepth:
    """The depth of a target from those of its sources; gradients do not pass.

    By default points are splatted with a depth buffer, and holes are filled from ever larger windows. Holes farther
    than 16 pixels from any point are not supported.

    Args:
        depths: planar depth of the sources, metres; NaN where it is not to be used.
        sources: cameras of the sources.
        target: one camera.
        size: height and width of the result.
        bounds: bounds of depth.
        compat: restored defects.
    """
    if compat is not None and compat.released_target_depth:
        depth = released_target_depth(depths, sources, target, size)
        return TargetDepth(depth.clamp(bounds.near, bounds.far), torch.ones_like(depth, dtype=torch.bool))
    splatted = splat_depth(depths, sources, target, size)
    filled, is_measured = fill_holes(splatted, float(depths.nanmedian()))
    window = 2 * _REACH + 1
    near_one = F.max_pool2d(is_measured.to(filled.dtype)[None], window, stride=1, padding=_REACH)[0] > 0
    return TargetDepth(filled.clamp(bounds.near, bounds.far), near_one)


def released_target_depth(
    depths: Float[Tensor, "sources rows columns"], sources: ViewCameras, target: ViewCameras, size: tuple[int, int]
) -> Float[Tensor, "height width"]:
    """The target depth as the released code of Chou et al. (2024) has it; 0 where no point is near.

    Points fall on their truncated pixel, and the last one that is written wins. Each carries its coordinate less the
    rounded one as offset, which is wrong by a pixel for half of the points. A pixel is the mean over a window of 7x7,
    weighted by inverse distances, for which both offsets add the row of the window. The border is copied from inside,
    and a bilateral blur over 3x3 follows.
    """
    place, offset, value = _splatted_points(depths, sources, target, size)
    order = torch.arange(len(place), device=place.device)
    last = order.new_full((size[0] * size[1],), -1).scatter_reduce(0, place, order, "amax")
    is_hit, chosen = last >= 0, last.clamp(min=0)
    across, down, depth = (
        torch.where(is_hit, part[chosen] if len(part) else part.new_zeros(len(chosen)), empty).view(size)
        for part, empty in ((offset[:, 0], _EMPTY), (offset[:, 1], _EMPTY), (value, 0.0))
    )
    return _bilateral_blur(_weighted_windows(across, down, depth))


def _splatted_points(
    depths: Tensor, sources: ViewCameras, target: ViewCameras, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Truncated pixel, offset and depth of each point, in the order in which they are written."""
    height, width = size
    xy = pixel_centres(depths.shape[1], depths.shape[2], depths.device)
    places, offsets, values = [], [], []
    for number, depth in enumerate(depths):
        at = reproject(sweep_matrices(target, sources[number : number + 1]), xy, depth)
        pixel = at.xy[0] * depths.new_tensor([width, height]) - 0.5
        inside = (pixel >= 0).all(dim=-1) & (pixel[..., 0] <= width - 1) & (pixel[..., 1] <= height - 1)
        # Points behind the camera are not tested there, but here their coordinates have no meaning.
        inside &= at.is_seen[0] & (depth > 0)
        pixel = pixel[inside]
        column, row = pixel.long().unbind(-1)
        places.append(row * width + column)
        offsets.append(pixel - pixel.round())
        values.append(at.depth[0][inside])
    return torch.cat(places), torch.cat(offsets), torch.cat(values)


def _weighted_windows(across: Tensor, down: Tensor, depth: Tensor) -> Tensor:
    height, width = depth.shape
    reach = _ROWS_BEFORE + _ROWS_BEHIND
    rows, columns = height - reach, width - reach
    summed, total = depth.new_zeros(rows, columns), depth.new_zeros(rows, columns)
    for row in range(reach):
        for column in range(reach):
            window = (slice(row, row + rows), slice(column, column + columns))
            step = row - _ROWS_BEFORE  # the row for both axes
            weight = ((across[window] + step) ** 2 + (down[window] + step) ** 2).clamp(min=1e-12).rsqrt()
            summed += weight * depth[window]
            total += weight
    inside = (summed / total)[None, None]
    border = (_ROWS_BEFORE, _ROWS_BEHIND, _ROWS_BEFORE, _ROWS_BEHIND)
    return F.pad(inside, border, mode="replicate")[0, 0]


def _bilateral_blur(image: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    """3x3 bilateral blur (Tomasi and Manduchi 1998) with deviations 1 in value and 2 in pixels."""
    padded = F.pad(image[None, None], (1, 1, 1, 1), mode="reflect")
    windows = F.unfold(padded, 3)[0].view(9, *image.shape)
    steps = torch.tensor([-1.0, 0.0, 1.0], device=image.device)
    space = (steps[:, None] ** 2 + steps**2).flatten()[:, None, None] / _SPACE_SIGMA**2
    weight = torch.exp(-0.5 * (((windows - image) / _COLOR_SIGMA) ** 2 + space))
    return (weight * windows).sum(dim=0) / weight.sum(dim=0)
