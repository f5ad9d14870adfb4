"""Samples along the rays of a target, in log depth, and what they render."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.rendering import composite
from semantic_ns.sampling.point_samples import LAST_INTERVAL, drawn_distances, point_weights

_LEAST_WEIGHT = 1e-3
"""Least share of a ray at its true depth, so that its logarithm has a slope that can be followed."""


@dataclass(frozen=True, eq=False)
class RaySamples:
    """Samples of R rays with their rendering weights, near to far.

    Attributes:
        logs: logarithm of planar depth in metres.
        weights: rendering weights; they sum to 1, for the last sample is opaque.
    """

    logs: Float[Tensor, "rays samples"]
    weights: Float[Tensor, "rays samples"]

    @classmethod
    def of(
        cls, logs: Float[Tensor, "rays samples"], density: Float[Tensor, "rays samples"], step: float
    ) -> "RaySamples":
        """Samples from their densities per `step` of log depth."""
        intervals = F.pad(logs.diff(dim=-1) / step, (0, 1), value=LAST_INTERVAL)
        return cls(logs, point_weights(density, intervals)[..., 0])

    def log_depth(self) -> tuple[Float[Tensor, "rays"], Float[Tensor, "rays"]]:
        """Mean and standard deviation of the logarithm of depth over the weights."""
        mean = (self.weights * self.logs).sum(dim=-1)
        variance = (self.weights * (self.logs - mean[:, None]) ** 2).sum(dim=-1)
        return mean, (variance + 1e-6).sqrt()

    def render(self, values: Float[Tensor, "rays samples channels"]) -> Float[Tensor, "rays channels"]:
        """Sum of weights times values along each ray."""
        return composite(self.weights[..., None], values)

    def depth_loss(self, depth: Float[Tensor, "rays"], reach: float) -> Float[Tensor, ""]:
        """Cross-entropy of the weights with a true depth in metres, 0 where unknown.

        The samples around the true depth share it, the less the farther away they are: those whose log depth is off by
        `reach` have no part in it. A mean over the rays with known depth; 0 if there is none.
        """
        is_known = depth > 0
        truth = depth.where(is_known, 1.0).log().clamp(self.logs[:, 0], self.logs[:, -1])
        share = (1 - (self.logs - truth[:, None]).abs() / reach).clamp(min=0)
        hit = (share * self.weights).sum(dim=-1)
        return -((hit + _LEAST_WEIGHT).log() * is_known).sum() / is_known.sum().clamp(min=1)


def log_step(near: float, far: float, count: int) -> float:
    """Difference of the logarithms of neighbouring coarse samples."""
    return math.log(far / near) / count


def coarse_logs(
    near: float, far: float, num_rays: int, count: int, generator: torch.Generator | None, like: Tensor
) -> Float[Tensor, "rays samples"]:
    """Logarithms of the depth of coarse samples: one in each of equal parts of the range.

    Args:
        near: nearest depth in metres.
        far: farthest depth in metres.
        num_rays: number of rays.
        count: number of samples.
        generator: draws the place of each sample in its part; without one it is the middle.
        like: gives device and precision.
    """
    places = torch.full((num_rays, count), 0.5)
    if generator is not None:
        places = torch.rand((num_rays, count), generator=generator)
    numbers = torch.arange(count) + places
    return (math.log(near) + log_step(near, far, count) * numbers).to(like)


def further_logs(coarse: RaySamples, count: int, generator: torch.Generator | None) -> Float[Tensor, "rays further"]:
    """Logarithms of the depth of further samples where the coarse weights are; no gradient passes.

    Args:
        coarse: the coarse samples.
        count: number of further samples.
        generator: draws them; without one they stand at quantiles.
    """
    rays = coarse.logs.shape[0]
    places = torch.full((rays, count), 0.5)
    if generator is not None:
        places = torch.rand((rays, count), generator=generator)
    u = ((torch.arange(count) + places) / count).to(coarse.logs)
    return drawn_distances(coarse.logs, coarse.weights.detach(), u)
