"""From the depth of the sources to the depth of a target: splatted with a depth buffer, its holes filled."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.pull_and_push import pull_and_push
from semantic_ns.geometry.views import ViewCameras, pixel_centres, reproject, sweep_matrices
from semantic_ns.multi_view.along_rays import closeness_of_views

_SAME_SURFACE = 0.05
"""Points count to the nearest surface of a pixel if they lie behind its nearest point by less than this share."""
_COVERING = 0.6
"""Radius of a point over the side of its pixel: just above a half, so that neighbours leave no gap."""
_EDGE = 0.1
"""Largest difference of log depth to the eight neighbours of a point that can be larger than a pixel."""
_LEAST_WEIGHT = 1e-3
"""A point does not touch a pixel that it covers by less."""
_FAINT = 0.05
"""Share of the weights in a pixel below which its nearest surface is taken for an error of single points."""
_MOST_FAINT = 3
"""Surfaces of a pixel, from the nearest on, that are left out at most."""
_MAX_RADIUS = 4.0
"""Largest radius of a point in pixels of the target: what stands right before a camera does not fill its image."""


@torch.no_grad()
def splat_depth(
    depths: Float[Tensor, "sources rows columns"],
    sources: ViewCameras,
    target: ViewCameras,
    size: tuple[int, int],
) -> Float[Tensor, "height width"]:
    """Planar depth of the points of all sources in a target camera; 0 where no point falls.

    Each point falls on the pixels around it, with weights (1 - |x| / r) (1 - |y| / r). The radius r is one pixel. Where
    the depth of the source is smooth, it is 0.6 times the side that a pixel of the source has in the target, if that is
    more, up to 4 pixels: a camera that stands closer than the sources sees their points far apart, and would look
    through between them. Points weigh more the smaller the angle between the lines of sight of source and target: by
    1 / (angle + 0.05), since an error of depth moves them by the error times the angle.

    Of the points of a pixel those count that lie at its nearest one, or behind it by at most 5 %. Up to three nearest
    surfaces that have less than 5 % of the weights of the pixel are left out: every further source brings wrong
    points, and the nearest of them would win.

    The released code of Chou et al. (2024) has neither radius nor depth buffer: the point that is written last wins.

    Args:
        depths: planar depth of the sources, metres; NaN falls nowhere.
        sources: cameras of the sources.
        target: one camera.
        size: height and width of the result.
    """
    height, width = size
    points = [_points_in(depth, sources[n : n + 1], target, size) for n, depth in enumerate(depths)]
    at, value, radius, trust = (torch.cat(part) for part in zip(*points, strict=True))
    places, weights, values = [], [], []
    for reach in range(1, math.ceil(_MAX_RADIUS) + 1):
        is_reached = radius > reach - 1
        (column, row), z, r = at[is_reached].unbind(-1), value[is_reached], radius[is_reached]
        for down, right in _ring(reach):
            x, y = column.floor() + right, row.floor() + down
            weight = (1 - (column - x).abs() / r).clamp(min=0) * (1 - (row - y).abs() / r).clamp(min=0)
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (weight > _LEAST_WEIGHT)
            places.append((y * width + x)[inside].long())
            weights.append((weight * trust[is_reached])[inside])
            values.append(z[inside])
    place, weight, value = torch.cat(places), torch.cat(weights), torch.cat(values)
    is_front = _front(place, weight, value, height * width)
    place, weight, value = place[is_front], weight[is_front], value[is_front]
    total = value.new_zeros(height * width).index_add(0, place, weight)
    summed = value.new_zeros(height * width).index_add(0, place, weight * value)
    return (summed / total.where(total > 0, 1.0)).view(height, width)


def _front(
    place: Int64[Tensor, "points"], weight: Float[Tensor, "points"], value: Float[Tensor, "points"], num_pixels: int
) -> Bool[Tensor, "points"]:
    """Which points lie at the nearest surface of their pixel that is not faint."""
    whole = value.new_zeros(num_pixels).index_add(0, place, weight)
    is_left = torch.ones_like(place, dtype=torch.bool)
    is_front = _nearest(place, value, is_left, num_pixels)
    for _ in range(_MOST_FAINT):
        front = value.new_zeros(num_pixels).index_add(0, place[is_front], weight[is_front])
        is_faint = is_front & (front < _FAINT * whole)[place]
        if not bool(is_faint.any()):
            break
        is_left = is_left & ~is_faint
        is_front = _nearest(place, value, is_left, num_pixels)
    return is_front


def _nearest(
    place: Int64[Tensor, "points"], value: Float[Tensor, "points"], is_left: Bool[Tensor, "points"], num_pixels: int
) -> Bool[Tensor, "points"]:
    """Which of the points that are left lie at the nearest one of their pixel."""
    nearest = value.new_full((num_pixels,), torch.inf).scatter_reduce(0, place[is_left], value[is_left], "amin")
    return is_left & (value <= nearest[place] * (1 + _SAME_SURFACE))


def _points_in(
    depth: Float[Tensor, "rows columns"], source: ViewCameras, target: ViewCameras, size: tuple[int, int]
) -> tuple[Float[Tensor, "points 2"], Float[Tensor, "points"], Float[Tensor, "points"], Float[Tensor, "points"]]:
    """Where the points of one source fall: column and row in a target, depth there, radius in its pixels, and trust."""
    height, width = size
    rows, columns = depth.shape
    seen = reproject(sweep_matrices(target, source), pixel_centres(rows, columns, depth.device), depth)
    is_seen = seen.is_seen[0]
    at = seen.xy[0][is_seen] * depth.new_tensor([width, height]) - 0.5
    z = seen.depth[0][is_seen]
    # The side of a pixel of the source at its depth, and how many pixels of the target that is there.
    of_source = source.intrinsics[0, :2].to(depth) * depth.new_tensor([columns, rows])
    of_target = target.intrinsics[0, :2].to(depth) * depth.new_tensor([width, height])
    radius = depth[is_seen] / z * float((of_target / of_source).mean()) * _COVERING
    # What a network puts between the near and the far side of an edge is nowhere: it must not grow.
    logs = depth.nan_to_num(nan=torch.inf).log()[None, None]
    jump = F.max_pool2d(logs, 3, 1, 1) + F.max_pool2d(-logs, 3, 1, 1)
    is_smooth = (jump[0, 0] < _EDGE)[is_seen]
    trust = closeness_of_views(target, source, pixel_centres(rows, columns, depth.device)[is_seen], depth[is_seen])
    return at, z, radius.clamp(1.0, _MAX_RADIUS).where(is_smooth, 1.0), trust[0].sqrt()


def _ring(reach: int) -> list[tuple[int, int]]:
    """Offsets (down, right) from the pixel above and left of a point that a radius above reach - 1 can touch anew."""
    inner, outer = range(2 - reach, reach), range(1 - reach, reach + 1)
    return [(down, right) for down in outer for right in outer if down not in inner or right not in inner]


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
    if not bool(is_known.any()):
        return torch.full_like(depth, fallback), is_known
    logs = depth.where(is_known, 1.0).log()
    filled = pull_and_push(logs[None], is_known.to(depth.dtype), is_saturated=True)[0]
    return depth.where(is_known, filled.exp()), is_known
