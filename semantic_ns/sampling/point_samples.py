"""Point samples along rays and their weights, as the first neural fields have them: points, not intervals.

Symbols: a ray has S samples at ascending distances t along its unit direction; a distance is the planar depth times
the length of the direction whose camera z-component is 1.
"""

import torch
from jaxtyping import Float
from torch import Tensor

PDF_OFFSET = 1e-5
"""What is added to each weight before samples are drawn by them, so that no interval is excluded."""
TRANSMITTANCE_OFFSET = 1e-10
"""What is added to each factor of the transmittance, so that its product has a gradient."""
LAST_INTERVAL = 1e10
"""Planar depth behind the last sample, which makes every ray with density there end on it."""


def point_weights(
    raw_density: Float[Tensor, "rays samples"], intervals: Float[Tensor, "rays samples"]
) -> Float[Tensor, "rays samples 1"]:
    """Rendering weights w_k = T_k alpha_k (Zhi et al. 2021, equations (1) and (2), with sigma(t_k') in the sum).

    alpha_k = 1 - exp(-max(0, raw_k) delta_k), T_k = prod_{j<k} (1 - alpha_j + 1e-10). nerfstudio's `get_weights` is the
    same but for the 1e-10.

    Args:
        raw_density: per metre, with its noise.
        intervals: delta_k in metres, from each sample to the next.
    """
    alpha = 1 - torch.exp(-raw_density.relu() * intervals)
    passed = torch.cumprod(1 - alpha + TRANSMITTANCE_OFFSET, dim=-1)
    transmittance = torch.cat([torch.ones_like(passed[:, :1]), passed[:, :-1]], dim=-1)
    return (alpha * transmittance)[..., None]


def intervals_between(
    distances: Float[Tensor, "rays samples"], last: Float[Tensor, "rays 1"]
) -> Float[Tensor, "rays samples"]:
    """From each sample to the next, and `last` behind the last one."""
    return torch.cat([distances.diff(dim=-1), last], dim=-1)


def inverse_cdf(
    edges: Float[Tensor, "rays edges"], weights: Float[Tensor, "rays bins"], u: Float[Tensor, "rays draws"]
) -> Float[Tensor, "rays draws"]:
    """Where the cumulative distribution of a histogram is u.

    Args:
        edges: edges of the bins, ascending, one more than there are bins.
        weights: positive weights of the bins, with any sum.
        u: quantiles to sample at, in [0, 1].
    """
    cdf = (weights / weights.sum(dim=-1, keepdim=True)).cumsum(dim=-1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], dim=-1)
    above = torch.searchsorted(cdf, u.contiguous(), right=True).clamp(1, weights.shape[-1])
    start, end = cdf.gather(-1, above - 1), cdf.gather(-1, above)
    # Rounding may leave the end of the cumulative distribution a little below 1.
    share = ((u - start) / (end - start).clamp(min=1e-10)).clamp(0, 1)
    return torch.lerp(edges.gather(-1, above - 1), edges.gather(-1, above), share)


def drawn_distances(
    distances: Float[Tensor, "rays coarse"], weights: Float[Tensor, "rays coarse"], u: Float[Tensor, "rays draws"]
) -> Float[Tensor, "rays draws"]:
    """Further samples where the weights of coarse ones are, without gradient.

    Their density is proportional to the inner weights plus 1e-5, between the mid-points of the samples. nerfstudio's
    `PDFSampler` takes the intervals between samples, all weights plus 1e-2 and stratified draws.

    Args:
        distances: distances of the coarse samples.
        weights: weights of the coarse samples.
        u: draws in [0, 1].
    """
    middles = (distances[:, 1:] + distances[:, :-1]) / 2
    return inverse_cdf(middles, weights[:, 1:-1] + PDF_OFFSET, u).detach()


def refined_distances(
    distances: Float[Tensor, "rays coarse"], weights: Float[Tensor, "rays coarse"], u: Float[Tensor, "rays draws"]
) -> Float[Tensor, "rays all"]:
    """The coarse samples and those of :func:`drawn_distances`, ascending and without gradient."""
    drawn = drawn_distances(distances, weights, u)
    return torch.cat([distances, drawn], dim=-1).sort(dim=-1).values.detach()
