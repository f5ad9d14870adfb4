"""From the depth of the sources to the depth of a target: splatted with a depth buffer, its holes filled."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.views import ViewCameras, pixel_centres, reproject, sweep_matrices

_SAME_SURFACE = 0.05
"""Points count to the nearest surface of a pixel if they lie behind its nearest point by less than this share."""


@torch.no_grad()
def splat_depth(
    depths: Float[Tensor, "sources rows columns"],
    sources: ViewCameras,
    target: ViewCameras,
    size: tuple[int, int],
) -> Float[Tensor, "height width"]:
    """Planar depth of the points of all sources in a target camera; 0 where no point falls.

    Each point falls on the four pixels around it, with bilinear weights. Of the points of a pixel those count that lie
    at its nearest one, or behind it by at most 5 %. The released code of Chou et al. (2024) has no depth buffer: there
    the point that is written last wins.

    Args:
        depths: planar depth of the sources, metres; NaN falls nowhere.
        sources: cameras of the sources.
        target: one camera.
        size: height and width of the result.
    """
    height, width = size
    xy = pixel_centres(depths.shape[1], depths.shape[2], depths.device)
    places, weights, values = [], [], []
    for number, depth in enumerate(depths):
        matrix = sweep_matrices(target, sources[number : number + 1])
        at = reproject(matrix, xy, depth)
        seen = at.is_seen[0]
        column, row = (at.xy[0][seen] * depths.new_tensor([width, height]) - 0.5).unbind(-1)
        left, top = column.floor(), row.floor()
        for below in (0, 1):
            for right in (0, 1):
                x, y = left + right, top + below
                weight = (1 - (column - x).abs()) * (1 - (row - y).abs())
                inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
                places.append((y * width + x)[inside].long())
                weights.append(weight[inside])
                values.append(at.depth[0][seen][inside])
    place, weight, value = torch.cat(places), torch.cat(weights), torch.cat(values)
    nearest = value.new_full((height * width,), torch.inf).scatter_reduce(0, place, value, "amin")
    weight = weight * (value <= nearest[place] * (1 + _SAME_SURFACE))
    total = value.new_zeros(height * width).index_add(0, place, weight)
    summed = value.new_zeros(height * width).index_add(0, place, weight * value)
    return (summed / total.clamp(min=1e-8)).where(total > 1e-3, 0.0).view(height, width)


@torch.no_grad()
def fill_holes(
    depth: Float[Tensor, "height width"], fallback: float
) -> tuple[Float[Tensor, "height width"], Bool[Tensor, "height width"]]:
    """Depth without holes, and where it is measured.

    Holes take the mean log depth of ever larger windows (Gortler et al. 1996, pull and push); where there is no point
    at all they take the fallback.

    Args:
        depth: planar depth, 0 in holes.
        fallback: depth in metres where nothing is known.
    """
    is_known = depth > 0
    filled = _filled(depth.where(is_known, 1.0).log()[None, None], is_known.to(depth.dtype)[None, None])
    if filled is None:
        return torch.full_like(depth, fallback), is_known
    return depth.where(is_known, filled[0, 0].exp()), is_known


def _filled(logs: Tensor, weight: Tensor) -> Tensor | None:
    if not bool(weight.any()):
        return None
    if bool((weight > 0).all()):
        return logs
    height, width = logs.shape[-2:]
    padding = (0, width % 2, 0, height % 2)
    summed, total = (F.avg_pool2d(F.pad(part, padding), 2) for part in (logs * weight, weight))
    coarse = _filled(summed / total.clamp(min=1e-8), (total > 0).to(total.dtype))
    assert coarse is not None
    larger = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
    return torch.where(weight > 0, logs, larger)
