"""Cost volumes: how well the features of several views agree on the planes of a camera, and the depth that follows."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from semantic_ns.geometry.views import pixel_centres, reproject, sample_images

NUM_GROUPS = 8
_SMALLEST_PROBABILITY = 1e-6


@dataclass(frozen=True, eq=False)
class Planes:
    """Planes of B cameras, given at each pixel: the planes of all pixels are equally spaced in log depth.

    Attributes:
        first_log: logarithm of the depth in metres of the first plane.
        log_step: difference of the logarithms of neighbouring planes.
        count: number of planes.
    """

    first_log: Float[Tensor, "batch height width"]
    log_step: float
    count: int

    @classmethod
    def between(cls, near: float, far: float, count: int, shape: tuple[int, int, int], like: Tensor) -> "Planes":
        """Planes from near to far, the same for all pixels of `shape` = (batch, height, width)."""
        log_near, log_far = (torch.tensor(bound).log().item() for bound in (near, far))
        return cls(like.new_full(shape, log_near), (log_far - log_near) / (count - 1), count)

    @classmethod
    def around(cls, depth: Float[Tensor, "batch height width"], log_step: float, count: int) -> "Planes":
        """Planes on both sides of a depth in metres, which is in their middle."""
        return cls(depth.log() - log_step * (count - 1) / 2, log_step, count)

    def logs(self) -> Float[Tensor, "batch planes height width"]:
        """Logarithm of the depth of each plane."""
        steps = torch.arange(self.count, device=self.first_log.device, dtype=self.first_log.dtype)
        return self.first_log[:, None] + self.log_step * steps[:, None, None]

    def depth(self, scores: Float[Tensor, "batch planes height width"]) -> "PlaneDepth":
        """The depth that scores of the planes give, see :class:`PlaneDepth`."""
        probabilities, logs = scores.softmax(dim=1), self.logs()
        mean = (probabilities * logs).sum(dim=1)
        variance = (probabilities * (logs - mean[:, None]) ** 2).sum(dim=1)
        return PlaneDepth(mean.exp(), (variance + 1e-6).sqrt())

    def cross_entropy(
        self, scores: Float[Tensor, "batch planes height width"], depth: Float[Tensor, "batch height width"]
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the planes with a true depth, shared between the two planes beside it.

        Pixels whose depth is 0 (unknown) do not count, nor do those whose depth lies outside the planes by more than a
        step. A mean over the pixels that count; 0 if there is none.
        """
        is_known = depth > 0
        place = (depth.where(is_known, 1.0).log() - self.first_log) / self.log_step
        counts = is_known & (place > -1) & (place < self.count)
        place = place.clamp(0, self.count - 1)
        below = place.floor().clamp(max=self.count - 2)
        share = (place - below)[:, None]
        log_probabilities = scores.log_softmax(dim=1)
        index = below.long()[:, None]
        picked = (1 - share) * log_probabilities.gather(1, index) + share * log_probabilities.gather(1, index + 1)
        return -(picked[:, 0] * counts).sum() / counts.sum().clamp(min=1)


@dataclass(frozen=True, eq=False)
class PlaneDepth:
    """Depth with its spread.

    Attributes:
        depth: exponential of the mean log depth over the planes' probabilities, metres.
        log_std: standard deviation of the log depth: about the relative error to be expected.
    """

    depth: Float[Tensor, "batch height width"]
    log_std: Float[Tensor, "batch height width"]


@dataclass(frozen=True, eq=False)
class WarpedViews:
    """What K views show of the points of a target camera.

    Attributes:
        features: features of each view at each point.
        is_seen: whether a view sees the point, occluded or not.
    """

    features: Float[Tensor, "views channels *points"]
    is_seen: Bool[Tensor, "views *points"]

    def count(self) -> Float[Tensor, "*points"]:
        """How many views see each point."""
        return self.is_seen.sum(dim=0).to(self.features.dtype)

    def moments(
        self, weights: Float[Tensor, "views *points"] | None = None
    ) -> tuple[Float[Tensor, "channels *points"], Float[Tensor, "channels *points"]]:
        """Mean and variance over the views that see a point; both 0 where none does.

        Args:
            weights: how much each view counts, above 0; all count alike without.
        """
        seen = self.is_seen[:, None].to(self.features.dtype)
        if weights is not None:
            seen = seen * (weights / weights.sum(dim=0))[:, None]
        number = seen.sum(dim=0)
        number = number.where(number > 0, 1.0)
        mean = (seen * self.features).sum(dim=0) / number
        return mean, ((seen * self.features**2).sum(dim=0) / number - mean**2).clamp(min=0)


def warp(
    features: Float[Tensor, "views channels rows columns"],
    matrices: Float64[Tensor, "views 3 4"],
    xy: Float[Tensor, "*points 2"],
    depth: Float[Tensor, "*points"],
) -> WarpedViews:
    """Features of views at points of a target camera, see `reproject`; bilinear."""
    at = reproject(matrices, xy, depth)
    return WarpedViews(sample_images(features, at.xy), at.is_seen)


MATCH_CHANNELS = NUM_GROUPS + 2


def reference_volume(
    reference: Float[Tensor, "channels height width"],
    color: Float[Tensor, "3 height width"],
    neighbours: Float[Tensor, "views channels rows columns"],
    colors: Float[Tensor, "views 3 rows columns"],
    matrices: Float64[Tensor, "views 3 4"],
    depths: Float[Tensor, "planes height width"],
) -> Float[Tensor, "match_channels planes height width"]:
    """How well a source and its neighbours agree on the planes of the source.

    Group-wise correlation (Guo et al. 2019): the product of features, averaged over the channels of each of 8 groups
    and over the neighbours that see the point, 0 where none does. Beside it stand the smallest difference of colours
    and the share of neighbours that see the point. The result does not depend on the order of the neighbours.

    Args:
        reference: features of the source.
        color: its colours at the same resolution.
        neighbours: features of the neighbours.
        colors: their colours.
        matrices: from the source to each neighbour, see `sweep_matrices`.
        depths: planes at each pixel of the source, metres.
    """
    planes, height, width = depths.shape
    at = reproject(matrices, pixel_centres(height, width, depths.device).expand(planes, -1, -1, -1), depths)
    warped = WarpedViews(sample_images(neighbours, at.xy), at.is_seen)
    mean, _ = warped.moments()
    correlation = (mean * reference[:, None]).unflatten(0, (NUM_GROUPS, -1)).mean(dim=1)
    differences = (sample_images(colors, at.xy) - color[:, None]).abs().mean(dim=1).masked_fill(~at.is_seen, 1.0)
    smallest = differences.min(dim=0).values
    return torch.cat([correlation, smallest[None], warped.count()[None] / len(neighbours)])
