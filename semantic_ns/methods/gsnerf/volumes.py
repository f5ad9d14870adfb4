"""Cascaded cost volumes of source views (Chou et al. 2024; Gu et al. 2020): depth and features of each source."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.geometry.views import NEAREST_M, ViewCameras, pixel_centres, reproject, sample_images, sweep_matrices
from semantic_ns.methods.gsnerf.compat import Compat
from semantic_ns.methods.gsnerf.encoder import EncodedViews
from semantic_ns.multi_view.convolutions import CostRegularizer

NUM_GROUPS = 8
NUM_PLANES = (8, 32, 48)
"""Planes at 1, 1/2 and 1/4 of the resolution."""
PLANES_IN_RANGE = (192, 96, 48)
"""How many of their spacings lie between the near and the far bound."""
NUM_NEIGHBOURS = 3
VOLUME_CHANNELS = 8


@dataclass(frozen=True)
class DepthRange:
    """Bounds of planar depth in metres."""

    near: float
    far: float


@dataclass(frozen=True, eq=False)
class LinearPlanes:
    """Planes of V cameras, given at each pixel, equally spaced in planar depth.

    Attributes:
        first: depth of the first plane, metres.
        spacing: difference of depth between neighbouring planes, metres.
        count: number of planes.
    """

    first: Float[Tensor, "views height width"]
    spacing: float
    count: int

    @classmethod
    def around(cls, depth: Float[Tensor, "views height width"], spacing: float, count: int) -> "LinearPlanes":
        """Planes that start half their number before a depth, though not behind the camera."""
        return cls((depth - count / 2 * spacing).clamp(min=NEAREST_M), spacing, count)

    def depths(self) -> Float[Tensor, "views planes height width"]:
        """Depth of each plane."""
        steps = torch.arange(self.count, device=self.first.device, dtype=self.first.dtype)
        return self.first[:, None] + self.spacing * steps[:, None, None]

    def expected(self, scores: Float[Tensor, "views planes height width"]) -> Float[Tensor, "views height width"]:
        """The depth that scores of the planes give: the mean over their soft-max."""
        return (scores.softmax(dim=1) * self.depths()).sum(dim=1)

    @property
    def extent(self) -> float:
        """Distance from the first plane to the last, metres."""
        return self.spacing * (self.count - 1)


@dataclass(frozen=True, eq=False)
class LevelGeometry:
    """Depth and volume features of V sources at one resolution.

    Attributes:
        planes: the planes that were compared.
        depth: depth, metres.
        volume: volume features f^V.
    """

    planes: LinearPlanes
    depth: Float[Tensor, "views height width"]
    volume: Float[Tensor, "views channels planes height width"]


def level_offset(level: int, width: int, height: int, compat: Compat) -> tuple[float, float]:
    """By how much image coordinates of a level are wrong in the released code; 0 without that defect.

    It divides a principal point that is 0 at the first pixel centre. The first centre of level l, which lies
    (2^l - 1) / 2 pixels farther inside, then counts as the first centre of the image.

    Args:
        level: 0 is the full resolution.
        width: width of the full resolution.
        height: height of the full resolution.
        compat: restored defects.
    """
    pixels = (2**level - 1) / 2 if compat.level_offsets else 0.0
    return pixels / width, pixels / height


def nearest_neighbours(cameras: ViewCameras, compat: Compat | None = None) -> list[Int64[Tensor, "neighbours"]]:
    """For each camera the (up to) 3 others that are closest to it.

    Args:
        cameras: cameras of all sources.
        compat: restored defects.
    """
    positions = cameras.centres
    if compat is not None and compat.inverted_poses:
        positions = -(cameras.c2w[:, :3, :3].mT @ positions[..., None])[..., 0]
    distances = (positions[:, None] - positions).norm(dim=-1)
    distances.fill_diagonal_(torch.inf)
    return list(distances.argsort(dim=1, stable=True)[:, : min(NUM_NEIGHBOURS, len(cameras) - 1)])


def correlation_volume(
    reference: Float[Tensor, "channels height width"],
    neighbours: Float[Tensor, "others channels height width"],
    matrices: Tensor,
    depths: Float[Tensor, "planes height width"],
    offset: tuple[float, float] = (0.0, 0.0),
) -> Float[Tensor, "groups planes height width"]:
    """Group-wise correlation of a source with its neighbours, summed over them (Guo et al. 2019).

    The product of features on each plane, averaged over the channels of each of 8 groups. A neighbour that does not see
    a point adds 0, and without neighbours all is 0.

    Args:
        reference: features of the source.
        neighbours: features of its neighbours.
        matrices: from the source to each neighbour [others, 3, 4], see `sweep_matrices`.
        depths: planes at each pixel of the source, metres.
        offset: error of the image coordinates of this level, see `level_offset`.
    """
    if not len(neighbours):
        return depths.new_zeros(NUM_GROUPS, *depths.shape)
    planes, height, width = depths.shape
    shift = depths.new_tensor(offset)
    xy = (pixel_centres(height, width, depths.device) - shift).expand(planes, -1, -1, -1)
    at = reproject(matrices, xy, depths)
    warped = sample_images(neighbours, at.xy + shift, padding="zeros") * (at.depth > NEAREST_M)[:, None]
    return (warped.sum(dim=0) * reference[:, None]).unflatten(0, (NUM_GROUPS, -1)).mean(dim=1)


def depth_hats(
    depth: Float[Tensor, "views rows columns"], planes: LinearPlanes
) -> Float[Tensor, "views planes height width"]:
    """Known depth as a channel of a volume: 1 at its plane, and between two planes a share of 1 in each.

    The share of a plane falls linearly to 0 at its neighbours. Where depth is unknown, or beyond the planes, all is 0.

    Args:
        depth: planar depth of the sources at any resolution, metres, 0 where unknown; the nearest pixel is taken.
        planes: the planes, at each pixel of the sources.
    """
    depths = planes.depths()
    near = F.interpolate(depth[:, None], depths.shape[-2:], mode="nearest-exact")
    return (1 - (depths - near).abs() / planes.spacing).clamp(min=0) * (near > 0)


class CascadedVolumes(nn.Module):
    """Depth of each source on 48, 32 and 8 planes at 1/4, 1/2 and 1 of the resolution.

    The volumes of all sources are regularised in one batch: one at a time, 3D convolutions take several times as long
    on a CPU.

    Args:
        compat: restored defects.
        takes_depth: whether the coarsest volumes have a further channel for known depth, see `depth_hats`.
    """

    def __init__(self, compat: Compat | None = None, takes_depth: bool = False) -> None:
        super().__init__()
        self.compat, self.takes_depth = compat or Compat(), takes_depth
        # A bias of the score would be the same on all planes, and soft-max takes no notice of it.
        coarsest = len(NUM_PLANES) - 1
        self.regularizers = nn.ModuleList(
            CostRegularizer(NUM_GROUPS + (takes_depth and level == coarsest), VOLUME_CHANNELS)
            for level in range(len(NUM_PLANES))
        )
        self.regularizers.to(memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue]

    def forward(
        self,
        encoded: EncodedViews,
        cameras: ViewCameras,
        bounds: DepthRange,
        depth: Float[Tensor, "views rows columns"] | None = None,
    ) -> tuple[LevelGeometry, ...]:
        """Geometry of all sources, at full resolution first.

        Args:
            encoded: features of the sources.
            cameras: their cameras.
            bounds: nearest and farthest depth of the coarsest planes.
            depth: known depth of the sources, metres, 0 where unknown; not looked at unless it is taken.
        """
        neighbours = nearest_neighbours(cameras, self.compat)
        found: list[LevelGeometry] = []
        for level in reversed(range(len(NUM_PLANES))):
            planes = self._planes(level, encoded.levels[level], found, bounds)
            volume = self._volume(level, encoded, cameras, neighbours, planes.depths())
            if self.takes_depth and not found:
                known = volume.new_zeros(len(volume), 1, 1) if depth is None else depth
                volume = torch.cat([volume, depth_hats(known, planes)[:, None]], dim=1)
            features, scores = self.regularizers[level](volume.contiguous(memory_format=torch.channels_last_3d))
            found.append(LevelGeometry(planes, planes.expected(scores), features))
        return tuple(reversed(found))

    def _planes(
        self, level: int, features: Tensor, coarser: Sequence[LevelGeometry], bounds: DepthRange
    ) -> LinearPlanes:
        spacing, count = (bounds.far - bounds.near) / PLANES_IN_RANGE[level], NUM_PLANES[level]
        size = features.shape[-2:]
        if not coarser:
            return LinearPlanes(features.new_full((len(features), *size), bounds.near), spacing, count)
        depth = coarser[-1].depth.detach()[:, None]
        larger = F.interpolate(depth, size, mode="bilinear", align_corners=False)[:, 0]
        return LinearPlanes.around(larger, spacing, count)

    def _volume(
        self,
        level: int,
        encoded: EncodedViews,
        cameras: ViewCameras,
        neighbours: Sequence[Tensor],
        depths: Float[Tensor, "views planes height width"],
    ) -> Float[Tensor, "views groups planes height width"]:
        features, (height, width) = encoded.levels[level], encoded.levels[0].shape[-2:]
        offset = level_offset(level, width, height, self.compat)
        volumes = [
            correlation_volume(
                features[number],
                features[others],
                sweep_matrices(cameras[others], cameras[number : number + 1]),
                depths[number],
                offset,
            )
            for number, others in enumerate(neighbours)
        ]
        summed = len(cameras) - 1 if self.compat.correlation_over_all_views else len(neighbours[0])
        return torch.stack(volumes) / max(1, summed)
