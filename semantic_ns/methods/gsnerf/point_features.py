"""What the sources show of points: volume and image features, colours, masks (Chou et al. 2024, section 3.2)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.views import (
    SeenAt,
    ViewCameras,
    are_used,
    pixel_centres,
    reproject,
    sample_images,
    sweep_matrices,
)
from semantic_ns.methods.gsnerf.compat import Compat
from semantic_ns.methods.gsnerf.encoder import LEVEL_CHANNELS, EncodedViews
from semantic_ns.methods.gsnerf.volumes import VOLUME_CHANNELS, DepthRange, LevelGeometry

FEATURE_CHANNELS = LEVEL_CHANNELS[0]
VIEW_CHANNELS = len(LEVEL_CHANNELS) * VOLUME_CHANNELS + 1 + FEATURE_CHANNELS
"""Numbers of a view at a point: volume features, whether it lies in the image, image features."""
_OCCLUDED = 0.2
"""A point is occluded if it lies behind the depth of a source by this share of the finest planes' extent."""


@dataclass(frozen=True, eq=False)
class SourceViews:
    """K sources of a target.

    Attributes:
        cameras: cameras.
        encoded: features.
        geometry: depth and volume features at 1, 1/2 and 1/4 of the resolution.
        bounds: bounds of depth for which the geometry was computed.
        masks: which of their pixels are used; None where all are.
    """

    cameras: ViewCameras
    encoded: EncodedViews
    geometry: tuple[LevelGeometry, ...]
    bounds: DepthRange
    masks: Bool[Tensor, "views height width"] | None = None

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def depth(self) -> Float[Tensor, "views height width"]:
        """Depth of the sources, metres."""
        return self.geometry[0].depth

    @property
    def used_depth(self) -> Float[Tensor, "views height width"]:
        """Depth of the sources without gradients, NaN in pixels that are not used."""
        depth = self.depth.detach()
        xy = pixel_centres(depth.shape[1], depth.shape[2], depth.device).expand(len(depth), -1, -1, -1)
        return depth.where(are_used(self.masks, xy), torch.nan)


@dataclass(frozen=True, eq=False)
class SeenPoints:
    """Points of a target camera in its sources.

    Attributes:
        at: where the sources see the points.
        is_inside: whether a point lies in the used part of the image of a source; everywhere, if it lies in none.
        is_visible: whether it is not occluded, either; everywhere, if all sources are.
        is_seen: whether a source sees the point, without such exceptions.
    """

    at: SeenAt
    is_inside: Bool[Tensor, "views *points"]
    is_visible: Bool[Tensor, "views *points"]
    is_seen: Bool[Tensor, "views *points"]


def see_points(
    sources: SourceViews, camera: ViewCameras, xy: Float[Tensor, "*points 2"], depth: Float[Tensor, "*points"]
) -> SeenPoints:
    """Where the sources see points of a target camera, and whether nothing is before them.

    Args:
        sources: the sources.
        camera: the target camera.
        xy: image coordinates of the points in it.
        depth: their planar depth in it, metres.
    """
    at = reproject(sweep_matrices(sources.cameras, camera), xy, depth)
    finest = sources.geometry[0]
    surface = sample_images(finest.depth.detach()[:, None], at.xy)[:, 0]
    is_before = (at.depth - surface) / finest.planes.extent < _OCCLUDED
    is_shown = at.is_seen & are_used(sources.masks, at.xy)
    is_inside = _or_all(is_shown)
    return SeenPoints(at, is_inside, _or_all(is_inside & is_before), is_shown & is_before)


def _or_all(mask: Bool[Tensor, "views *points"]) -> Bool[Tensor, "views *points"]:
    return mask | ~mask.any(dim=0)


def volume_features(
    sources: SourceViews, at: SeenAt, compat: Compat | None = None
) -> Float[Tensor, "views channels *points"]:
    """Features of the three volumes of each source at points, trilinear; outside, those of the border.

    Args:
        sources: the sources.
        at: where they see the points.
        compat: restored defects.
    """
    height, width = sources.depth.shape[-2:]
    found = []
    for geometry in sources.geometry:
        planes = geometry.planes
        first = sample_images(planes.first[:, None], at.xy)[:, 0]
        place = ((at.depth - first) / planes.extent).clamp(-1, 2)
        if compat is not None and compat.level_offsets:
            size = at.xy.new_tensor([width, height])
            across = (at.xy * size - 0.5) / (size - 1)
            grid = 2 * torch.cat([across, place[..., None]], dim=-1) - 1
        else:
            # Planes are given at their centres, and coordinates of the grid go from edge to edge.
            middle = (place * (planes.count - 1) + 0.5) / planes.count
            grid = 2 * torch.cat([at.xy, middle[..., None]], dim=-1) - 1
        found.append(_sample_volumes(geometry.volume, grid, compat is not None and compat.level_offsets))
    return torch.cat(found, dim=1)


def _sample_volumes(volumes: Tensor, grid: Float[Tensor, "views *points 3"], from_centres: bool) -> Tensor:
    flat = grid.clamp(-4, 4).reshape(len(grid), 1, 1, -1, 3)
    sampled = F.grid_sample(volumes, flat, padding_mode="border", align_corners=from_centres)
    return sampled.reshape(len(grid), volumes.shape[1], *grid.shape[1:-1])


def mean_and_variance(features: Float[Tensor, "views channels *points"]) -> Float[Tensor, "channels2 *points"]:
    """Mean and variance of features over all views, side by side (Chou et al. 2024, equations (10) and (14))."""
    return torch.cat([features.mean(dim=0), features.var(dim=0, correction=0)])
