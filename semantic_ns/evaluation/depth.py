"""Depth scores in metres of planar depth, pooled over the pixels of all images.

Planar depth is the distance along the optical axis, not along the ray. A pixel counts where the ground truth is
greater than 0 (0 means unknown).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

DELTA = 1.25


@dataclass(frozen=True)
class DepthSums:
    """Sums over pixels with known depth; those of several images add up."""

    num_pixels: int = 0
    absolute_m: float = 0.0
    """Sum of |prediction - truth|, metres."""
    relative: float = 0.0
    """Sum of |prediction - truth| / truth."""
    num_within_delta: int = 0
    """Pixels with max(prediction / truth, truth / prediction) < 1.25."""

    def __add__(self, other: "DepthSums") -> "DepthSums":
        """The sums over both sets of pixels."""
        return DepthSums(
            self.num_pixels + other.num_pixels,
            self.absolute_m + other.absolute_m,
            self.relative + other.relative,
            self.num_within_delta + other.num_within_delta,
        )

    def scores(self) -> dict[str, float]:
        """`depth_l1` (metres), `depth_rel` and `depth_delta1` (shares); NaN without a single pixel."""
        if self.num_pixels == 0:
            return dict.fromkeys(("depth_l1", "depth_rel", "depth_delta1"), math.nan)
        return {
            "depth_l1": self.absolute_m / self.num_pixels,
            "depth_rel": self.relative / self.num_pixels,
            "depth_delta1": self.num_within_delta / self.num_pixels,
        }


def depth_sums(prediction_m: Float[Tensor, "*pixels"], target_m: Float[Tensor, "*pixels"]) -> DepthSums:
    """Compare planar depths in metres where the target is known (> 0).

    A prediction of 0 or less is counted with its full error and never lies within the factor 1.25.
    """
    known = target_m > 0
    prediction, target = prediction_m[known].double(), target_m[known].double()
    error = (prediction - target).abs()
    within = (prediction < DELTA * target) & (target < DELTA * prediction)
    return DepthSums(
        num_pixels=int(known.sum()),
        absolute_m=float(error.sum()),
        relative=float((error / target).sum()),
        num_within_delta=int(torch.count_nonzero(within)),
    )
