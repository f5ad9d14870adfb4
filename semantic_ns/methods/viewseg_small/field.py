"""The field of `viewseg-small`: what is at a point, from where the sources show it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.methods.viewseg_small.sizes import Sizes
from semantic_ns.multi_view.convolutions import begin_at_0

POINT_CODE = 11
_DIRECTION_CODE = 4
_NEAREST_M = 0.05
_FARTHEST_OFF = 1.5
"""Largest difference of log depths that is told apart."""


class ResidualBlock(nn.Module):
    """x + W_1 relu(W_0 relu(x)), which changes nothing at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        begin_at_0(self.second)

    def forward(self, x: Float[Tensor, "*points width"]) -> Tensor:
        """The same shape."""
        return x + self.second(F.relu(self.first(F.relu(x))))


@dataclass(frozen=True, eq=False)
class PointsInViews:
    """Points of rays as V sources see them.

    Attributes:
        xy: image coordinates.
        depth: planar depth in the sources, metres.
        is_seen: whether a point lies before the camera and inside its image.
        features: features of the sources there.
        log_depth: logarithm of the depth that each source is guessed to have there.
        log_std: logarithm of its error.
        directions: direction of the ray in the axes of each source, and the cosine of the angle under which the
            source looks at the point.
    """

    xy: Float[Tensor, "views points 2"]
    depth: Float[Tensor, "views points"]
    is_seen: Bool[Tensor, "views points"]
    features: Float[Tensor, "views points width"]
    log_depth: Float[Tensor, "views points"]
    log_std: Float[Tensor, "views points"]
    directions: Float[Tensor, "views points 4"]

    def code(self, uses_directions: bool) -> Float[Tensor, "views points code"]:
        """Where a point is in each source, and how far behind the surface that the source is guessed to have."""
        log_z = self.depth.clamp(min=_NEAREST_M).log()
        off = (log_z - self.log_depth).clamp(-_FARTHEST_OFF, _FARTHEST_OFF)
        x, y = (2 * self.xy - 1).clamp(-2, 2).unbind(-1)
        in_doubt = (off * (-self.log_std).exp()).clamp(-4, 4)
        parts = [
            log_z, x, y, off, torch.tanh(4 * off), torch.tanh(16 * off), in_doubt, torch.exp(-(in_doubt**2)),
            self.log_std, self.log_depth, self.is_seen.to(log_z.dtype),
        ]  # fmt: skip
        code = torch.stack(parts, dim=-1)
        return torch.cat([code, self.directions], dim=-1) if uses_directions else code


@dataclass(frozen=True, eq=False)
class FieldValues:
    """What is at points.

    Attributes:
        density: 0 or more, per interval between coarse samples.
        features: what is rendered.
    """

    density: Float[Tensor, "points"]
    features: Float[Tensor, "points features"]


class Field(nn.Module):
    """Residual blocks per source, mean and deviation over the sources that see a point, residual blocks (Yu et al.

    2021, PixelNeRF; Qian et al. 2021). A point that no source sees takes them over all sources.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.uses_directions, width = sizes.uses_directions, sizes.width
        self.enter = nn.Linear(POINT_CODE + (_DIRECTION_CODE if sizes.uses_directions else 0), width)
        self.of_view = nn.ModuleList(ResidualBlock(width) for _ in range(2))
        self.fuse = nn.Linear(2 * width + 3, width)
        self.fused = nn.ModuleList(ResidualBlock(width) for _ in range(2))
        self.leave = nn.Linear(width, 1 + sizes.features)

    def forward(self, points: PointsInViews, log_depth: Float[Tensor, "points"]) -> FieldValues:
        """What is at points.

        Args:
            points: the points in the sources.
            log_depth: logarithm of their depth in the target.
        """
        x = self.enter(points.code(self.uses_directions)) + points.features
        for block in self.of_view:
            x = block(x)
        mean, deviation = masked_moments(x, points.is_seen)
        seen = points.is_seen.to(x.dtype)
        known = torch.stack([seen.sum(dim=0) / 4, seen.max(dim=0).values, log_depth], dim=-1)
        x = self.fuse(torch.cat([mean, deviation, known], dim=-1))
        for block in self.fused:
            x = block(x)
        raw = self.leave(F.relu(x))
        return FieldValues(F.softplus(raw[:, 0] - 1), raw[:, 1:])


def masked_moments(
    values: Float[Tensor, "views points channels"], is_seen: Bool[Tensor, "views points"]
) -> tuple[Float[Tensor, "points channels"], Float[Tensor, "points channels"]]:
    """Mean and standard deviation over the views that see a point, over all where none does."""
    weight = (is_seen | ~is_seen.any(dim=0)).to(values.dtype)
    weight = (weight / weight.sum(dim=0))[..., None]
    mean = (weight * values).sum(dim=0)
    return mean, ((weight * (values - mean) ** 2).sum(dim=0) + 1e-4).sqrt()
