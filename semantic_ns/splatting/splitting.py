"""Gaussians split in two where the loss depends most on where they lie."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_ns.splatting.project import axes_of

SHRINKS_BY = 1.6
"""Scales of a Gaussian over those of its halves (Kerbl et al. 2023, section 5.2)."""
_DISTANCE = math.sqrt(1 - 1 / SHRINKS_BY**2)
"""Of the halves from the middle, in standard deviations: along that axis both have the variance of the whole."""
_AXES = 3


def halves(
    means: Float[Tensor, "gaussians 3"],
    quats: Float[Tensor, "gaussians 4"],
    log_scales: Float[Tensor, "gaussians 3"],
) -> tuple[Float[Tensor, "gaussians 3"], Float[Tensor, "gaussians 3"], Float[Tensor, "gaussians 3"]]:
    """Means of the first and of the second halves, and the logarithms of the scales of both.

    They lie on either side of the middle, along the longest axis.

    Args:
        means: means of the Gaussians.
        quats: their quaternions, which are those of their halves.
        log_scales: logarithms of their scales.
    """
    rows, longest = torch.arange(len(means)), log_scales.argmax(dim=1)
    offset = _DISTANCE * log_scales[rows, longest].exp()[:, None] * axes_of(quats)[rows, longest]
    return means + offset, means - offset, log_scales - math.log(SHRINKS_BY)


def most_wanted(
    square: Float[Tensor, "gaussians 3"],
    turns: Float[Tensor, "gaussians"],
    log_scales: Float[Tensor, "gaussians 3"],
    beta: float,
    count: int,
) -> Int[Tensor, "wanted"]:
    """Numbers of the Gaussians whose splitting promises most, in ascending order.

    They are those whose loss changes most if they move by their own size: the root mean square of the gradient in
    their mean, times their largest scale. 3D Gaussian Splatting takes the mean gradient in pixels (Kerbl et al. 2023,
    section 5.2); Adam's second moment holds as much, and is in the checkpoint already. What was never seen is not
    split.

    Args:
        square: Adam's second moment of the means.
        turns: number of steps that each Gaussian has taken.
        log_scales: logarithms of their scales.
        beta: how fast the second moment forgets.
        count: number of Gaussians, at most.
    """
    mean_square = square.sum(dim=1) / (1 - beta ** turns.clamp(min=1))
    value = mean_square.sqrt() * log_scales.amax(dim=1).exp()
    value = value.where(value.isfinite() & (turns > 0), 0.0)
    chosen = value.topk(min(count, int((value > 0).sum()))).indices
    return chosen.sort().values


def with_halves(values: Float[Tensor, "gaussians *any"], rows: Int[Tensor, "rows"], second: Tensor) -> Tensor:
    """Values of the Gaussians, and then those of the second halves of some.

    Args:
        values: values, those of the first halves in the place of the whole.
        rows: which were split.
        second: values of the second halves [rows, *any].
    """
    return torch.cat([values, second.expand(len(rows), *values.shape[1:])])
